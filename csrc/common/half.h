// 16-bit storage types. Arithmetic is float32: kernels read with to_float and write with from_float.
#pragma once

#include <cstdint>

#include "common/hostdevice.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include <cstring>

// The names of the CUDA headers, so that templates over them have the same symbols in op files and in .cu files.
struct alignas(2) __half {
  uint16_t bits;
};
struct alignas(2) __nv_bfloat16 {
  uint16_t bits;
};
#endif

namespace debias {

using Half = ::__half;
using BFloat16 = ::__nv_bfloat16;

// For the instantiations at the end of a .cu file: X(T), and X(T, Index).
#define DEBIAS_FOR_EACH_STORAGE(X) X(float) X(double) X(Half) X(BFloat16)
#define DEBIAS_FOR_EACH_INDEX(X, T) X(T, int32_t) X(T, int64_t)
#define DEBIAS_FOR_EACH_STORAGE_AND_INDEX(X) \
  DEBIAS_FOR_EACH_INDEX(X, float)            \
  DEBIAS_FOR_EACH_INDEX(X, double)           \
  DEBIAS_FOR_EACH_INDEX(X, Half)             \
  DEBIAS_FOR_EACH_INDEX(X, BFloat16)

// The type that values of storage type T are computed in.
template <class T>
struct Accumulator {
  using type = float;
};
template <>
struct Accumulator<double> {
  using type = double;
};
template <class T>
using accumulator_t = typename Accumulator<T>::type;

#ifndef __CUDACC__
namespace half_detail {

inline uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float float_from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Drops the low `count` bits (1..31), to nearest, ties to even. A carry into the exponent is the right result.
inline uint32_t drop_bits(uint32_t value, int count) {
  const uint32_t kept = value >> count, rest = value & ((1u << count) - 1u), middle = 1u << (count - 1);
  return kept + (rest > middle || (rest == middle && (kept & 1u)) ? 1u : 0u);
}

inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu, mantissa = half & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t shifted = exponent == 31 ? 255u : exponent + 112u;
  return float_from_bits(sign | (shifted << 23) | (mantissa << 13));
}

inline uint16_t half_from_float(float value) {
  const uint32_t bits = float_bits(value), magnitude = bits & 0x7fffffffu;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7fffu;  // NaN
  } else if (magnitude >= 0x47800000u) {
    half = 0x7c00u;  // 65536 and above
  } else if (magnitude >= 0x38800000u) {
    half = drop_bits(magnitude - (112u << 23), 13);
  } else if (magnitude >= 0x33000000u) {  // below 2^-14: subnormal, in units of 2^-24
    const uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    half = drop_bits(significand, 126 - static_cast<int>(magnitude >> 23));
  } else {
    half = 0u;
  }
  return static_cast<uint16_t>(sign | half);
}

inline uint16_t bfloat16_from_float(float value) {
  const uint32_t bits = float_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;  // NaN
  return static_cast<uint16_t>(drop_bits(bits, 16));
}

}  // namespace half_detail
#endif

DEBIAS_HD float to_float(float value) { return value; }
DEBIAS_HD double to_float(double value) { return value; }

template <class T>
DEBIAS_HD T from_float(accumulator_t<T> value) {
  return value;
}

#ifdef __CUDACC__
DEBIAS_HD float to_float(Half value) { return __half2float(value); }
DEBIAS_HD float to_float(BFloat16 value) { return __bfloat162float(value); }

template <>
DEBIAS_HD Half from_float<Half>(float value) {
  return __float2half_rn(value);
}
template <>
DEBIAS_HD BFloat16 from_float<BFloat16>(float value) {
  return __float2bfloat16_rn(value);
}
#else
DEBIAS_HD float to_float(Half value) { return half_detail::half_to_float(value.bits); }
DEBIAS_HD float to_float(BFloat16 value) {
  return half_detail::float_from_bits(static_cast<uint32_t>(value.bits) << 16);
}

template <>
DEBIAS_HD Half from_float<Half>(float value) {
  return {half_detail::half_from_float(value)};
}
template <>
DEBIAS_HD BFloat16 from_float<BFloat16>(float value) {
  return {half_detail::bfloat16_from_float(value)};
}
#endif

}  // namespace debias
