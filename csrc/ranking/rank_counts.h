// For few positives: how many rows lie before each, and how many not after it. Nothing is sorted.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/simd.h"

namespace debias {

constexpr int64_t kCountedPositives = 128;  // beyond, sorting is cheaper

template <class Key>
struct RankCounts {
  static constexpr int64_t kLanes = 64 / sizeof(Key);
  static constexpr int64_t kPlaces = kCountedPositives + 2 * kLanes;
  Key before[kPlaces];   // rows with a smaller key
  Key through[kPlaces];  // rows with a smaller or equal key
};

// Lanes hold positives, rows are broadcast: no sum across lanes. `positives` may be read up to 2 vectors past its end.
template <class Key>
struct CountRanks {
  typedef Key Vector __attribute__((vector_size(64)));

  static DEBIAS_HD void run(const Key* rows, int64_t n, const Key* positives, int64_t n_positives,
                            RankCounts<Key>* counts) {
    constexpr int64_t lanes = RankCounts<Key>::kLanes;
    for (int64_t first = 0; first < n_positives; first += 2 * lanes) {
      Vector a, b, before_a = {}, before_b = {}, through_a = {}, through_b = {};
      std::memcpy(&a, positives + first, sizeof a);
      std::memcpy(&b, positives + first + lanes, sizeof b);
      for (int64_t row = 0; row < n; ++row) {
        const Vector key = rows[row] - Vector{};
        before_a -= key < a;
        before_b -= key < b;
        through_a -= key <= a;
        through_b -= key <= b;
      }
      std::memcpy(counts->before + first, &before_a, sizeof a);
      std::memcpy(counts->before + first + lanes, &before_b, sizeof b);
      std::memcpy(counts->through + first, &through_a, sizeof a);
      std::memcpy(counts->through + first + lanes, &through_b, sizeof b);
    }
  }
};

}  // namespace debias
