// A warp merges a few candidates of one user into that user's sorted list.
#pragma once

#include "common/launch.cuh"
#include "topk/mf_topk_kernels.h"

namespace debias {

constexpr int kBuffer = 96, kPerLane = kBuffer / 32;  // candidates

template <class T>
__device__ __forceinline__ T minus_infinity() {
  return -static_cast<T>(INFINITY);
}

// A sorted list of k entries in global memory; empty places hold minus infinity and item -1.
template <class T>
struct List {
  T* scores;
  int64_t* items;
  int64_t k;

  __device__ Candidate<T> operator[](int64_t place) const { return {scores[place], items[place]}; }
  __device__ void set(int64_t place, const Candidate<T>& entry) const {
    scores[place] = entry.score;
    items[place] = entry.item;
  }
  __device__ int64_t places_before(const Candidate<T>& candidate) const {
    int64_t low = 0, high = k;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if ((*this)[middle].before(candidate))
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
};

// Up to kBuffer candidates of one user, in any order; a score of minus infinity is none.
template <class T>
struct Buffer {
  T* scores;
  int* offsets;  // item - first_item
  int count;
  int64_t first_item;

  __device__ Candidate<T> operator[](int slot) const { return {scores[slot], first_item + offsets[slot]}; }
  __device__ int number_before(const Candidate<T>& entry) const {
    int number = 0;
    for (int slot = 0; slot < count; ++slot) number += (*this)[slot].before(entry);
    return number;
  }
};

struct SeenRange {
  int64_t begin, end;
};

// Empty for a user out of range, and for offsets that lead out of the items.
__device__ __forceinline__ SeenRange seen_range(const SeenItems& seen, int64_t user) {
  if (!seen.offsets.values || user < 0) return {0, 0};
  const int64_t begin = seen.offsets[user], end = seen.offsets[user + 1];
  if (begin < 0 || end < begin || end > seen.count) return {0, 0};
  return {begin, end};
}

// One warp: seen candidates become none.
template <class T>
__device__ __forceinline__ void drop_seen(const Buffer<T>& buffer, const SeenItems& seen, const SeenRange& range) {
  const int lane = threadIdx.x & 31;
  int64_t item[kPerLane];
  bool dropped[kPerLane];
  for (int m = 0; m < kPerLane; ++m) {
    const int slot = lane + 32 * m;
    item[m] = slot < buffer.count ? buffer[slot].item : -1;
    dropped[m] = false;
  }
  for (int64_t p = range.begin; p < range.end; ++p) {
    const int64_t gone = seen.items[p];
    for (int m = 0; m < kPerLane; ++m) dropped[m] |= item[m] == gone;
  }
  for (int m = 0; m < kPerLane; ++m)
    if (dropped[m] && lane + 32 * m < buffer.count) buffer.scores[lane + 32 * m] = minus_infinity<T>();
  __syncwarp();
}

// One warp: every candidate and every entry finds its place among the others. Entries only move back, so the list is
// moved in place from its end.
template <class T>
__device__ __forceinline__ void merge(const Buffer<T>& buffer, const List<T>& list) {
  const int lane = threadIdx.x & 31;
  int64_t place[kPerLane];
  for (int m = 0; m < kPerLane; ++m) {
    const int slot = lane + 32 * m;
    place[m] = list.k;
    if (slot >= buffer.count || !(buffer.scores[slot] > minus_infinity<T>())) continue;
    const Candidate<T> candidate = buffer[slot];
    place[m] = buffer.number_before(candidate) + list.places_before(candidate);
  }
  __syncwarp();
  for (int64_t base = (list.k - 1) / 32 * 32; base >= 0; base -= 32) {
    const int64_t from = base + lane;
    const Candidate<T> entry = from < list.k ? list[from] : Candidate<T>{};
    const int64_t to = from < list.k ? from + buffer.number_before(entry) : list.k;
    __syncwarp();
    if (to != from && to < list.k) list.set(to, entry);
    __syncwarp();
  }
  for (int m = 0; m < kPerLane; ++m)
    if (place[m] < list.k) list.set(place[m], buffer[lane + 32 * m]);
  __syncwarp();
}

}  // namespace debias
