// What the kernels of row losses write: rows on request, and one partial sum a block (cuda::finish_sums adds them up).
#pragma once

#include "common/reduce.cuh"

namespace debias {

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

}  // namespace debias
