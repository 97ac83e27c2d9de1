// The k best of the items offered so far, in a buffer of twice that size which is cut back when it is full: a constant
// time an item, whatever k is.
#pragma once

#include <algorithm>
#include <limits>

#include "topk/mf_topk_kernels.h"

namespace debias {

template <class T>
class TopkList {
 public:
  // `seen` ascends. Items must be offered in ascending order.
  TopkList(Candidate<T>* entries, int64_t k, const int64_t* seen, const int64_t* seen_end)
      : entries_(entries), k_(k), seen_(seen), seen_end_(seen_end) {}

  static int64_t capacity(int64_t k) { return 2 * k; }

  // Below or at it an item cannot be among the best: one of equal score has a lower id.
  T threshold() const { return threshold_; }

  void offer(T score, int64_t item) {
    if (!(score > threshold_)) return;
    while (seen_ != seen_end_ && *seen_ < item) ++seen_;
    if (seen_ != seen_end_ && *seen_ == item) return;
    entries_[count_++] = {score, item};
    if (count_ < capacity(k_)) return;
    keep_best();
    threshold_ = entries_[k_ - 1].score;
  }

  const Candidate<T>* begin() const { return entries_; }
  const Candidate<T>* end() const { return entries_ + count_; }

 private:
  void keep_best() {
    std::nth_element(entries_, entries_ + k_ - 1, entries_ + count_,
                     [](const Candidate<T>& a, const Candidate<T>& b) { return a.before(b); });
    count_ = k_;
  }

  Candidate<T>* entries_;
  int64_t k_, count_ = 0;
  T threshold_ = -std::numeric_limits<T>::infinity();
  const int64_t* seen_;
  const int64_t* seen_end_;
};

}  // namespace debias
