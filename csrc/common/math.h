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

template <int N>
constexpr double kFactorial = N * kFactorial<N - 1>;
template <>
constexpr double kFactorial<0> = 1.0;

// sum_k r^k / (k + K)!, degree fixed at compile time
template <class T, int K = 0>
DEBIAS_HD T exp_series(T r) {
  if constexpr (K == MathConstants<T>::exp_degree) {
    return T(1.0 / kFactorial<K>);
  } else {
    return T(1.0 / kFactorial<K>) + r * exp_series<T, K + 1>(r);
  }
}

// exp(x) = 2^n exp(r), |r| <= ln(2) / 2
template <class T>
struct ExpParts {
  T fraction;  // exp(r)
  typename MathConstants<T>::Bits n;
};

template <class T>
DEBIAS_HD ExpParts<T> exp_parts(T x) {
  using C = MathConstants<T>;
  using Bits = typename C::Bits;
  const T shifted = x * T(1.44269504088896340736) + C::rounder;
  const T rounded = shifted - C::rounder;
  const T r = (x - rounded * C::ln2_high) - rounded * C::ln2_low;
  return {exp_series<T>(r), bits<Bits>(shifted) - bits<Bits>(T(C::rounder))};
}

// For every x: 2^n in two factors, so that overflow and underflow round as they should
template <class T>
DEBIAS_HD T exp(T x) {
  using C = MathConstants<T>;
  using Bits = typename C::Bits;
  x = x < C::exp_min ? C::exp_min : x;
  x = x > C::exp_max ? C::exp_max : x;
  const ExpParts<T> parts = exp_parts(x);
  const Bits half = ((parts.n + 2048) >> 1) - 1024;
  return parts.fraction * power_of_two<T>(half) * power_of_two<T>(parts.n - half);
}

// For |x| <= -logit_min, where 2^n is a normal number
template <class T>
DEBIAS_HD T exp_within(T x) {
  const ExpParts<T> parts = exp_parts(x);
  return parts.fraction * power_of_two<T>(parts.n);
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

// log2(a / b), 3 ulp, for normal a > 0 and b > 0 up to half of the largest number, in one division and without forming
// a / b, which may overflow: a is scaled by the power of two that brings it next to b (within 1.5), then
// 2 atanh((a - b) / (a + b)). NaN stays NaN.
template <class T>
DEBIAS_HD T log2_ratio(T a, T b) {
  using C = MathConstants<T>;
  using Bits = typename C::Bits;
  constexpr Bits bias = Bits(2 * C::exponent_bias), half = Bits(1) << (C::mantissa_bits - 1);
  // the difference of the exponents, to the nearest integer; the bias keeps the shifted number positive
  const Bits power = ((bits<Bits>(a) - bits<Bits>(b) + half + (bias << C::mantissa_bits)) >> C::mantissa_bits) - bias;
  const T scaled = bits<T>(static_cast<Bits>(bits<Bits>(a) - (power << C::mantissa_bits)));
  const T u = (scaled - b) / (scaled + b);
  const T rounded = bits<T>(static_cast<Bits>(bits<Bits>(T(C::rounder)) + power)) - C::rounder;
  const T log = u * (T(2.88539008177792681472) * atanh_series<T>(u * u)) + rounded;  // 2 / ln 2
  const T sum = a + b;
  return sum == sum ? log : sum;
}

// ln(2)^k / k!
template <class T, int K>
struct Exp2Coefficient {
  static constexpr T value = Exp2Coefficient<T, K - 1>::value * T(0.69314718055994530942) / T(K);
};
template <class T>
struct Exp2Coefficient<T, 0> {
  static constexpr T value = 1;
};

// sum_k (r ln 2)^k / k!
template <class T, int K = 0>
DEBIAS_HD T exp2_series(T r) {
  constexpr T coefficient = Exp2Coefficient<T, K>::value;
  if constexpr (K == MathConstants<T>::exp_degree) {
    return coefficient;
  } else {
    return coefficient + r * exp2_series<T, K + 1>(r);
  }
}

// 2^x, 2 ulp, for |x| < MathConstants<T>::exponent_bias, where it is a normal number. NaN stays NaN.
template <class T>
DEBIAS_HD T exp2_normal(T x) {
  using C = MathConstants<T>;
  using Bits = typename C::Bits;
  const T shifted = x + C::rounder;
  const Bits n = bits<Bits>(shifted) - bits<Bits>(T(C::rounder));
  return exp2_series<T>(x - (shifted - C::rounder)) * power_of_two<T>(n);
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
