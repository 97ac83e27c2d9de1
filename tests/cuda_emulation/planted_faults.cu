// Kernels with one fault each, beside the same kernel without it: `planted_faults NAME faulty|correct`.
// The run must be stopped by the sanitizer or the emulation in the first form, and end with status 0 in the second.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

#include "common/launch.cuh"

using debias::launch;

namespace {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr unsigned kThreads = 64;

template <bool Faulty>
__global__ void out_of_bounds_global_read(const float* in, float* out, int n) {
  const int k = static_cast<int>(threadIdx.x) + (Faulty ? 1 : 0);
  if (k < n + (Faulty ? 1 : 0)) out[threadIdx.x] = in[k];
}

template <bool Faulty>
__global__ void out_of_bounds_shared_read(const float* in, float* out, int n) {
  DEBIAS_DYNAMIC_SHARED(float, shared);  // n floats
  shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[Faulty ? threadIdx.x + 1 : n - 1 - threadIdx.x];
}

template <bool Faulty>
__global__ void out_of_bounds_static_shared_read(const float* in, float* out, int n) {
  DEBIAS_SHARED_ARRAY(float, shared, kThreads);
  shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = shared[Faulty ? threadIdx.x + 1 : n - 1 - threadIdx.x];
}

template <bool Faulty>
__global__ void missing_barrier(const float* in, float* out, int n) {
  DEBIAS_SHARED_ARRAY(float, shared, kThreads);
  shared[threadIdx.x] = in[threadIdx.x];
  if (!Faulty) __syncthreads();
  out[threadIdx.x] = shared[n - 1 - threadIdx.x];
}

template <bool Faulty>
__global__ void missing_second_barrier(const float* in, float* out, int n) {
  DEBIAS_SHARED_ARRAY(float, shared, kThreads);
  float sum = 0;
  for (int round = 0; round < 3; ++round) {
    shared[threadIdx.x] = in[threadIdx.x] + round;
    __syncthreads();
    sum += shared[n - 1 - threadIdx.x];
    if (!Faulty) __syncthreads();
  }
  out[threadIdx.x] = sum;
}

template <bool Faulty>
__global__ void missing_warp_barrier(const float* in, float* out, int) {
  DEBIAS_SHARED_ARRAY(float, shared, kThreads);
  shared[threadIdx.x] = in[threadIdx.x];
  if (!Faulty) __syncwarp();
  out[threadIdx.x] = shared[threadIdx.x ^ 1u];
}

template <bool Faulty>
__global__ void missing_atomic(const float* in, float* out, int) {
  if (Faulty)
    out[0] += in[threadIdx.x];
  else
    atomicAdd(out, in[threadIdx.x]);
}

// Thread 0 of each of two blocks; in turn they give the right sum every time.
template <bool Faulty>
__global__ void race_between_blocks(const float* in, float* out, int) {
  if (threadIdx.x != 0) return;
  if (Faulty)
    out[0] += in[blockIdx.x];
  else
    out[blockIdx.x] = in[blockIdx.x];
}

template <bool Faulty>
__global__ void misaligned_float4(const float* in, float* out, int n) {
  if (threadIdx.x >= n / 4u - 1) return;
  const float4 v = *reinterpret_cast<const float4*>(in + 4 * threadIdx.x + (Faulty ? 1 : 0));
  out[threadIdx.x] = v.x + v.y + v.z + v.w;
}

template <bool Faulty>
__global__ void misaligned_vector_load(const float* in, float* out, int n) {
  if (threadIdx.x >= n / 4u - 1) return;
  const float4 v = debias::load_vector<float4>(in + 4 * threadIdx.x + (Faulty ? 1 : 0));
  out[threadIdx.x] = v.x + v.y + v.z + v.w;
}

template <bool Faulty>
__global__ void divergent_barrier(const float* in, float* out, int) {
  DEBIAS_SHARED_ARRAY(float, shared, kThreads);
  shared[threadIdx.x] = in[threadIdx.x];
  if (Faulty && threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = shared[0];
}

template <bool Faulty>
__global__ void barrier_that_some_threads_miss(const float* in, float* out, int) {
  if (!Faulty || threadIdx.x < 32) __syncthreads();
  out[threadIdx.x] = __shfl_sync(kAllLanes, in[threadIdx.x], 0);
  if (Faulty) __syncwarp();
  __syncthreads();
}

template <bool Faulty>
__global__ void lane_outside_its_mask(const float* in, float* out, int) {
  out[threadIdx.x] = __shfl_down_sync(Faulty ? 0x0000ffffu : kAllLanes, in[threadIdx.x], 1);
}

template <bool Faulty>
__global__ void thread_leaves_before_a_barrier(const float* in, float* out, int) {
  if (Faulty && threadIdx.x == kThreads - 1) return;
  __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

template <bool Faulty>
__global__ void thread_leaves_before_a_shuffle(const float* in, float* out, int) {
  if (Faulty && threadIdx.x % 32 == 31) return;
  out[threadIdx.x] = __shfl_xor_sync(kAllLanes, in[threadIdx.x], 1);
}

template <bool Faulty>
__global__ void uninitialised_shared_memory(const float* in, float* out, int) {
  DEBIAS_SHARED_ARRAY(float, shared, kThreads);
  if (!Faulty || threadIdx.x != 5) shared[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  float sum = 0;
  for (unsigned k = 0; k < kThreads; ++k) sum += shared[k];
  out[threadIdx.x] = sum;
}

template <bool Faulty>
__global__ void integer_overflow(const float* in, float* out, int n) {
  const int large = 2147483647 - (Faulty ? n / 2 : n);
  out[threadIdx.x] = in[threadIdx.x] + static_cast<float>(large + static_cast<int>(threadIdx.x));
}

struct Fault {
  const char* name;
  void (*faulty)(const float*, float*, int);
  void (*correct)(const float*, float*, int);
};

#define FAULT(name) {#name, name<true>, name<false>}
const Fault kFaults[] = {FAULT(out_of_bounds_global_read),
                         FAULT(out_of_bounds_shared_read),
                         FAULT(out_of_bounds_static_shared_read),
                         FAULT(missing_barrier),
                         FAULT(missing_second_barrier),
                         FAULT(missing_warp_barrier),
                         FAULT(missing_atomic),
                         FAULT(race_between_blocks),
                         FAULT(misaligned_float4),
                         FAULT(misaligned_vector_load),
                         FAULT(divergent_barrier),
                         FAULT(barrier_that_some_threads_miss),
                         FAULT(lane_outside_its_mask),
                         FAULT(thread_leaves_before_a_barrier),
                         FAULT(thread_leaves_before_a_shuffle),
                         FAULT(uninitialised_shared_memory),
                         FAULT(integer_overflow)};

int run(const Fault& fault, bool faulty) {
  std::vector<float> in(kThreads, 1.0f), out(kThreads, 0.0f);
  const unsigned blocks = std::strcmp(fault.name, "race_between_blocks") == 0 ? 2 : 1;
  launch(faulty ? fault.faulty : fault.correct, blocks, kThreads, kThreads * sizeof(float), nullptr, in.data(),
         out.data(), static_cast<int>(kThreads));
  for (float value : out)
    if (std::isnan(value)) return std::puts("NaN in the result"), 1;
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  for (const Fault& fault : kFaults) {
    if (count != 3 || std::strcmp(arguments[1], fault.name) != 0) continue;
    try {
      return run(fault, std::strcmp(arguments[2], "faulty") == 0);
    } catch (const std::exception& error) {
      std::printf("%s\n", error.what());
      return 1;
    }
  }
  std::fprintf(stderr, "usage: planted_faults NAME faulty|correct\n");
  return 2;
}
