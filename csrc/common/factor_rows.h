// Rows of a table of factors on the CPU: their dot product, and how they are fetched before they are needed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "common/hostdevice.h"

namespace debias {

constexpr int64_t kPrefetch = 16;              // rows ahead
constexpr int64_t kSerialBelowFloats = 20000;  // gathered floats that a second thread does not pay for

// Rows of so many floats below which a second thread does not pay.
inline int64_t serial_below(int64_t width, int64_t floats = kSerialBelowFloats) {
  return floats / std::max<int64_t>(1, width);
}

// Calls f with the width of a row as a constant where it is a usual one, so that loops over it unroll; else with 0.
template <class F>
void with_width(int64_t width, F&& f) {
  switch (width) {
    case 8: return f(std::integral_constant<int, 8>{});
    case 10: return f(std::integral_constant<int, 10>{});
    case 16: return f(std::integral_constant<int, 16>{});
    case 32: return f(std::integral_constant<int, 32>{});
    case 64: return f(std::integral_constant<int, 64>{});
    default: return f(std::integral_constant<int, 0>{});
  }
}

// Into the second-level cache: the first level tracks so few misses that rows fetched into it wait for each other.
template <class T>
DEBIAS_HD void prefetch_row(const T* row, int64_t width) {
  const char* line = reinterpret_cast<const char*>(row);
  const char* end = reinterpret_cast<const char*>(row + width);
  for (; line < end; line += 64) __builtin_prefetch(line, 0, 2);
}

template <class T>
DEBIAS_HD T dot(const T* __restrict a, const T* __restrict b, int64_t width) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t f = 0; f < width; ++f) sum += a[f] * b[f];
  return sum;
}

}  // namespace debias
