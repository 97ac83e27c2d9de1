// The sums of a row loss on CUDA: partial sums of fixed shares of the rows, added in order. Included by each .cu file
// that has a row loss.
#pragma once

#include "common/device.cuh"
#include "common/reduce.cuh"

namespace debias {
namespace {

constexpr int kSums = 3;  // loss, weight, invalid rows

template <class Storage>
__device__ __forceinline__ void write_row(Storage* rows, int64_t k, accumulator_t<Storage> value) {
  if (rows) rows[k] = from_float<Storage>(value);
}

__device__ __forceinline__ void write_partial(double* partial, double loss, double weight, double invalid) {
  loss = block_sum(loss);
  weight = block_sum(weight);
  invalid = block_sum(invalid);
  if (threadIdx.x != 0) return;
  double* mine = partial + kSums * static_cast<int64_t>(blockIdx.x);
  mine[0] = loss;
  mine[1] = weight;
  mine[2] = invalid;
}

// One block: sums[c] = sum over the blocks of partial[3 b + c].
__global__ void __launch_bounds__(kReduceThreads, 1)
    final_sums_kernel(const double* partial, int blocks, double* sums) {
  for (int c = 0; c < kSums; ++c) {
    double value = 0;
    for (int b = threadIdx.x; b < blocks; b += blockDim.x) value += partial[kSums * b + c];
    value = block_sum(value);
    if (threadIdx.x == 0) sums[c] = value;
  }
}

// workspace: the sums, then the partial ones that write_partial made behind them.
inline void finish_row_sums(double* workspace, unsigned blocks, cudaStream_t stream) {
  launch(final_sums_kernel, 1u, kReduceThreads, 0, stream, workspace + kSums, static_cast<int>(blocks), workspace);
}

}  // namespace
}  // namespace debias
