#include "common/read_back.cuh"
#include "lookahead/lookahead_groups.cuh"

namespace debias {
namespace {

template <class A, class Index>
__global__ void slots_kernel(LookaheadSlots<A> side, const Index* sorted, int64_t n) {
  for (int64_t p = first_thread(); p < n; p += thread_stride()) {
    const int64_t slot = side.slots[p] - 1;
    side.sample_slots[side.order[p]] = slot;
    if (p > 0 && sorted[p - 1] == sorted[p]) continue;
    side.rows[slot] = static_cast<int64_t>(sorted[p]);
    side.begins[slot] = p;
  }
}

// Lower rows with an index outside the tables match nothing.
template <class A, class Index>
__global__ void keys_kernel(LookaheadSlots<A> users, LookaheadSlots<A> items, const Index* lower_users,
                            const Index* lower_items, int64_t m, int64_t n_users, int64_t n_items, int64_t n) {
  const int64_t user_slots = slot_count(users, n), item_slots = slot_count(items, n);
  for (int64_t k = first_thread(); k < m; k += thread_stride()) {
    const auto user = static_cast<int64_t>(lower_users[k]), item = static_cast<int64_t>(lower_items[k]);
    const bool valid = in_range(user, n_users) && in_range(item, n_items);
    const int64_t user_slot = lower_bound(users.rows, user_slots, user);
    const int64_t item_slot = lower_bound(items.rows, item_slots, item);
    users.keys[k] = valid && user_slot < user_slots && users.rows[user_slot] == user ? user_slot : n;
    items.keys[k] = valid && item_slot < item_slots && items.rows[item_slot] == item ? item_slot : n;
  }
}

__global__ void start_search_kernel(unsigned long long* first, unsigned long long none) { *first = none; }

template <class A, class T, class Index>
__global__ void __launch_bounds__(kThreads, 1)
    first_invalid_kernel(LookaheadRowsArgs<T, Index> rows, unsigned long long* first) {
  for (int64_t k = first_thread(); k < rows.n_rated; k += thread_stride())
    if (const int invalid = invalid_row<A>(rows, k))
      atomicMin(first, static_cast<unsigned long long>(2 * k + !(invalid & 1)));
}

}  // namespace

namespace cuda {

template <class T, class Index>
InvalidRow first_invalid_row(const LookaheadRowsArgs<T, Index>& rows, int64_t* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  auto* first = reinterpret_cast<unsigned long long*>(workspace);
  const int64_t none = 2 * rows.n_rated;
  launch(start_search_kernel, 1u, 1, 0, on, first, static_cast<unsigned long long>(none));
  launch(first_invalid_kernel<accumulator_t<T>, T, Index>, grid_size(rows.n_rated, kThreads), kThreads, 0, on, rows,
         first);
  const int64_t found = read_back(workspace, on);
  return found == none ? InvalidRow{-1, false} : InvalidRow{found / 2, found % 2 == 0};
}

template <class T, class Index>
void lookahead_match(const LookaheadArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& work,
                     const Index* sorted_users, const Index* sorted_items, void* stream) {
  using A = accumulator_t<T>;
  const auto on = static_cast<cudaStream_t>(stream);
  const int64_t n = args.upper.n;
  launch(slots_kernel<A, Index>, grid_size(n, kThreads), kThreads, 0, on, work.sides[0], sorted_users, n);
  launch(slots_kernel<A, Index>, grid_size(n, kThreads), kThreads, 0, on, work.sides[1], sorted_items, n);
  launch(keys_kernel<A, Index>, grid_size(args.lower.n, kThreads), kThreads, 0, on, work.sides[0], work.sides[1],
         args.lower.users, args.lower.items, args.lower.n, args.user_table.rows, args.item_table.rows, n);
}

#define DEBIAS_INSTANTIATE(T, Index)                                                                         \
  template void lookahead_match(const LookaheadArgs<T, Index>&, const LookaheadWorkspace<accumulator_t<T>>&, \
                                const Index*, const Index*, void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE
#define DEBIAS_INSTANTIATE(T) \
  template InvalidRow first_invalid_row(const LookaheadRowsArgs<T, int64_t>&, int64_t*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
