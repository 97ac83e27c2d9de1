// Small things that kernels of every family need.
#pragma once

#include "common/launch.cuh"
#include "common/math.h"

namespace debias {

// A loop over n pieces of work: for (int64_t k = first_thread(); k < n; k += thread_stride())
__device__ __forceinline__ int64_t first_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t thread_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

__device__ __forceinline__ bool in_range(int64_t index, int64_t rows) { return index >= 0 && index < rows; }

template <class T>
__device__ __forceinline__ T nan_value() {
  return bits<T>(~typename MathConstants<T>::Bits(0));
}

// The first of n ascending values that is not below `value`, or n.
template <class T>
__device__ __forceinline__ int64_t lower_bound(const T* values, int64_t n, int64_t value) {
  int64_t first = 0;
  while (n > 0) {
    const int64_t half = n / 2;
    const bool below = static_cast<int64_t>(values[first + half]) < value;
    first = below ? first + half + 1 : first;
    n = below ? n - half - 1 : half;
  }
  return first;
}

// The sum over kLanes neighbouring lanes, in each of them. Every lane of the warp must call it.
template <int kLanes, class T>
__device__ __forceinline__ T lanes_sum(T sum) {
  for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  return sum;
}

}  // namespace debias
