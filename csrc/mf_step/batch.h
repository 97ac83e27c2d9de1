// The samples of one batch, gathered in the order of the epoch and grouped by either side. None of it depends on the
// parameters, so the batches of a chunk are prepared side by side.
#pragma once

#include <vector>

#include "mf_step/mf_step_kernels.h"

namespace debias {

// Samples by row, in their order in the batch. The vectors keep their room from batch to batch.
struct Groups {
  int64_t count = 0;
  std::vector<int64_t> rows;      // [count], ascending
  std::vector<int64_t> offsets;   // [count + 1], into `order`
  std::vector<int64_t> order;     // samples, grouped
  std::vector<int64_t> group_of;  // of each sample
  std::vector<int64_t> next;
  std::vector<uint64_t> occurs;  // a bit a row of the table
  std::vector<int64_t> before;   // groups before each word of `occurs`
};

template <class T>
struct Batch {
  int64_t n = 0;
  std::vector<int64_t> users, items;
  std::vector<T> targets, weights, exposures, pseudo_targets;
  Groups by_user, by_item;
  int outside_user = 0, outside_item = 0;  // 1: an index is out of range, and the rest is not filled in
};

template <class V>
const V* data_or_null(const std::vector<V>& values) {
  return values.empty() ? nullptr : values.data();
}

// At least n values of room; what is in them is anybody's guess.
template <class V>
V* room_for(std::vector<V>& buffer, int64_t n) {
  if (static_cast<int64_t>(buffer.size()) < n) buffer.resize(static_cast<size_t>(n));
  return buffer.data();
}

// Fills `batches` with plan.batch_size samples each, the first one from the batch number `first`.
template <class T, class Index>
void prepare_batches(const Samples<T, Index>& samples, const EpochPlan& plan, int64_t n_users, int64_t n_items,
                     int64_t first, std::vector<Batch<T>>& batches);

}  // namespace debias
