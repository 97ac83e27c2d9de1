// What a look-ahead step asks of a row's loss: the slope in the score, and how a parameter phi of the row changes that
// slope, d2 ell / (ds dphi). Written once for the CPU and CUDA kernels.
#pragma once

#include <cstdint>

#include "pointwise_loss/exposure_math.h"
#include "pointwise_loss/pointwise_loss_math.h"
#include "pointwise_loss/relmf_math.h"

namespace debias {

enum class LookaheadLoss : int32_t { mse, mae, bce, exposure, relmf };
enum class LookaheadSource : int32_t {
  unit,
  weights,
  propensities,
  propensity_logits,
  doubly_robust,
  exposures,
  exposure_logits
};

// Which loss the rows have, and what their weights are made of. The targets of exposure and relmf are clicks.
struct LookaheadKind {
  LookaheadLoss loss;
  LookaheadSource source;
  double floor, clip, largest_weight;  // largest_weight = 1 / clip; 0 and infinity without clipping
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
DEBIAS_HD CrossSlopes<T> loss_row(LookaheadLoss loss, T s, T t) {
  switch (loss) {
    case LookaheadLoss::mae: return {AbsoluteError::at(s, t), T(0)};
    case LookaheadLoss::bce: return {BinaryCrossEntropy::at(s, t), T(-1)};
    default: return {SquaredError::at(s, t), T(-2)};
  }
}

template <class T>
DEBIAS_HD Weight<T> source_weight(const LookaheadKind& kind, T source) {
  const PropensityBounds<T> bounds{static_cast<T>(kind.floor), static_cast<T>(kind.largest_weight)};
  switch (kind.source) {
    case LookaheadSource::weights: return GivenWeight::at(source, bounds);
    case LookaheadSource::propensities: return InversePropensity::at(source, bounds);
    case LookaheadSource::propensity_logits: return InversePropensityLogit::at(source, bounds);
    default: return UnitWeight::at(source, bounds);
  }
}

template <class T>
DEBIAS_HD Row<T> click_row(const LookaheadKind& kind, T score, T click, T source) {
  if (kind.loss == LookaheadLoss::relmf) return RelmfLog::at(score, click, source, static_cast<T>(kind.clip));
  return kind.source == LookaheadSource::exposures ? GivenExposure::at(score, click, source)
                                                   : ExposureLogit::at(score, click, source);
}

DEBIAS_HD bool has_clicks(const LookaheadKind& kind) { return kind.loss >= LookaheadLoss::exposure; }

template <class T>
DEBIAS_HD UpperRow<T> upper_row(const LookaheadKind& kind, const RowInput<T>& in) {
  if (has_clicks(kind)) {
    const Row<T> row = click_row(kind, in.score, in.target, in.source);
    return {row.value, row.score, row.click, row.source};
  }
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
DEBIAS_HD LowerRow<T> lower_row(const LookaheadKind& kind, const RowInput<T>& in) {
  if (kind.source == LookaheadSource::doubly_robust)
    return kind.loss == LookaheadLoss::mse  // its imputation g is a residual: p = stop(s) + g
               ? doubly_robust_row<SquaredError>(in, in.score + in.imputation, T(-2))
               : doubly_robust_row<BinaryCrossEntropy>(in, in.imputation, T(-1));
  if (has_clicks(kind)) {  // the loss is linear in the click
    const Row<T> row = click_row(kind, in.score, in.target, in.source);
    const T cross = click_row(kind, in.score, T(1), in.source).score - click_row(kind, in.score, T(0), in.source).score;
    return {row.score, cross, row.mixed, T(0)};
  }
  const Weight<T> weight = source_weight(kind, in.source);
  const CrossSlopes<T> loss = loss_row(kind.loss, in.score, in.target);
  return {weight.value * loss.row.score, weight.value * loss.cross, weight.slope * loss.row.score, T(0)};
}

// 0 where the source of an observed row lies outside its domain
template <class T>
DEBIAS_HD int valid_source(const LookaheadKind& kind, T target, T source) {
  switch (kind.source) {
    case LookaheadSource::propensities:
    case LookaheadSource::doubly_robust: return source > T(0) && source <= T(1);
    case LookaheadSource::propensity_logits:
    case LookaheadSource::exposure_logits: return source == source;
    case LookaheadSource::exposures:
      return kind.loss == LookaheadLoss::relmf ? inverse_exposure(source, static_cast<T>(kind.clip)).valid
                                               : GivenExposure::at(T(0), target, source).valid;
    default: return 1;
  }
}

template <class T>
DEBIAS_HD int valid_target(const LookaheadKind& kind, T target) {
  return !has_clicks(kind) || is_click(target);
}

}  // namespace debias
