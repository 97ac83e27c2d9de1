// For few positives: how many rows lie before each, and how many not after it. Nothing is sorted.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/simd.h"

namespace debias {

constexpr int64_t kCountedPositives = 128;  // beyond, sorting is cheaper

template <class Key>
struct RankCounts {
  static constexpr int64_t kSlack = 2 * 64 / sizeof(Key);  // places that the widest vectors touch past the end
  Key before[kCountedPositives + kSlack];                  // rows with a smaller key
  Key through[kCountedPositives + kSlack];                 // rows with a smaller or equal key
};

// Lanes hold positives, rows are broadcast: no sum across lanes. `positives` may be read kSlack places past its end.
// kBytes is the width of the machine's vectors: wider ones would be taken apart lane by lane.
template <class Key, int kBytes>
struct CountRanks {
  typedef Key Vector __attribute__((vector_size(kBytes)));

  // A mask is -1 where true. Vectors of 64 bytes have masked additions, narrower ones subtract the mask.
  static DEBIAS_HD void add(Vector& counts, const Vector& mask) {
    if constexpr (kBytes == 64)
      counts = mask ? counts + 1 : counts;
    else
      counts -= mask;
  }

  static DEBIAS_HD void run(const Key* rows, int64_t n, const Key* positives, int64_t n_positives,
                            RankCounts<Key>* counts) {
    constexpr int64_t lanes = kBytes / sizeof(Key);
    for (int64_t first = 0; first < n_positives; first += 2 * lanes) {
      Vector a, b, before_a = {}, before_b = {}, through_a = {}, through_b = {};
      std::memcpy(&a, positives + first, sizeof a);
      std::memcpy(&b, positives + first + lanes, sizeof b);
      for (int64_t row = 0; row < n; ++row) {
        const Vector key = rows[row] - Vector{};
        add(before_a, key < a);
        add(before_b, key < b);
        add(through_a, key <= a);
        add(through_b, key <= b);
      }
      std::memcpy(counts->before + first, &before_a, sizeof a);
      std::memcpy(counts->before + first + lanes, &before_b, sizeof b);
      std::memcpy(counts->through + first, &through_a, sizeof a);
      std::memcpy(counts->through + first + lanes, &through_b, sizeof b);
    }
  }
};

template <class Key>
void count_ranks(const Key* rows, int64_t n, const Key* positives, int64_t n_positives, RankCounts<Key>& counts) {
#if defined(__x86_64__) && defined(__GNUC__)
  switch (simd_level()) {
    case SimdLevel::avx512: return run_avx512<CountRanks<Key, 64>>(rows, n, positives, n_positives, &counts);
    case SimdLevel::avx2: return run_avx2<CountRanks<Key, 32>>(rows, n, positives, n_positives, &counts);
    case SimdLevel::baseline: break;
  }
#endif
  run_baseline<CountRanks<Key, 16>>(rows, n, positives, n_positives, &counts);
}

}  // namespace debias
