#include "mf_step/batch.h"

#include <algorithm>
#include <utility>

#include "common/index_check.h"
#include "common/parallel.h"
#include "common/segment.h"

namespace debias {
namespace {

constexpr int64_t kWordsPerSample = 4;  // of the bit set over a table's rows, up to which it is faster than a sort
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

// One bit for each row that occurs: counting the bits below it numbers the groups in the order of their rows.
struct GroupByBits {
  static DEBIAS_HD void run(const int64_t* indices, int64_t n, int64_t words, uint64_t* occurs, int64_t* before,
                            int64_t* rows, int64_t* next, int64_t* group_of, int64_t* count) {
    for (int64_t word = 0; word < words; ++word) occurs[word] = 0;
    for (int64_t k = 0; k < n; ++k) occurs[indices[k] >> 6] |= uint64_t{1} << (indices[k] & 63);
    int64_t groups = 0;
    for (int64_t word = 0; word < words; ++word) {
      before[word] = groups;
      for (uint64_t bits = occurs[word]; bits; bits &= bits - 1) {
        next[groups] = 0;
        rows[groups++] = word * 64 + __builtin_ctzll(bits);
      }
    }
    for (int64_t k = 0; k < n; ++k) {
      const uint64_t below = (uint64_t{1} << (indices[k] & 63)) - 1;
      const int64_t word = indices[k] >> 6, group = before[word] + __builtin_popcountll(occurs[word] & below);
      group_of[k] = group;
      ++next[group];
    }
    *count = groups;
  }
};

void group_by_bits(const int64_t* indices, int64_t n, int64_t words, Groups& groups) {
  int64_t* rows = room_for(groups.rows, n);
  int64_t* next = room_for(groups.next, n);
  int64_t* group_of = room_for(groups.group_of, n);
  simd_run<GroupByBits>(indices, n, words, room_for(groups.occurs, words), room_for(groups.before, words), rows, next,
                        group_of, &groups.count);
  int64_t* offsets = room_for(groups.offsets, groups.count + 1);
  int64_t total = 0;
  for (int64_t group = 0; group < groups.count; ++group) {
    offsets[group] = total;
    total += std::exchange(next[group], total);
  }
  offsets[groups.count] = total;
  int64_t* order = room_for(groups.order, n);
  for (int64_t k = 0; k < n; ++k) order[next[group_of[k]]++] = k;
}

void group_by_sort(const int64_t* indices, int64_t n, int64_t table_rows, Groups& groups) {
  Segments segments = make_segments(indices, n, table_rows);
  groups.count = static_cast<int64_t>(segments.rows.size());
  groups.rows = std::move(segments.rows);
  groups.offsets = std::move(segments.offsets);
  groups.order = std::move(segments.order);
  int64_t* group_of = room_for(groups.group_of, n);
  for (int64_t group = 0; group < groups.count; ++group)
    for (int64_t p = groups.offsets[static_cast<size_t>(group)]; p < groups.offsets[static_cast<size_t>(group) + 1];
         ++p)
      group_of[groups.order[static_cast<size_t>(p)]] = group;
}

void group(const int64_t* indices, int64_t n, int64_t table_rows, Groups& groups) {
  const int64_t words = (table_rows + 63) / 64;
  if (words <= kWordsPerSample * n)
    group_by_bits(indices, n, words, groups);
  else
    group_by_sort(indices, n, table_rows, groups);
}

}  // namespace

template <class T, class Index>
void prepare_batches(const Samples<T, Index>& samples, const EpochPlan& plan, int64_t n_users, int64_t n_items,
                     int64_t first, std::vector<Batch<T>>& batches) {
  const auto tasks = static_cast<int64_t>(2 * batches.size());
  const int64_t n_samples = static_cast<int64_t>(batches.size()) * plan.batch_size, start = first * plan.batch_size;
  if (plan.order && any_outside(plan.order + start, std::min(n_samples, samples.n - start), samples.n))
    index_error("order must be in range, got another index in a batch of the epoch");
  const auto prepare = [&](int64_t task, int64_t, int64_t) {
    Batch<T>& batch = batches[static_cast<size_t>(task / 2)];
    const int64_t begin = (first + task / 2) * plan.batch_size;
    const int64_t n = std::min(plan.batch_size, samples.n - begin);
    const int64_t* order = plan.order;
    const bool users = task % 2 == 0;
    int& outside = users ? batch.outside_user : batch.outside_item;
    outside = 0;
    if (users) {
      batch.n = n;
      gather(samples.users, order, begin, n, batch.users);
      gather(samples.targets, order, begin, n, batch.targets);
      gather(samples.weights, order, begin, n, batch.weights);
      outside = any_outside(batch.users.data(), n, n_users);
      if (outside) return;
      group(batch.users.data(), n, n_users, batch.by_user);
    } else {
      gather(samples.items, order, begin, n, batch.items);
      gather(samples.exposures, order, begin, n, batch.exposures);
      gather(samples.pseudo_targets, order, begin, n, batch.pseudo_targets);
      outside = any_outside(batch.items.data(), n, n_items);
      if (!outside) group(batch.items.data(), n, n_items, batch.by_item);
    }
  };
  parallel_blocks(tasks, 1, n_samples < kSerialBelow ? tasks : 0, prepare);
  for (const Batch<T>& batch : batches)
    if (batch.outside_user || batch.outside_item)
      index_error(batch.outside_user ? "users" : "items",
                  " must be in range, got another index in a batch of the epoch");
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
