// What one group's blocks of tied rows add up to, on the CPU.
#pragma once

#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "ranking/group_ranking_kernels.h"

namespace debias {

struct Discounts {
  std::vector<double> single;  // 1 / log2(rank + 1), from place 0
  std::vector<double> sums;    // of the first r of them

  explicit Discounts(int64_t n) : single(static_cast<size_t>(n)), sums(static_cast<size_t>(n) + 1) {
    double* values = single.data();
    parallel_blocks(n, 2048, 2048, [values](int64_t, int64_t begin, int64_t end) {
      for (int64_t place = begin; place < end; ++place) values[place] = discount(place);
    });
    for (size_t place = 0; place < single.size(); ++place) sums[place + 1] = sums[place] + single[place];
  }

  // The mean discount of the m places after A.
  double mean(int64_t above, int64_t size) const {
    const size_t a = static_cast<size_t>(above);
    return size == 1 ? single[a] : (sums[a + static_cast<size_t>(size)] - sums[a]) / static_cast<double>(size);
  }
};

inline int64_t longest_cut(const RankingOptions& options) {
  return options.n_ks ? *std::max_element(options.ks, options.ks + options.n_ks) : 0;
}

// Enough for groups of at most `largest` rows.
inline Discounts make_discounts(const RankingOptions& options, int64_t largest) {
  if (!options.wants_full()) return Discounts(0);
  return Discounts(largest);
}

class GroupSums {
 public:
  GroupSums(const RankingOptions& options, const Discounts& discounts)
      : options_(options), discounts_(discounts), longest_cut_(longest_cut(options)), full_(options.wants_full()) {}

  void start() {
    full_dcg_ = 0;
    cut_blocks_.clear();
  }

  // A block, or with a share of its gain one of its positives (blocks that come again are dropped by sort_blocks).
  void add(const TieBlock& block, double share) {
    if (full_) full_dcg_ += share * discounts_.mean(block.above, block.size);
    if (block.above < longest_cut_) cut_blocks_.push_back(block);
  }

  void sort_blocks() {
    std::sort(cut_blocks_.begin(), cut_blocks_.end(),
              [](const TieBlock& a, const TieBlock& b) { return a.above < b.above; });
    const auto same = [](const TieBlock& a, const TieBlock& b) { return a.above == b.above; };
    cut_blocks_.erase(std::unique(cut_blocks_.begin(), cut_blocks_.end(), same), cut_blocks_.end());
  }

  // ideal(k): the DCG of the best order within k places.
  template <class Ideal>
  void write(GroupTotals totals, const Ideal& ideal, const ValueColumn& out) const {
    totals.full_dcg = full_dcg_;
    totals.full_ideal = full_ ? ideal(totals.size) : 0;
    write_uncut(options_, totals, out);
    for (int cut = 0; cut < options_.n_ks; ++cut) {
      const int64_t k = options_.ks[cut];
      CutSums sums;
      for (const TieBlock& block : cut_blocks_) {
        if (block.above >= k) break;
        add_block(sums, block, k, options_, discounts_.sums.data());
      }
      write_cut(options_, totals, sums, cut, full_ ? ideal(k) : 0, out);
    }
  }

  double ideal_of_equal_gains(int64_t positives, int64_t k) const {
    return discounts_.sums[static_cast<size_t>(std::min(positives, k))];
  }
  double discount_at(size_t place) const { return discounts_.single[place]; }

 private:
  const RankingOptions& options_;
  const Discounts& discounts_;
  int64_t longest_cut_;
  bool full_;
  double full_dcg_ = 0;
  std::vector<TieBlock> cut_blocks_;
};

}  // namespace debias
