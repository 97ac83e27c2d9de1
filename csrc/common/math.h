// Elementary functions shared by the CPU and the CUDA kernels. Branch-free, so that loops over them vectorise.
// Accuracy: exp 2 ulp, softplus and sigmoid 3 ulp. Not for -ffast-math: the rounding trick below needs the additions as
// written.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/hostdevice.h"

namespace debias {

template <class To, class From>
DEBIAS_HD To bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}

template <class T>
struct MathConstants;

template <>
struct MathConstants<float> {
  using Bits = uint32_t;
  static constexpr int mantissa_bits = 23, exponent_bias = 127;
  static constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float exp_min = -104.0f, exp_max = 89.0f;  // beyond: 0 and infinity
  static constexpr float logit_min = -87.0f;                  // exp(87) is still finite
  static constexpr int exp_degree = 7, atanh_terms = 6;
};

template <>
struct MathConstants<double> {
  using Bits = uint64_t;
  static constexpr int mantissa_bits = 52, exponent_bias = 1023;
  static constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr double exp_min = -746.0, exp_max = 710.0;
  static constexpr double logit_min = -708.0;
  static constexpr int exp_degree = 13, atanh_terms = 12;
};

// 2^n; n wraps around in unsigned arithmetic
template <class T>
DEBIAS_HD T power_of_two(typename MathConstants<T>::Bits n) {
  using C = MathConstants<T>;
  return bits<T>(static_cast<typename C::Bits>((n + C::exponent_bias) << C::mantissa_bits));
}

// sum_k r^k / k!, degree fixed at compile time
template <class T, int K = 1>
DEBIAS_HD T exp_series(T r) {
  if constexpr (K > MathConstants<T>::exp_degree) {
    return T(1);
  } else {
    return T(1) + r * (T(1) / T(K)) * exp_series<T, K + 1>(r);
  }
}

// exp(x) = 2^n exp(r), |r| <= ln(2) / 2; 2^n in two factors, so that overflow and underflow round as they should
template <class T>
DEBIAS_HD T exp(T x) {
  using C = MathConstants<T>;
  using Bits = typename C::Bits;
  x = x < C::exp_min ? C::exp_min : x;
  x = x > C::exp_max ? C::exp_max : x;
  const T shifted = x * T(1.44269504088896340736) + C::rounder;
  const T rounded = shifted - C::rounder;
  const Bits n = bits<Bits>(shifted) - bits<Bits>(T(C::rounder));
  const T r = (x - rounded * C::ln2_high) - rounded * C::ln2_low;
  const Bits half = ((n + 2048) >> 1) - 1024;
  return exp_series<T>(r) * power_of_two<T>(half) * power_of_two<T>(n - half);
}

// sum_k u^(2k) / (2k + 1)
template <class T, int K = 0>
DEBIAS_HD T atanh_series(T u2) {
  if constexpr (K + 1 == MathConstants<T>::atanh_terms) {
    return T(1) / T(2 * K + 1);
  } else {
    return T(1) / T(2 * K + 1) + u2 * atanh_series<T, K + 1>(u2);
  }
}

// log(1 + x) for 0 <= x <= 1: 2 atanh(u), with u small after splitting off ln 2 where x > sqrt(2) - 1
template <class T>
DEBIAS_HD T log1p_unit(T x) {
  const bool large = x > T(0.41421356237309504880);
  const T u = (large ? x - T(1) : x) / (large ? x + T(3) : x + T(2));
  return (large ? T(0.69314718055994530942) : T(0)) + T(2) * u * atanh_series<T>(u * u);
}

// log(a / b), 3 ulp, for normal a > 0 and b > 0 up to half of the largest number, in one division and without forming
// a / b, which may overflow: a is scaled by the power of two that brings it next to b (within 1.5), then
// 2 atanh((a - b) / (a + b)). NaN stays NaN.
template <class T>
DEBIAS_HD T log_ratio(T a, T b) {
  using C = MathConstants<T>;
  using Bits = typename C::Bits;
  constexpr Bits bias = Bits(2 * C::exponent_bias), half = Bits(1) << (C::mantissa_bits - 1);
  // the difference of the exponents, to the nearest integer; the bias keeps the shifted number positive
  const Bits biased = (bits<Bits>(a) - bits<Bits>(b) + half + (bias << C::mantissa_bits)) >> C::mantissa_bits;
  const T power = bits<T>(bits<Bits>(T(C::rounder)) + (biased - bias)) - C::rounder;
  const T scaled = bits<T>(static_cast<Bits>(bits<Bits>(a) - ((biased - bias) << C::mantissa_bits)));
  const T u = (scaled - b) / (scaled + b);
  const T log = (power * C::ln2_low + T(2) * u * atanh_series<T>(u * u)) + power * C::ln2_high;
  const T sum = a + b;
  return sum == sum ? log : sum;
}

template <class T>
DEBIAS_HD T absolute(T x) {
  return x < T(0) ? -x : x;
}

// -1, 0 or 1; keeps NaN
template <class T>
DEBIAS_HD T sign(T x) {
  return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
}

// softplus(s) = log(1 + e^s) and sigmoid(s), sharing e = exp(-|s|): finite for every finite s
template <class T>
struct Logistic {
  T softplus, sigmoid;
};

template <class T>
DEBIAS_HD Logistic<T> logistic(T s) {
  const T e = exp(-absolute(s));
  const T reciprocal = T(1) / (T(1) + e);
  return {(s > T(0) ? s : T(0)) + log1p_unit(e), s < T(0) ? e * reciprocal : reciprocal};
}

}  // namespace debias
