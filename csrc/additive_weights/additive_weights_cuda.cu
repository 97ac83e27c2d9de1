#include "additive_weights/additive_weights_kernels.h"
#include "common/device.cuh"
#include "common/reduce.cuh"

namespace debias {
namespace {

constexpr int kThreads = 256;
constexpr int kGroup = 16;  // threads that share one segment

template <class T, class Index>
__global__ void __launch_bounds__(kThreads, 1) additive_weights_kernel(AdditiveWeightsArgs<T, Index> args) {
  using A = accumulator_t<T>;
  for (int64_t k = first_thread(); k < args.batch; k += thread_stride()) {
    A sum = 0;
    bool valid = true;
    for (const AdditiveTable<T, Index>& table : args.tables) {
      if (!table.indices) continue;
      const int64_t row = static_cast<int64_t>(table.indices[k]);
      const bool inside = in_range(row, table.rows);
      if (inside) sum += static_cast<A>(to_float(table.values[row]));
      valid = valid && inside;
    }
    const A weight = exp(sum * static_cast<A>(args.inverse_temperature));
    args.weights[k] = from_float<T>(valid ? weight : nan_value<A>());
  }
}

template <class T, class Index>
__device__ __forceinline__ double product(const AdditiveGradientArgs<T, Index>& args, int64_t k) {
  return static_cast<double>(to_float(args.grad[k])) * static_cast<double>(to_float(args.weights[k]));
}

// One group of lanes a sorted position; at the head of a segment they share its samples, and add up in a fixed order.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads, 1)
    segment_gradient_kernel(AdditiveGradientArgs<T, Index> args, const Index* sorted, const int64_t* order,
                            int64_t rows, T* sums) {
  const int lane = threadIdx.x % kGroup;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * (kThreads / kGroup);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads / kGroup) + threadIdx.x / kGroup;
  // Every lane makes every round, so that the shuffles below always meet.
  for (int64_t round = 0; round * groups < args.batch; ++round) {
    const int64_t p = round * groups + first;
    const int64_t row = p < args.batch ? static_cast<int64_t>(sorted[p]) : -1;
    const bool head = in_range(row, rows) && (p == 0 || sorted[p - 1] != sorted[p]);
    double sum = 0;
    if (head)
      for (int64_t q = p + lane; q < args.batch && static_cast<int64_t>(sorted[q]) == row; q += kGroup)
        sum += product(args, order[q]);
    sum = lanes_sum<kGroup>(sum);
    if (head && lane == 0) sums[row] = from_float<T>(static_cast<accumulator_t<T>>(sum * args.inverse_temperature));
  }
}

// A grid row for each row of the table: partial[row * gridDim.x + block] is the sum of that block's share.
template <class T, class Index>
__global__ void __launch_bounds__(kReduceThreads, 1)
    counted_partial_kernel(AdditiveGradientArgs<T, Index> args, const Index* indices, double* partial) {
  double sum = 0;
  for (int64_t k = first_thread(); k < args.batch; k += thread_stride())
    if (static_cast<int64_t>(indices[k]) == static_cast<int64_t>(blockIdx.y)) sum += product(args, k);
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

// One block a row.
template <class T>
__global__ void __launch_bounds__(kReduceThreads, 1)
    counted_final_kernel(const double* partial, int blocks, double inverse_temperature, T* sums) {
  double sum = 0;
  for (int b = threadIdx.x; b < blocks; b += blockDim.x) sum += partial[static_cast<int64_t>(blockIdx.x) * blocks + b];
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = from_float<T>(static_cast<accumulator_t<T>>(sum * inverse_temperature));
}

}  // namespace

namespace cuda {

template <class T, class Index>
void additive_weights(const AdditiveWeightsArgs<T, Index>& args, void* stream) {
  launch(additive_weights_kernel<T, Index>, grid_size(args.batch, kThreads), kThreads, 0,
         static_cast<cudaStream_t>(stream), args);
}

template <class T, class Index>
void additive_gradient(const AdditiveGradientArgs<T, Index>& args, AdditiveSide side, const Index* sorted,
                       const int64_t* order, void* stream) {
  launch(segment_gradient_kernel<T, Index>, grid_size(args.batch, kThreads / kGroup), kThreads, 0,
         static_cast<cudaStream_t>(stream), args, sorted, order, args.rows[side], args.sums[side]);
}

int64_t counted_workspace(int64_t rows, int64_t batch) { return rows * static_cast<int64_t>(reduce_blocks(batch)); }

template <class T, class Index>
void counted_gradient(const AdditiveGradientArgs<T, Index>& args, AdditiveSide side, double* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned blocks = reduce_blocks(args.batch), rows = static_cast<unsigned>(args.rows[side]);
  launch(counted_partial_kernel<T, Index>, dim3(blocks, rows), kReduceThreads, 0, on, args, args.indices[side],
         workspace);
  launch(counted_final_kernel<T>, rows, kReduceThreads, 0, on, static_cast<const double*>(workspace),
         static_cast<int>(blocks), args.inverse_temperature, args.sums[side]);
}

#define DEBIAS_INSTANTIATE(T, Index)                                                                                 \
  template void additive_weights(const AdditiveWeightsArgs<T, Index>&, void*);                                       \
  template void additive_gradient(const AdditiveGradientArgs<T, Index>&, AdditiveSide, const Index*, const int64_t*, \
                                  void*);                                                                            \
  template void counted_gradient(const AdditiveGradientArgs<T, Index>&, AdditiveSide, double*, void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
