// Gradients of a factor model's tables from the slopes of its scores, for every operator that has them.
#pragma once

#include <array>
#include <tuple>

#include "common/segment.h"
#include "mf_score/score_inputs.h"

namespace debias {

// Bits of `needs`, in the order of the differentiable arguments of mf_score.
enum Need { kUserFactors = 1, kItemFactors = 2, kUserBias = 4, kItemBias = 8, kOffset = 16 };

// One side of the tables: samples grouped by `indices`, weighted rows of the other table summed.
struct Side {
  const Tensor& indices;
  const Tensor& other_factors;
  const Tensor& other;
  int64_t table_rows;
  bool want_rows, want_bias;
  bool wanted() const { return want_rows || want_bias; }
};

using Sides = std::array<Side, 2>;  // users, items; they refer to the tables
Sides sides_of(const Tables& tables, int64_t needs);

// On the CPU the samples of both sides are grouped at the same time; on CUDA each side sorts by itself.
std::array<Segments, 2> sort_sides(const Sides& sides);

// What the kernels write for one side, given the slopes `grad`.
template <class T, class Index>
RowGradientArgs<T, Index> row_gradient_args(const Side& side, const Tensor& grad, const Tensor& rows,
                                            const Tensor& bias) {
  return {pointer<T>(grad),
          pointer<T>(side.other_factors),
          pointer<Index>(side.other),
          side.other_factors.size(1),
          side.other_factors.size(0),
          output<T>(rows),
          output<T>(bias)};
}

using RowsAndBias = std::tuple<Tensor, Tensor>;
// Dense: a full table of zeros where no sample points.
RowsAndBias dense_gradient(const Side& side, const Tensor& grad, const Segments& segments);

using SparseRows = std::tuple<Tensor, Tensor, Tensor>;  // row indices, values, bias values
SparseRows sparse_gradient(const Side& side, const Tensor& grad, const Segments& segments);

// The sum of the slopes, or no elements.
Tensor offset_gradient(const Tensor& grad, int64_t needs);

}  // namespace debias
