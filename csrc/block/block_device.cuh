// What the CUDA kernels of the block losses share: device workspace, row sums in a fixed order, the loss.
#pragma once

#include "block/block_kernels.h"
#include "common/arena.h"
#include "common/device.cuh"
#include "common/reduce.cuh"

namespace debias {

template <class Storage>
__device__ __forceinline__ accumulator_t<Storage> read_or(const Storage* values, int64_t k,
                                                          accumulator_t<Storage> otherwise) {
  return values ? to_float(values[k]) : otherwise;
}

template <class Storage>
__device__ __forceinline__ void write_scaled(Storage* out, int64_t k, double scale, accumulator_t<Storage> value) {
  using T = accumulator_t<Storage>;
  if (out) out[k] = from_float<Storage>(static_cast<T>(scale) * value);
}

// Component f of [P[u], a[u], 1] or [Q[i], 1, b[i]]
template <class Storage>
__device__ __forceinline__ accumulator_t<Storage> component(const FactorTables<Storage>& tables, bool user, int64_t row,
                                                            int64_t f) {
  using T = accumulator_t<Storage>;
  const Storage* factors = user ? tables.user_factors : tables.item_factors;
  const Storage* bias = user ? tables.user_bias : tables.item_bias;
  if (f < tables.d) return to_float(factors[row * tables.d + f]);
  return f == (user ? tables.d : tables.d + 1) ? read_or(bias, row, T(0)) : T(1);
}

// *loss = scale * sum of n values in a fixed order; NaN where a rated pair was out of range, as are the
// gradients at that pair: `out`, and those to the weights and values that rated pairs have of their own. One block.
template <class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1)
    block_loss_kernel(const double* values, int64_t n, RatedPairs<Storage> rated, int64_t m, double scale,
                      BlockGradients<Storage> out, Storage* own_weights, Storage* own_values, Storage* loss) {
  using T = accumulator_t<Storage>;
  double value = 0;
  for (int64_t k = threadIdx.x; k < n; k += blockDim.x) value += values[k];
  value = block_sum(value);
  const T nan = nan_value<T>();
  const int64_t valid = rated.offsets[m];
  if (threadIdx.x == 0) *loss = from_float<Storage>(valid < rated.count ? nan : static_cast<T>(scale * value));
  for (int64_t k = valid + threadIdx.x; k < rated.count; k += blockDim.x) {
    write_scaled(out.targets, rated.positions[k], 1.0, nan);
    write_scaled(out.weights, rated.positions[k], 1.0, nan);
    write_scaled(own_weights, rated.positions[k], 1.0, nan);
    write_scaled(own_values, rated.positions[k], 1.0, nan);
  }
}

}  // namespace debias
