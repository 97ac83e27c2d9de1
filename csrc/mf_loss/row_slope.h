// One row of a factor model's loss, as a function of its score: what every fused training step needs of it. Written
// once for the CPU and CUDA kernels; members that a kernel does not read cost nothing.
#pragma once

#include "pointwise_loss/exposure_math.h"
#include "pointwise_loss/pointwise_loss_math.h"
#include "pointwise_loss/relmf_math.h"

namespace debias {

enum class RowLossKind { mse, mae, bce, exposure, relmf };

// The loss of a row and its slopes in the score s, the target t, the weight w, the source x (the exposure, where the
// loss reads one) and the pseudo target p; valid is 0 where t or x lies outside the domain of the loss.
template <class T>
struct RowSlope {
  T value, score, target, weight, source, pseudo_target;
  int valid;
};

// A row loss is a struct with `reads_source`, `reads_pseudo_target` and at(s, t, w, x, p); an argument that is not read
// may be anything, and its slope is 0. Without weights w is 1.

// w ell(s, t)
template <class Loss>
struct WeightedRow {
  static constexpr bool reads_source = false, reads_pseudo_target = false;
  template <class T>
  static DEBIAS_HD RowSlope<T> at(T s, T t, T w, T, T) {
    const Slopes<T> row = Loss::at(s, t);
    return {w * row.value, w * row.score, w * row.target, row.value, T(0), T(0), 1};
  }
};

// ell(s, p) + w (ell(s, t) - ell(s, p)): doubly robust with w = o / q
template <class Loss>
struct CorrectedRow {
  static constexpr bool reads_source = false, reads_pseudo_target = true;
  template <class T>
  static DEBIAS_HD RowSlope<T> at(T s, T t, T w, T, T p) {
    const Slopes<T> imputed = Loss::at(s, p);
    const Gap<T> gap = Loss::gap(s, t, p);
    return {imputed.value + w * gap.value,
            imputed.score + w * gap.score,
            w * Loss::at(s, t).target,
            gap.value,
            T(0),
            (T(1) - w) * imputed.target,
            1};
  }
};

// w ell(s, R, x) of clicks R = t and exposures x
template <class Loss>
struct ClickedRow {
  static constexpr bool reads_source = true, reads_pseudo_target = false;
  template <class T>
  static DEBIAS_HD RowSlope<T> at(T s, T t, T w, T x, T) {
    const Row<T> row = Loss::at(s, t, x);
    return {w * row.value, w * row.score, w * row.click, row.value, w * row.source, T(0), row.valid & is_click(t)};
  }
};

inline bool reads_exposures(RowLossKind kind) { return kind == RowLossKind::exposure || kind == RowLossKind::relmf; }

template <class Loss, class F>
decltype(auto) with_row_loss_of(bool pseudo_targets, F&& f) {
  if (pseudo_targets) return f(CorrectedRow<Loss>{});
  return f(WeightedRow<Loss>{});
}

// f(row loss): from the run-time kind to the struct. All calls of f return the same type. The losses of clicks have no
// pseudo targets.
template <class F>
decltype(auto) with_row_loss(RowLossKind kind, bool pseudo_targets, F&& f) {
  switch (kind) {
    case RowLossKind::mae: return with_row_loss_of<AbsoluteError>(pseudo_targets, f);
    case RowLossKind::bce: return with_row_loss_of<BinaryCrossEntropy>(pseudo_targets, f);
    case RowLossKind::exposure: return f(ClickedRow<GivenExposure>{});
    case RowLossKind::relmf: return f(ClickedRow<RelmfLog>{});
    case RowLossKind::mse: break;
  }
  return with_row_loss_of<SquaredError>(pseudo_targets, f);
}

}  // namespace debias
