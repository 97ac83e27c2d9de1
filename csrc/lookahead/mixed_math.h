// What a look-ahead step asks of a row's loss: the slope in the score, and how a parameter phi of the row changes that
// slope, d2 ell / (ds dphi). Written once for the CPU and CUDA kernels.
#pragma once

#include <cstdint>

#include "pointwise_loss/pointwise_loss_math.h"

namespace debias {

enum class RowLossKind : int32_t { mse, mae, bce };
enum class SourceKind : int32_t { unit, weights, propensities, propensity_logits, doubly_robust };

// Which loss the rows have, and what their weights are made of
struct RowKind {
  RowLossKind loss;
  SourceKind source;
  double floor, largest_weight;
};

template <class T>
struct RowInput {
  T score, target, source, imputation, observed;  // observed is 1 or 0
};

// The loss of an upper row and its slopes
template <class T>
struct UpperRow {
  T value, score, target, source;
};

// The slope of a lower row in the score, and that slope's derivatives
template <class T>
struct LowerRow {
  T slope, target, source, imputation;
};

// ell(s, t) with its slopes, and d2 ell / (ds dt)
template <class T>
struct CrossSlopes {
  Slopes<T> row;
  T cross;
};

template <class T>
DEBIAS_HD CrossSlopes<T> loss_row(RowLossKind loss, T s, T t) {
  switch (loss) {
    case RowLossKind::mae: return {AbsoluteError::at(s, t), T(0)};
    case RowLossKind::bce: return {BinaryCrossEntropy::at(s, t), T(-1)};
    case RowLossKind::mse: break;
  }
  return {SquaredError::at(s, t), T(-2)};
}

template <class T>
DEBIAS_HD Weight<T> source_weight(const RowKind& kind, T source) {
  const PropensityBounds<T> bounds{static_cast<T>(kind.floor), static_cast<T>(kind.largest_weight)};
  switch (kind.source) {
    case SourceKind::weights: return GivenWeight::at(source, bounds);
    case SourceKind::propensities: return InversePropensity::at(source, bounds);
    case SourceKind::propensity_logits: return InversePropensityLogit::at(source, bounds);
    default: return UnitWeight::at(source, bounds);
  }
}

template <class T>
DEBIAS_HD UpperRow<T> upper_row(const RowKind& kind, const RowInput<T>& in) {
  const Weight<T> weight = source_weight(kind, in.source);
  const Slopes<T> row = loss_row(kind.loss, in.score, in.target).row;
  return {weight.value * row.value, weight.value * row.score, weight.value * row.target, weight.slope * row.value};
}

// e(s, p) + (o / q) (e(s, t) - e(s, p)), `cross` = d2 e / (ds dt)
template <class Loss, class T>
DEBIAS_HD LowerRow<T> doubly_robust_row(const RowInput<T>& in, T pseudo_target, T cross) {
  const bool observed = in.observed > T(0);
  const T weight = observed ? T(1) / in.source : T(0);
  const T target = observed ? in.target : pseudo_target;
  const DoublyRobust<T> row = doubly_robust<Loss>(in.score, target, pseudo_target, in.source, in.observed);
  const T gap = Loss::gap(in.score, target, pseudo_target).score;
  return {row.score, weight * cross, -weight * weight * gap, (T(1) - weight) * cross};
}

template <class T>
DEBIAS_HD LowerRow<T> lower_row(const RowKind& kind, const RowInput<T>& in) {
  if (kind.source == SourceKind::doubly_robust)
    return kind.loss == RowLossKind::mse  // its imputation g is a residual: p = stop(s) + g
               ? doubly_robust_row<SquaredError>(in, in.score + in.imputation, T(-2))
               : doubly_robust_row<BinaryCrossEntropy>(in, in.imputation, T(-1));
  const Weight<T> weight = source_weight(kind, in.source);
  const CrossSlopes<T> loss = loss_row(kind.loss, in.score, in.target);
  return {weight.value * loss.row.score, weight.value * loss.cross, weight.slope * loss.row.score, T(0)};
}

}  // namespace debias
