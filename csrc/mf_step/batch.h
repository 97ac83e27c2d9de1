// The samples of one batch, gathered in the order of the epoch and grouped by either side. None of it depends on the
// parameters, so the batches of a chunk are prepared side by side.
#pragma once

#include <vector>

#include "common/segment.h"
#include "mf_step/mf_step_kernels.h"

namespace debias {

template <class T>
struct Batch {
  int64_t n = 0;
  std::vector<int64_t> users, items;
  std::vector<T> targets, weights, exposures, pseudo_targets;
  Segments by_user, by_item;
  std::vector<int64_t> user_group;         // of each sample
  int outside_user = 0, outside_item = 0;  // 1: an index of the batch is out of range, and the rest is not filled in
};

template <class V>
const V* data_or_null(const std::vector<V>& values) {
  return values.empty() ? nullptr : values.data();
}

// Fills `batches` with plan.batch_size samples each, the first one from the batch number `first`.
template <class T, class Index>
void prepare_batches(const Samples<T, Index>& samples, const EpochPlan& plan, int64_t n_users, int64_t n_items,
                     int64_t first, std::vector<Batch<T>>& batches);

}  // namespace debias
