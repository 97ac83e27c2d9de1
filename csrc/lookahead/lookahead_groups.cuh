// What the look-ahead kernels share: groups of lanes, one for each sample or slot.
#pragma once

#include "common/launch.cuh"
#include "lookahead/lookahead_kernels.h"

namespace debias {
namespace {

constexpr int kLanes = 16;     // threads that share one sample, or one slot
constexpr int kThreads = 256;  // kThreads / kLanes samples a block

__device__ __forceinline__ int64_t first_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t thread_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }
__device__ __forceinline__ int64_t first_group() { return first_thread() / kLanes; }
__device__ __forceinline__ int64_t group_stride() { return thread_stride() / kLanes; }

__device__ __forceinline__ bool in_range(int64_t index, int64_t rows) { return index >= 0 && index < rows; }

// The first of n ascending values that is not below `value`
__device__ __forceinline__ int64_t lower_bound(const int64_t* values, int64_t n, int64_t value) {
  int64_t first = 0;
  while (n > 0) {
    const int64_t half = n / 2;
    const bool below = values[first + half] < value;
    first = below ? first + half + 1 : first;
    n = below ? n - half - 1 : half;
  }
  return first;
}

template <class A>
__device__ __forceinline__ int64_t slot_count(const LookaheadSlots<A>& side, int64_t n) {
  return n > 0 ? side.slots[n - 1] : 0;
}

// The sum over the lanes of a group, in each of them. Every lane of the warp must call it.
template <class A>
__device__ __forceinline__ A group_sum(A sum) {
  for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  return sum;
}

template <class A>
__device__ __forceinline__ A nan_value() {
  return bits<A>(~typename MathConstants<A>::Bits(0));
}

}  // namespace
}  // namespace debias
