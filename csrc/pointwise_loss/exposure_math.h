// -R log(x p) - (1 - R) log(1 - x p), p = sigmoid(s): Biif's low-variance estimator, UMF. R is the click, in [0, 1],
// and x the exposure, given or as a logit t, x = sigmoid(t).
//
// With the odds o = x p / (1 - x p) of a click, e = exp(-s), f = exp(-t) and q = 1 - p = e / (1 + e):
//   o = x / ((1 - x) + e) = 1 / (e + f + e f), sums of positive terms, so that nothing cancels for any s and x;
//   with a click     log(1 + 1 / o), slopes -q in s, -1 / x in x, -f / (1 + f) in t, mixed 0
//   without a click  log(1 + o), slopes o q in s, 1 / ((1 - x) + e) in x, o f / (1 + f) in t,
//                    mixed e / ((1 - x) + e)^2 and e f o^2
// Scores are clamped where e or 1 / o would leave the range of T, and what the value loses by that is added again.
#pragma once

#include "common/logarithm.h"
#include "pointwise_loss/row_math.h"

namespace debias {

template <class T>
struct ExposureLimits;

template <>
struct ExposureLimits<float> {
  static constexpr float steepest = 80.0f;        // e^80 is far from overflow, e^-80 a normal number
  static constexpr float log_linear = 20.0f;      // below -20, softplus(-s) is -s to all digits
  static constexpr float least_clicked = 1e-28f;  // e^20 / x is finite
};

template <>
struct ExposureLimits<double> {
  static constexpr double steepest = 700.0, log_linear = 40.0, least_clicked = 1e-288;
};

constexpr const char* kClickedExposureDomain =
    "[0, 1], and at least 1e-28 (float64: 1e-288) where there is a click";  // least_clicked

// The slope in the click is left out.
struct GivenExposure {
  static constexpr bool clips = false, binary_form = true;

  // x in [0, 1], and not 0 (at least least_clicked) where there is a click. Scores beyond +-80 (float64: 700) count as
  // that in the slopes. The slope in x and the mixed one grow like e^s as x -> 1.
  template <class T>
  static DEBIAS_HD Row<T> at_binary(T s, T click, T x) {
    using L = ExposureLimits<T>;
    const T passed = T(1) - click;  // choices by products: selects would be split into masks and a second division
    const T lowest = (L::steepest - L::log_linear) * click - L::steepest;
    const T above = s < lowest ? lowest : s, bounded = above > L::steepest ? L::steepest : above;
    const T e = exp_within(-bounded), rest = (T(1) - x) + e;
    const T reciprocal = T(1) / (click * x + passed * rest), argument = (click * rest + passed * x) * reciprocal;
    const T factor = passed * reciprocal;
    const T lost = click > T(0) ? bounded - s : (x == T(1) ? s - bounded : T(0));
    return {(lost > T(0) ? lost : T(0)) + log1p_positive(argument),
            (passed * argument - click) * (e / (T(1) + e)),
            (passed - click) * reciprocal,
            (e * factor) * factor,
            T(0),
            x >= L::least_clicked * click && x <= T(1)};
  }

  template <class T>
  static DEBIAS_HD Row<T> at(T s, T click, T x);
};

struct ExposureLogit {
  static constexpr bool clips = false, binary_form = true;

  // Any logit but NaN; everything but the value is bounded by 1. Without a click, only min(s, t) and s - t matter once
  // both are large: shifting both towards 0 keeps e and f from vanishing together.
  template <class T>
  static DEBIAS_HD Row<T> at_binary(T s, T click, T t) {
    using L = ExposureLimits<T>;
    constexpr T deep = T(60);
    const bool clicked = click > T(0);
    const T smaller = s < t ? s : t, far = clicked || !(smaller > deep) ? T(0) : smaller;
    const T shift = far > LogConstants<T>::largest ? LogConstants<T>::largest : far;
    const T lowest = clicked ? -L::log_linear : -L::steepest, back = shift > T(0) ? deep : T(0);
    const T moved_s = (s - shift) + back, moved_t = (t - shift) + back;
    const T above_s = moved_s < lowest ? lowest : moved_s, above_t = moved_t < lowest ? lowest : moved_t;
    const T e = exp_within(-(above_s > L::steepest ? L::steepest : above_s));
    const T f = exp_within(-(above_t > L::steepest ? L::steepest : above_t));
    const T inverse = e + f * (T(1) + e), odds = T(1) / inverse;
    const T lost = clicked ? (s < lowest ? lowest - s : T(0)) + (t < lowest ? lowest - t : T(0)) : far - back;
    return {lost + log1p_positive(clicked ? inverse : odds),
            (clicked ? T(-1) : odds) * (e / (T(1) + e)),
            (clicked ? T(-1) : odds) * (f / (T(1) + f)),
            clicked ? T(0) : (e * odds) * (f * odds),
            T(0),
            t == t};
  }

  template <class T>
  static DEBIAS_HD Row<T> at(T s, T click, T t);
};

// Any click in [0, 1]: both cases, two logarithms. Where x = 0, the slope in the click leaves out its infinite part
// log x.
template <class Exposure, class T>
DEBIAS_HD Row<T> exposure_mixture(T s, T click, T x, T possible, int valid) {
  const Row<T> with = Exposure::at_binary(s, T(1), possible), without = Exposure::at_binary(s, T(0), x);
  const T rest = T(1) - click;
  return {(click > T(0) ? click * with.value : T(0)) + (rest > T(0) ? rest * without.value : T(0)),
          click * with.score + rest * without.score,
          click * with.source + rest * without.source,
          rest * without.mixed,
          with.value - without.value,
          valid};
}

template <class T>
DEBIAS_HD Row<T> GivenExposure::at(T s, T click, T x) {
  const T least = ExposureLimits<T>::least_clicked;
  const int valid = x >= (click > T(0) ? least : T(0)) && x <= T(1);
  return exposure_mixture<GivenExposure>(s, click, x, x < least ? T(1) : x, valid);
}

template <class T>
DEBIAS_HD Row<T> ExposureLogit::at(T s, T click, T t) {
  return exposure_mixture<ExposureLogit>(s, click, t, t, t == t);
}

}  // namespace debias
