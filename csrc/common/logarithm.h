// log(1 + w) for w >= 0 and log(y) for normal y > 0. Branch-free, like math.h.
// Accuracy: 3 ulp (log_normal where its result is not near 0). log1p_positive keeps NaN and infinity.
#pragma once

#include "common/math.h"

namespace debias {

template <class T>
struct LogConstants;

template <>
struct LogConstants<float> {
  static constexpr uint32_t low = 0x3f3504f3u;   // the bits of 1 / sqrt(2)
  static constexpr float integers = 8388608.0f;  // 2^23: above it, the bits of a float count in ones
  static constexpr float largest = 3.402823466e38f, smallest_normal = 1.175494351e-38f;
};

template <>
struct LogConstants<double> {
  static constexpr uint64_t low = 0x3fe6a09e667f3bcdu;
  static constexpr double integers = 4503599627370496.0;  // 2^52
  static constexpr double largest = 1.7976931348623157e308, smallest_normal = 2.2250738585072014e-308;
};

// y = 2^exponent mantissa with 1 / sqrt(2) <= mantissa < sqrt(2), for normal y > 0
template <class T>
struct Split {
  T exponent, mantissa;
};

template <class T>
DEBIAS_HD Split<T> split(T y) {
  using C = MathConstants<T>;
  using L = LogConstants<T>;
  using Bits = typename C::Bits;
  constexpr Bits one = Bits(1) << C::mantissa_bits, bias = Bits(C::exponent_bias) << C::mantissa_bits;
  const Bits shifted = bits<Bits>(y) - L::low + bias;
  const T exponent = bits<T>(static_cast<Bits>((shifted >> C::mantissa_bits) | bits<Bits>(T(L::integers))));
  return {exponent - (L::integers + T(C::exponent_bias)), bits<T>(static_cast<Bits>((shifted & (one - 1)) + L::low))};
}

// log(1 + f) for |f| < sqrt(2) - 1: 2 atanh(f / (2 + f))
template <class T>
DEBIAS_HD T log1p_small(T f) {
  const T u = f / (T(2) + f);
  return T(2) * u * atanh_series<T>(u * u);
}

// f + f^2 P(f), P fitted to a relative error of 3e-8 of the result: no division
template <>
DEBIAS_HD float log1p_small(float f) {
  float p = 0.08734866847f;
  p = p * f - 0.1430751085f;
  p = p * f + 0.1491795927f;
  p = p * f - 0.1657050848f;
  p = p * f + 0.1996207386f;
  p = p * f - 0.2500175536f;
  p = p * f + 0.3333395123f;
  p = p * f - 0.4999999106f;
  return f + f * (p * f);
}

// exponent ln 2 + log(1 + f)
template <class T>
DEBIAS_HD T log_sum(T exponent, T f) {
  using C = MathConstants<T>;
  return exponent * C::ln2_high + (log1p_small(f) + exponent * C::ln2_low);
}

// log(1 + w), w >= 0; keeps all digits of a small w
template <class T>
DEBIAS_HD T log1p_positive(T w) {
  const Split<T> y = split(T(1) + w);
  const T value = log_sum(y.exponent, y.exponent == T(0) ? w : y.mantissa - T(1));
  return w <= LogConstants<T>::largest ? value : w;
}

// log(y) for normal y > 0, finite
template <class T>
DEBIAS_HD T log_normal(T y) {
  const Split<T> parts = split(y);
  return log_sum(parts.exponent, parts.mantissa - T(1));
}

}  // namespace debias
