// What additive_weights.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

namespace debias {

enum AdditiveSide { kUserSide, kItemSide, kLabelSide, kAdditiveSides };

// One table, and the row of each sample in it; without labels the third has no indices.
template <class T, class Index>
struct AdditiveTable {
  const T* values;
  const Index* indices;
  int64_t rows;
};

// weights[k] = exp((a[u_k] + b[i_k] + c[l_k]) * inverse_temperature)
template <class T, class Index>
struct AdditiveWeightsArgs {
  AdditiveTable<T, Index> tables[kAdditiveSides];
  T* weights;
  int64_t batch;
  double inverse_temperature;
};

// sums[side][row] = inverse_temperature * sum of grad[k] weights[k] over the samples k of that row; null: not wanted
template <class T, class Index>
struct AdditiveGradientArgs {
  const T* grad;
  const T* weights;
  const Index* indices[kAdditiveSides];
  T* sums[kAdditiveSides];
  int64_t rows[kAdditiveSides];
  int64_t batch;
  double inverse_temperature;
};

namespace cpu {
// The first side with an index out of range, or -1. Nothing is read out of range.
template <class T, class Index>
int additive_weights(const AdditiveWeightsArgs<T, Index>& args);
// The same, and every row of `sums` is written.
template <class T, class Index>
int additive_gradient(const AdditiveGradientArgs<T, Index>& args);
}  // namespace cpu

namespace cuda {
constexpr int64_t kCountedRows = 32;  // tables up to this size are summed without sorting
// An index out of range weighs NaN and reads nothing.
template <class T, class Index>
void additive_weights(const AdditiveWeightsArgs<T, Index>& args, void* stream);
// One side, by sorting: sorted[p] is the index of sample order[p], ascending and stable. Rows without samples must be
// zero.
template <class T, class Index>
void additive_gradient(const AdditiveGradientArgs<T, Index>& args, AdditiveSide side, const Index* sorted,
                       const int64_t* order, void* stream);
// One side with at most kCountedRows rows: device workspace of counted_workspace(rows, batch) doubles.
int64_t counted_workspace(int64_t rows, int64_t batch);
template <class T, class Index>
void counted_gradient(const AdditiveGradientArgs<T, Index>& args, AdditiveSide side, double* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
