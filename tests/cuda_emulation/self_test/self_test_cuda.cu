#include "self_test_kernels.h"

#include "common/launch.cuh"

using debias::from_float;
using debias::grid_size;
using debias::launch;
using debias::to_float;

namespace self_test {
namespace {

constexpr unsigned kBlock = 128;
constexpr unsigned kAllLanes = 0xffffffffu;

template <class Storage>
__global__ void scale_add_kernel(float a, const Storage* __restrict__ x, Storage* __restrict__ y, int64_t n) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t k = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; k < n; k += stride)
    y[k] = from_float<Storage>(a * to_float(__ldg(x + k)) + to_float(y[k]));
}

__device__ __forceinline__ float block_sum(float value) {
  DEBIAS_SHARED_ARRAY(float, warp_sums, kBlock / 32);
#pragma unroll
  for (int delta = 16; delta > 0; delta /= 2) value += __shfl_down_sync(kAllLanes, value, delta);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0;
  for (unsigned warp = 0; warp < kBlock / 32; ++warp) value += warp_sums[warp];
  __syncthreads();
  return value;
}

__device__ float thread_sum(const float* x, int64_t n) {
  float sum = 0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t k = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; k < n; k += stride) sum += x[k];
  return sum;
}

__global__ void __launch_bounds__(kBlock) block_sums_kernel(const float* x, float* sums, int64_t n) {
  const float sum = block_sum(thread_sum(x, n));
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void warp_prefix_sums_kernel(const int* x, int* y, int64_t n) {
  const int64_t k = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  int value = k < n ? x[k] : 0;
  for (unsigned delta = 1; delta < 32; delta *= 2) {
    const int before = __shfl_up_sync(kAllLanes, value, delta);
    if (threadIdx.x % 32 >= delta) value += before;
  }
  if (k < n) y[k] = value;
}

__global__ void histogram_kernel(const int* x, unsigned long long* counts, int bins, int64_t n) {
  DEBIAS_DYNAMIC_SHARED(int, local);
  for (int bin = threadIdx.x; bin < bins; bin += blockDim.x) local[bin] = 0;
  __syncthreads();
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t k = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; k < n; k += stride)
    atomicAdd(local + x[k], 1);
  __syncthreads();
  for (int bin = threadIdx.x; bin < bins; bin += blockDim.x)
    if (local[bin]) atomicAdd(counts + bin, static_cast<unsigned long long>(local[bin]));
}

__global__ void one_launch_kernel(const float* x, float* partial, unsigned* finished, float* out, int64_t n) {
  DEBIAS_SHARED_ARRAY(bool, last, 1);
  const float sum = block_sum(thread_sum(x, n));
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last[0] = atomicAdd(finished, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last[0] || threadIdx.x != 0) return;
  float total = 0;
  for (unsigned block = 0; block < gridDim.x; ++block) total += partial[block];
  *out = total;
}

__global__ void collectives_kernel(int width, int shift, unsigned mask, int* results) {
  const unsigned lane = threadIdx.x;
  if (!(mask >> lane & 1u)) return;
  int* const mine = results + lane * kCollectiveResults;
  const int value = static_cast<int>(lane) * 10;
  const double wide = lane + 0.5;
  mine[0] = __shfl_sync(mask, value, shift, width);
  mine[1] = __shfl_up_sync(mask, value, shift, width);
  mine[2] = __shfl_down_sync(mask, value, shift, width);
  mine[3] = __shfl_xor_sync(mask, value, shift, width);
  mine[4] = static_cast<int>(__ballot_sync(mask, lane % 3 == 0));
  mine[5] = __any_sync(mask, lane == 5) != 0;
  mine[6] = __all_sync(mask, lane < 40) != 0;
  mine[7] = __all_sync(mask, lane != 5) != 0;
  __syncwarp(mask);
  mine[8] = static_cast<int>(2 * __shfl_sync(mask, wide, shift, width));
  mine[9] = __popc(mask) + __popcll(~0ull);
  mine[10] = __ffs(static_cast<int>(mask)) + __ffsll(1ll << 40);
  mine[11] = __clz(static_cast<int>(lane)) + __clzll(static_cast<long long>(lane));
}

__global__ void positions_kernel(int* out) {
  const dim3 g = gridDim, b = blockDim;
  const unsigned block = blockIdx.x + g.x * (blockIdx.y + g.y * blockIdx.z);
  const unsigned thread = threadIdx.x + b.x * (threadIdx.y + b.y * threadIdx.z);
  out[block * (b.x * b.y * b.z) + thread] = static_cast<int>(block * 10000 + thread);
}

__device__ __attribute__((noinline)) void copy_four(const int* from, int* to) {
  for (int i = 0; i < 4; ++i) to[i] = from[i];
}

__global__ void through_the_stack_kernel(const int* x, int* y) {
  int local[4];
  copy_four(x + 4 * (blockIdx.x * blockDim.x + threadIdx.x), local);
  __syncthreads();
  copy_four(local, y + 4 * (blockIdx.x * blockDim.x + threadIdx.x));
}

__global__ void dynamic_shared_kernel() {
  DEBIAS_DYNAMIC_SHARED(char, bytes);
  bytes[threadIdx.x] = 0;
}

}  // namespace

template <class Storage>
void scale_add(float a, const Storage* x, Storage* y, int64_t n) {
  launch(scale_add_kernel<Storage>, grid_size(n, kBlock), kBlock, 0, nullptr, a, x, y, n);
}
template void scale_add(float, const float*, float*, int64_t);
template void scale_add(float, const debias::Half*, debias::Half*, int64_t);
template void scale_add(float, const debias::BFloat16*, debias::BFloat16*, int64_t);

void block_sums(const float* x, float* sums, int64_t n, unsigned blocks) {
  launch(block_sums_kernel, blocks, kBlock, 0, nullptr, x, sums, n);
}

void warp_prefix_sums(const int* x, int* y, int64_t n) {
  launch(warp_prefix_sums_kernel, grid_size(n, kBlock), kBlock, 0, nullptr, x, y, n);
}

void histogram(const int* x, unsigned long long* counts, int bins, int64_t n) {
  launch(histogram_kernel, 4u, kBlock, static_cast<size_t>(bins) * sizeof(int), nullptr, x, counts, bins, n);
}

void sum_in_one_launch(const float* x, float* partial, unsigned* finished, float* out, int64_t n, unsigned blocks) {
  launch(one_launch_kernel, blocks, kBlock, 0, nullptr, x, partial, finished, out, n);
}

void collectives(int width, int shift, unsigned mask, int* results) {
  launch(collectives_kernel, 1u, 32, 0, nullptr, width, shift, mask, results);
}

void positions(int* out, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz) {
  launch(positions_kernel, dim3(gx, gy, gz), dim3(bx, by, bz), 0, nullptr, out);
}

void through_the_stack(const int* x, int* y, int64_t n) {
  launch(through_the_stack_kernel, grid_size(n, 4 * 32), 32, 0, nullptr, x, y);
}

void launch_with_block(unsigned threads, size_t dynamic_shared_bytes) {
  launch(dynamic_shared_kernel, 1u, threads, dynamic_shared_bytes, nullptr);
}

}  // namespace self_test
