// softplus(-(f_i - f_j)) over pairs of a positive and a negative item: f = s (BPR), or f = m^gamma E(s) with the
// popularity m and E(s) = s + 1 for s > 0 else e^s (PDA). Slopes e a_i E'(s_i), -e a_j E'(s_j), e = -sigmoid(-(f_i -
// f_j)).
#pragma once

#include "common/logarithm.h"

namespace debias {

template <class T>
struct PairRow {
  T value, positive, negative;  // the loss, its slopes in s_i and in s_j
};

// m^gamma for m in [0, 1], gamma >= 0; 0^0 = 1. A subnormal m is scaled to a normal one. Between 1 and e^-87 (float64:
// e^-708) the power has its digits, below it counts as 0.
template <class T>
DEBIAS_HD T power_of_unit(T m, T gamma) {
  using L = LogConstants<T>;
  using C = MathConstants<T>;
  const T small = m < L::smallest_normal ? T(1) : T(0);
  constexpr T scale = T(2) * L::integers, log_scale = T(C::mantissa_bits + 1) * T(0.69314718055994530942);
  const T log_m = log_normal(m + small * (m * scale - m)) - small * log_scale;
  const T exponent = gamma * log_m, bounded = exponent < C::logit_min ? C::logit_min : exponent;
  const T power = exp_within(bounded);
  const T zero = gamma == T(0) ? T(1) : T(0);
  return m > T(0) && exponent >= C::logit_min ? power : zero;
}

template <class T>
DEBIAS_HD int is_popularity(T m) {
  return m >= T(0) && m <= T(1);
}

struct BprScore {
  static constexpr bool with_popularity = false;
  template <class T>
  static DEBIAS_HD PairRow<T> at(T s_i, T s_j, T, T, T) {
    const Logistic<T> l = logistic(s_j - s_i);
    return {l.softplus, -l.sigmoid, l.sigmoid};
  }
};

struct PopularityScore {
  static constexpr bool with_popularity = true;
  template <class T>
  static DEBIAS_HD PairRow<T> at(T s_i, T s_j, T m_i, T m_j, T gamma) {
    const T a_i = power_of_unit(m_i, gamma), a_j = power_of_unit(m_j, gamma);
    const T e_i = exp(s_i > T(0) ? T(0) : s_i), e_j = exp(s_j > T(0) ? T(0) : s_j);  // E'(s)
    const T f_i = a_i * (s_i > T(0) ? s_i + T(1) : e_i), f_j = a_j * (s_j > T(0) ? s_j + T(1) : e_j);
    const Logistic<T> l = logistic(f_j - f_i);
    return {l.softplus, -l.sigmoid * (a_i * e_i), l.sigmoid * (a_j * e_j)};
  }
};

}  // namespace debias
