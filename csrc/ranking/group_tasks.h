// Groups as consecutive places, and the tasks that share them out.
#pragma once

#include "common/parallel.h"
#include "ranking/counting_sort.h"

namespace debias {

constexpr int64_t kSharedSort = 1 << 17;  // rows from which the threads sort one group together
constexpr int64_t kTaskRows = 16384;

// task(first group, last group) with about equally many rows each; starts: [n_groups + 1].
template <class Task>
void run_group_tasks(const std::vector<int64_t>& starts, const Task& task) {
  const int64_t n_groups = static_cast<int64_t>(starts.size()) - 1, n = starts.back();
  const auto group_from = [&](int64_t row) {
    return static_cast<int64_t>(std::lower_bound(starts.begin(), starts.end() - 1, row) - starts.begin());
  };
  const int64_t tasks = block_count(n, kTaskRows);
  run_tasks(n > kSerialRows ? tasks : 1, [&](int64_t t) {
    const bool all = n <= kSerialRows;
    const int64_t first = all ? 0 : group_from(t * kTaskRows), last = all ? n_groups : group_from((t + 1) * kTaskRows);
    if (first < last) task(first, last);
  });
}

inline int64_t largest_group(const std::vector<int64_t>& starts) {
  int64_t largest = 0;
  for (size_t g = 0; g + 1 < starts.size(); ++g) largest = std::max(largest, starts[g + 1] - starts[g]);
  return largest;
}

}  // namespace debias
