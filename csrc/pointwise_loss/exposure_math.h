// -R log(x p) - (1 - R) log(1 - x p), p = sigmoid(s): Biif's low-variance estimator, UMF. R is the click, in [0, 1],
// and x the exposure, given or as a logit t, x = sigmoid(t).
//
// With e = exp(-|s|), a = 1 for s > 0 else e, b = e for s > 0 else 1, so that p = a / (1 + e) and 1 - p = b / (1 + e):
//   1 - x p = A / (1 + e), A = (1 - x) a + b, a sum of positive terms. Nothing cancels for any s and x:
//   without a click  log(1 + x a / A), slopes x e / ((1 + e) A) in s, a / A in x, mixed e / A^2
//   with a click     max(-s, 0) + log(1 + (1 - x + e) / x), slopes -b / (1 + e) in s, -1 / x in x, mixed 0
// For a logit, with f, g, h of t as e, a, b of s:  A (1 + f) = h a + b (1 + f) = B,
//   without a click  log(1 + g a / B), slopes g e / ((1 + e) B), a f / ((1 + f) B), mixed e f / B^2
//   with a click     max(-s, 0) + max(-t, 0) + log(1 + e + f + e f), slopes -b / (1 + e), -h / (1 + f), mixed 0
#pragma once

#include "common/logarithm.h"
#include "pointwise_loss/row_math.h"

namespace debias {

// One of the two cases as fractions over a common denominator: value = base + log(1 + argument / denominator),
// slopes in s and in x or t: score (score_scale / denominator) / (1 + e), source (source_scale / denominator) / (1 +
// f). The scale keeps small factors apart, whose product would underflow.
template <class T>
struct ExposureCase {
  T base, argument, score, score_scale, source, source_scale, denominator;
};

template <class T>
struct ExposureCases {
  ExposureCase<T> click, none;
  T e, f, one_plus_e, one_plus_f;  // f and 1 + f are 1 where the exposure is given
};

template <class T>
DEBIAS_HD Row<T> exposure_row(const ExposureCase<T>& c, const ExposureCases<T>& row) {
  const T reciprocal = T(1) / (c.denominator * row.one_plus_e * row.one_plus_f);  // one division for everything
  const T over_e = row.one_plus_f * reciprocal, over_f = row.one_plus_e * reciprocal;
  const T inverse = row.one_plus_e * over_e;
  return {c.base + log1p_positive(c.argument * inverse),
          c.score * (c.score_scale * over_e),
          c.source * (c.source_scale * over_f),
          (row.e * inverse) * (row.f * inverse),
          T(0),
          true};
}

// Any click in [0, 1]: two logarithms.
template <class Exposure, class T>
DEBIAS_HD Row<T> exposure_mixture(T s, T click, T x) {
  const ExposureCases<T> clicked = Exposure::cases(s, T(1), x), passed = Exposure::cases(s, T(0), x);
  const Row<T> with = exposure_row(clicked.click, clicked), without = exposure_row(passed.none, passed);
  const T rest = T(1) - click;
  return {(click > T(0) ? click * with.value : T(0)) + (rest > T(0) ? rest * without.value : T(0)),
          click * with.score + rest * without.score,
          click * with.source + rest * without.source,
          rest * without.mixed,
          with.value - without.value,
          Exposure::valid(click, x)};
}

// A click of 0 or 1: one logarithm; the slope in the click is left out.
template <class Exposure, class T>
DEBIAS_HD Row<T> exposure_choice(T s, T click, T x) {
  const ExposureCases<T> cases = Exposure::cases(s, click, x);
  const ExposureCase<T>&a = cases.click, &b = cases.none;
  const bool clicked = click > T(0);
  const ExposureCase<T> chosen{clicked ? a.base : b.base,
                               clicked ? a.argument : b.argument,
                               clicked ? a.score : b.score,
                               clicked ? a.score_scale : b.score_scale,
                               clicked ? a.source : b.source,
                               clicked ? a.source_scale : b.source_scale,
                               clicked ? a.denominator : b.denominator};
  const Row<T> row = exposure_row(chosen, cases);
  return {row.value, row.score, row.source, clicked ? T(0) : row.mixed, T(0), Exposure::valid(click, x)};
}

// x in [0, 1], and above 0 (the smallest normal number) where there is a click. Scores beyond +-80 (float64: 700) count
// as that in the slopes. The slopes in x and the mixed one grow like e^s as x -> 1; in the logit everything is bounded.
// Where x = 0, the slope in the click leaves out its infinite part log x.
struct GivenExposure {
  static constexpr bool clips = false, binary_form = true;
  template <class T>
  static DEBIAS_HD ExposureCases<T> cases(T s, T, T x) {
    constexpr T steepest = sizeof(T) == 4 ? T(80) : T(700);
    constexpr T smallest = LogConstants<T>::smallest_normal;
    const bool positive = s > T(0);
    const T magnitude = absolute(s), bounded = magnitude > steepest ? steepest : magnitude;
    const T e = exp(-bounded), a = positive ? T(1) : e, b = positive ? e : T(1);
    const T unexposed = T(1) - x, possible = x < smallest ? T(1) : x;
    const T beyond = positive && x == T(1) ? magnitude - bounded : T(0);
    return {{positive ? T(0) : magnitude, (T(1) - possible) + e, -b, possible, T(-1), T(1), possible},
            {beyond, x * a, e, x, a, T(1), unexposed * a + b},
            e,
            T(1),
            T(1) + e,
            T(1)};
  }
  template <class T>
  static DEBIAS_HD int valid(T click, T x) {
    return x >= (click > T(0) ? LogConstants<T>::smallest_normal : T(0)) && x <= T(1);
  }
  template <class T>
  static DEBIAS_HD Row<T> at(T s, T click, T x) {
    return exposure_mixture<GivenExposure>(s, click, x);
  }
  template <class T>
  static DEBIAS_HD Row<T> at_binary(T s, T click, T x) {
    return exposure_choice<GivenExposure>(s, click, x);
  }
};

// Any logit but NaN. Without a click, only min(s, t) and s - t matter once both are large: shifting both towards 0
// keeps e and f from vanishing together.
struct ExposureLogit {
  static constexpr bool clips = false, binary_form = true;
  template <class T>
  static DEBIAS_HD ExposureCases<T> cases(T s, T click, T t) {
    constexpr T deep = T(60);
    const T smaller = s < t ? s : t;
    const bool shifted = smaller > deep && click < T(1);
    const T e = exp(shifted ? (smaller - s) - deep : -absolute(s));
    const T f = exp(shifted ? (smaller - t) - deep : -absolute(t));
    const T a = s > T(0) ? T(1) : e, b = s > T(0) ? e : T(1);
    const T g = t > T(0) ? T(1) : f, h = t > T(0) ? f : T(1);
    const T below = (s > T(0) ? T(0) : -s) + (t > T(0) ? T(0) : -t);
    return {{below, e + f * (T(1) + e), -b, T(1), -h, T(1), T(1)},
            {shifted ? smaller - deep : T(0), g * a, e, g, f, a, h * a + b * (T(1) + f)},
            e,
            f,
            T(1) + e,
            T(1) + f};
  }
  template <class T>
  static DEBIAS_HD int valid(T, T t) {
    return t == t;
  }
  template <class T>
  static DEBIAS_HD Row<T> at(T s, T click, T t) {
    return exposure_mixture<ExposureLogit>(s, click, t);
  }
  template <class T>
  static DEBIAS_HD Row<T> at_binary(T s, T click, T t) {
    return exposure_choice<ExposureLogit>(s, click, t);
  }
};

}  // namespace debias
