// What the four row-loss operators share: options from strings, outputs on request, and the check of propensities.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <tuple>

#include "common/check.h"
#include "common/dispatch.h"
#include "pointwise_loss/pointwise_loss_kernels.h"

namespace debias {

inline LossKind parse_loss(const std::string& loss) {
  if (loss == "mse") return LossKind::mse;
  if (loss == "mae") return LossKind::mae;
  if (loss == "bce") return LossKind::bce;
  value_error("loss must be 'mse', 'mae' or 'bce', got '", loss, "'");
}

enum class Reduction { none, sum, mean };

inline Reduction parse_reduction(const std::string& reduction) {
  if (reduction == "none") return Reduction::none;
  if (reduction == "sum") return Reduction::sum;
  if (reduction == "mean") return Reduction::mean;
  value_error("reduction must be 'mean', 'sum' or 'none', got '", reduction, "'");
}

// 1 / n of no rows is infinite, and the mean over no rows NaN, as in torch.
inline double reduction_scale(Reduction reduction, int64_t n) {
  return reduction == Reduction::mean ? 1.0 / static_cast<double>(n) : 1.0;
}

inline double largest_weight(std::optional<double> clip_min) {
  return clip_min ? 1.0 / *clip_min : std::numeric_limits<double>::infinity();
}

inline void check_bounds(std::optional<double> clip_min, std::optional<double> floor) {
  if (clip_min && !(*clip_min > 0 && *clip_min <= 1)) value_error("clip_min must be in (0, 1], got ", *clip_min);
  if (floor && !(*floor > 0 && *floor < 1)) value_error("floor must be in (0, 1), got ", *floor);
  if (clip_min && floor) value_error("clip_min and floor exclude each other, got ", *clip_min, " and ", *floor);
}

// Which gradients the caller will ask for: bit k stands for the k-th differentiable argument.
inline bool needed(int64_t needs, int bit) { return (needs >> bit) & 1; }

// The 0-d (or, without reduction, row by row) loss.
inline Tensor loss_output(const Tensor& scores, Reduction reduction) {
  return reduction == Reduction::none ? torch::stable::new_empty(scores, scores.sizes())
                                      : torch::stable::new_empty(scores, {});
}

template <class T>
void write_scalar(const Tensor& loss, double value) {
  *static_cast<T*>(loss.mutable_data_ptr()) = static_cast<T>(value);
}

// Names the first row that broke the contract; `observed` masks rows that are not read.
template <class T>
[[noreturn]] void propensity_error(const char* name, bool logits, const T* values, const bool* observed, int64_t n) {
  int64_t first = -1, count = 0;
  for (int64_t k = 0; k < n; ++k) {
    if (observed && !observed[k]) continue;
    const bool valid = logits ? !std::isnan(values[k]) : values[k] > T(0) && values[k] <= T(1);
    if (valid) continue;
    if (first < 0) first = k;
    ++count;
  }
  value_error(name, logits ? " must not be NaN" : " must be in (0, 1]", ", got ", values[first], " at row ", first,
              count > 1 ? message(" (", count, " such rows)") : "");
}

[[noreturn]] inline void propensity_error(const char* name, bool logits) {
  value_error(name, logits ? " must not be NaN" : " must be in (0, 1]", ", got other values");
}

}  // namespace debias
