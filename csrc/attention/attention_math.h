// Activations of the attention network and their slopes, element by element, host and device.
#pragma once

#include "attention/attention_kernels.h"
#include "common/sigmoid.h"

namespace debias {
namespace attention {

// Dice: x (p + alpha (1 - p)), p = sigmoid((x - mean) scale). pull and stretch are the means, over the valid positions
// of the batch, of the gradient of the normalised x and of that times the normalised x; 0 where the statistics are
// constants.
template <class T>
struct Units {
  const T *alpha, *mean, *scale, *pull, *stretch;
};

template <AttentionActivation kind, class T>
struct Activate {
  const T* hidden;
  T* out;
  int64_t stride;
  Units<T> units;

  DEBIAS_HD void operator()(int64_t row, int64_t u) const {
    const T x = hidden[row * stride + u];
    T y = x < T(0) ? T(0) : x;  // keeps NaN
    if constexpr (kind == AttentionActivation::sigmoid) y = sigmoid_slope(x).value;
    if constexpr (kind == AttentionActivation::dice) {
      const T p = sigmoid_slope((x - units.mean[u]) * units.scale[u]).value;
      y = x * (p + units.alpha[u] * (T(1) - p));
    }
    out[row * stride + u] = y;
  }
};

// The gradient of a Dice unit's normalised x: grad x (1 - alpha) p (1 - p)
template <class T>
DEBIAS_HD T normal_slope(T grad, T x, T alpha, const SigmoidSlope<T>& p) {
  return grad * x * (T(1) - alpha) * p.slope;
}

// From the gradient of the activation to that of the pre-activation, and for Dice that of alpha.
template <AttentionActivation kind, class T>
struct Slope {
  const T *hidden, *grad;
  T *out, *to_alpha;
  int64_t stride;
  Units<T> units;

  DEBIAS_HD void operator()(int64_t row, int64_t u) const {
    const int64_t at = row * stride + u;
    const T x = hidden[at], g = grad[at];
    if constexpr (kind == AttentionActivation::relu) out[at] = x <= T(0) ? T(0) : g;
    if constexpr (kind == AttentionActivation::sigmoid) out[at] = g * sigmoid_slope(x).slope;
    if constexpr (kind == AttentionActivation::dice) {
      const T normal = (x - units.mean[u]) * units.scale[u], alpha = units.alpha[u];
      const SigmoidSlope<T> p = sigmoid_slope(normal);
      const T through = normal_slope(g, x, alpha, p) - units.pull[u] - normal * units.stretch[u];
      out[at] = g * (p.value + alpha * (T(1) - p.value)) + units.scale[u] * through;
      to_alpha[at] = g * x * (T(1) - p.value);
    }
  }
};

// What pull and stretch are the means of.
template <class T>
struct NormalSlopes {
  const T *hidden, *grad;
  T *slopes, *products;
  int64_t stride;
  Units<T> units;

  DEBIAS_HD void operator()(int64_t row, int64_t u) const {
    const int64_t at = row * stride + u;
    const T x = hidden[at], normal = (x - units.mean[u]) * units.scale[u];
    const T slope = normal_slope(grad[at], x, units.alpha[u], sigmoid_slope(normal));
    slopes[at] = slope;
    products[at] = slope * normal;
  }
};

// (x - sum / n)^2
template <class T>
struct SquaredDeviations {
  const T *hidden, *sums;
  T* out;
  int64_t stride;
  T inverse_count;

  DEBIAS_HD void operator()(int64_t row, int64_t u) const {
    const T deviation = hidden[row * stride + u] - sums[u] * inverse_count;
    out[row * stride + u] = deviation * deviation;
  }
};

// Count, mean and sum of squared deviations of two samples put together (Chan, Golub and LeVeque 1983).
template <class T>
DEBIAS_HD void merge_moments(T count, T& mean, T& squares, T other_count, T other_mean, T other_squares) {
  const T total = count + other_count, delta = other_mean - mean, share = total > T(0) ? other_count / total : T(0);
  mean += delta * share;
  squares += other_squares + delta * delta * count * share;
}

}  // namespace attention
}  // namespace debias
