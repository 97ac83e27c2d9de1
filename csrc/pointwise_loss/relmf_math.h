// Losses of implicit feedback, weighted by the inverse exposure: w = R / max(x, clip), p = sigmoid(s).
//   square  w (1 - p)^2 + (1 - w) p^2                       slope 2 p (1 - p) (p - w) in s, 1 - 2 p in w
//   log     softplus(s) - w s = w sp(-s) + (1 - w) sp(s)    slope p - w in s, -s in w
// p - w is computed as (1 - w) p - w (1 - p), and 1 - w as (x - R) / x: nothing cancels near w = 0 and w = 1.
#pragma once

#include "common/math.h"
#include "pointwise_loss/row_math.h"

namespace debias {

// A clipped exposure has no slope.
template <class T>
struct InverseExposure {
  T value, slope, exposure;  // 1 / max(x, clip), its slope in x, max(x, clip)
  int valid;
};

template <class T>
DEBIAS_HD InverseExposure<T> inverse_exposure(T x, T clip) {
  const bool inside = !(x < clip);
  const T exposure = inside ? x : clip, inverse = T(1) / exposure;
  return {inverse, inside ? -inverse * inverse : T(0), exposure, x >= T(0) && x <= T(1) && (x > T(0) || clip > T(0))};
}

// p = sigmoid(s) and q = 1 - p, both with all their digits
template <class T>
struct Odds {
  T p, q, log_part;  // log_part = log(1 + e^-|s|)
};

template <class T>
DEBIAS_HD Odds<T> odds(T s) {
  const T e = exp(-absolute(s));
  const T large = T(1) / (T(1) + e), small = e * large;
  return {s < T(0) ? small : large, s < T(0) ? large : small, log1p_unit(e)};
}

struct RelmfSquare {
  static constexpr bool clips = true, binary_form = false;
  template <class T>
  static DEBIAS_HD Row<T> at(T s, T click, T x, T clip = T(0)) {
    const InverseExposure<T> inverse = inverse_exposure(x, clip);
    const Odds<T> o = odds(s);
    const T w = click * inverse.value, rest = (inverse.exposure - click) * inverse.value;
    const T slope = o.q - o.p, twice = T(2) * o.p * o.q;
    return {w * o.q * o.q + rest * o.p * o.p, twice * (rest * o.p - w * o.q), slope * click * inverse.slope,
            -twice * click * inverse.slope,   slope * inverse.value,          inverse.valid};
  }
};

struct RelmfLog {
  static constexpr bool clips = true, binary_form = false;
  template <class T>
  static DEBIAS_HD Row<T> at(T s, T click, T x, T clip = T(0)) {
    const InverseExposure<T> inverse = inverse_exposure(x, clip);
    const Odds<T> o = odds(s);
    const T w = click * inverse.value, rest = (inverse.exposure - click) * inverse.value;
    return {o.log_part + (s > T(0) ? rest * s : -w * s),
            rest * o.p - w * o.q,
            -s * click * inverse.slope,
            -click * inverse.slope,
            -s * inverse.value,
            inverse.valid};
  }
};

}  // namespace debias
