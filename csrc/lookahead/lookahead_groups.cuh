// What the look-ahead kernels share: groups of lanes, one for each sample or slot.
#pragma once

#include "common/device.cuh"
#include "lookahead/lookahead_kernels.h"

namespace debias {
namespace {

constexpr int kLanes = 16;     // threads that share one sample, or one slot
constexpr int kThreads = 256;  // kThreads / kLanes samples a block

__device__ __forceinline__ int64_t first_group() { return first_thread() / kLanes; }
__device__ __forceinline__ int64_t group_stride() { return thread_stride() / kLanes; }

template <class A>
__device__ __forceinline__ int64_t slot_count(const LookaheadSlots<A>& side, int64_t n) {
  return n > 0 ? side.slots[n - 1] : 0;
}

inline unsigned group_grid(int64_t groups) { return grid_size(groups, kThreads / kLanes); }

template <class A, class T>
__device__ __forceinline__ A value_at(const T* values, int64_t k) {
  return values ? static_cast<A>(to_float(values[k])) : A(0);
}

}  // namespace
}  // namespace debias
