#include "mf_step/batch.h"

#include <algorithm>

#include "common/index_check.h"
#include "common/parallel.h"

namespace debias {
namespace {

constexpr int64_t kSerialBelow = 2048;  // samples that a second thread does not pay for

template <class To, class From>
void gather(const From* from, const int64_t* order, int64_t begin, int64_t n, std::vector<To>& to) {
  to.resize(from ? static_cast<size_t>(n) : 0);
  if (!from) return;
  To* out = to.data();
  if (order)
    for (int64_t k = 0; k < n; ++k) out[k] = static_cast<To>(from[order[begin + k]]);
  else
    for (int64_t k = 0; k < n; ++k) out[k] = static_cast<To>(from[begin + k]);
}

bool any_outside(const int64_t* indices, int64_t n, int64_t rows) {
  int outside = 0;
  simd_run<OutOfRange<int64_t>>(indices, int64_t{0}, n, rows, &outside);
  return outside;
}

template <class T>
void number_groups(Batch<T>& batch) {
  const Segments& groups = batch.by_user;
  batch.user_group.resize(groups.order.size());
  for (size_t j = 0; j < groups.rows.size(); ++j)
    for (int64_t p = groups.offsets[j]; p < groups.offsets[j + 1]; ++p)
      batch.user_group[static_cast<size_t>(groups.order[static_cast<size_t>(p)])] = static_cast<int64_t>(j);
}

}  // namespace

template <class T, class Index>
void prepare_batches(const Samples<T, Index>& samples, const EpochPlan& plan, int64_t n_users, int64_t n_items,
                     int64_t first, std::vector<Batch<T>>& batches) {
  const auto prepare = [&](int64_t task, int64_t, int64_t) {
    Batch<T>& batch = batches[static_cast<size_t>(task / 2)];
    const int64_t begin = (first + task / 2) * plan.batch_size;
    const int64_t n = std::min(plan.batch_size, samples.n - begin);
    const int64_t* order = plan.order;
    const bool users = task % 2 == 0;
    int& outside = users ? batch.outside_user : batch.outside_item;
    outside = order && any_outside(order + begin, n, samples.n);
    if (outside) return;
    if (users) {
      batch.n = n;
      gather(samples.users, order, begin, n, batch.users);
      gather(samples.targets, order, begin, n, batch.targets);
      gather(samples.weights, order, begin, n, batch.weights);
      outside = any_outside(batch.users.data(), n, n_users);
      if (outside) return;
      batch.by_user = make_segments(batch.users.data(), n, n_users);
      number_groups(batch);
    } else {
      gather(samples.items, order, begin, n, batch.items);
      gather(samples.exposures, order, begin, n, batch.exposures);
      gather(samples.pseudo_targets, order, begin, n, batch.pseudo_targets);
      outside = any_outside(batch.items.data(), n, n_items);
      if (!outside) batch.by_item = make_segments(batch.items.data(), n, n_items);
    }
  };
  const auto tasks = static_cast<int64_t>(2 * batches.size());
  const int64_t n_samples = static_cast<int64_t>(batches.size()) * plan.batch_size;
  parallel_blocks(tasks, 1, n_samples < kSerialBelow ? tasks : 0, prepare);
  for (const Batch<T>& batch : batches)
    if (batch.outside_user || batch.outside_item)
      index_error(batch.outside_user ? "users" : "items", " changed and is out of range at a batch of the epoch");
}

#define DEBIAS_INSTANTIATE(T, Index)                                                                   \
  template void prepare_batches(const Samples<T, Index>&, const EpochPlan&, int64_t, int64_t, int64_t, \
                                std::vector<Batch<T>>&);
DEBIAS_INSTANTIATE(float, int32_t)
DEBIAS_INSTANTIATE(float, int64_t)
DEBIAS_INSTANTIATE(double, int32_t)
DEBIAS_INSTANTIATE(double, int64_t)
#undef DEBIAS_INSTANTIATE

}  // namespace debias
