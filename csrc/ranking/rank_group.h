// The metrics of one group from the keys of its negatives and positives: rows without weights, ties by expectation.
#pragma once

#include "ranking/group_sums.h"
#include "ranking/radix_sort.h"
#include "ranking/rank_counts.h"

namespace debias {

template <class Key>
struct GroupKeys {
  Key* negatives;  // not in order
  Key* positives;
  int64_t n_negatives, n_positives;
  int64_t size() const { return n_negatives + n_positives; }
  bool counted() const { return n_positives <= kCountedPositives && n_negatives < (int64_t{1} << 30); }
};

template <class Key>
class GroupRanker {
 public:
  GroupRanker(const RankingOptions& options, const Discounts& discounts)
      : options_(options), sums_(options, discounts) {}

  void rank(const GroupKeys<Key>& group, bool sorted, const ValueColumn& out) {
    sums_.start();
    uint64_t twice_pairs = 0;
    if (group.n_positives > 0) {
      if (group.counted()) {
        twice_pairs = count(group);
      } else {
        if (!sorted) sort(group);
        twice_pairs = merge(group);
      }
    }
    const GroupTotals totals{group.size(),
                             group.n_positives,
                             static_cast<double>(group.n_positives),
                             static_cast<double>(group.n_negatives),
                             0.5 * static_cast<double>(twice_pairs),
                             0,
                             0};
    sums_.write(totals, [&](int64_t k) { return sums_.ideal_of_equal_gains(group.n_positives, k); }, out);
  }

 private:
  uint64_t count(const GroupKeys<Key>& group) {
    const int64_t p = group.n_positives;
    const Key* negatives = group.negatives;
    const Key* positives = group.positives;
    count_ranks(negatives, group.n_negatives, positives, p, negatives_);
    count_ranks(positives, p, positives, p, positives_);
    uint64_t passed = 0;
    for (int64_t j = 0; j < p; ++j) {
      const int64_t above = static_cast<int64_t>(negatives_.before[j]) + static_cast<int64_t>(positives_.before[j]);
      const int64_t through = static_cast<int64_t>(negatives_.through[j]) + static_cast<int64_t>(positives_.through[j]);
      passed += static_cast<uint64_t>(negatives_.before[j]) + static_cast<uint64_t>(negatives_.through[j]);
      const int64_t tied = static_cast<int64_t>(positives_.through[j]) - static_cast<int64_t>(positives_.before[j]);
      sums_.add({above, through - above, tied, static_cast<int64_t>(positives_.before[j]), static_cast<double>(tied)},
                1);
    }
    sums_.sort_blocks();
    return 2 * static_cast<uint64_t>(p) * static_cast<uint64_t>(group.n_negatives) - passed;
  }

  void sort(const GroupKeys<Key>& group) {
    const int64_t longest = std::max(group.n_negatives, group.n_positives);
    if (static_cast<int64_t>(scratch_.size()) < longest) scratch_.resize(static_cast<size_t>(longest));
    radix_sort(group.negatives, scratch_.data(), group.n_negatives);
    radix_sort(group.positives, scratch_.data(), group.n_positives);
  }

  uint64_t merge(const GroupKeys<Key>& group) {
    const Key* negatives = group.negatives;
    const Key* positives = group.positives;
    const int64_t n = group.n_negatives, p = group.n_positives;
    uint64_t twice_pairs = 0;
    int64_t passed = 0;
    for (int64_t hits = 0; hits < p;) {
      const Key key = positives[hits];
      int64_t end = hits + 1;
      while (end < p && positives[end] == key) ++end;
      while (passed < n && negatives[passed] < key) ++passed;
      int64_t through = passed;
      while (through < n && negatives[through] == key) ++through;
      const int64_t tied = end - hits;
      twice_pairs += static_cast<uint64_t>(tied) * static_cast<uint64_t>(2 * n - passed - through);
      const double gain = static_cast<double>(tied);
      sums_.add({passed + hits, tied + through - passed, tied, hits, gain}, gain);
      hits = end;
      passed = through;
    }
    return twice_pairs;
  }

  const RankingOptions& options_;
  GroupSums sums_;
  RankCounts<Key> negatives_, positives_;
  std::vector<Key> scratch_;
};

}  // namespace debias
