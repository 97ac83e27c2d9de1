// Where the rows of a block, its rated pairs and the upper batch meet.
#include "common/read_back.cuh"
#include "lookahead/lookahead_block_kernels.h"
#include "lookahead/lookahead_groups.cuh"

namespace debias {
namespace {

using Fault = unsigned long long;  // a position of BlockFaults; the largest stands for -1

__global__ void start_faults_kernel(Fault* faults) { faults[threadIdx.x] = ~Fault{0}; }

template <class Index>
__global__ void __launch_bounds__(kThreads, 1)
    block_distinct_kernel(const Index* sorted, const int64_t* order, int64_t rows, Fault* twice) {
  for (int64_t p = 1 + first_thread(); p < rows; p += thread_stride())
    if (sorted[p - 1] == sorted[p]) atomicMin(twice, static_cast<Fault>(order[p]));
}

// The first row of the block that is this row of the table, -1 if there is none.
template <class Index>
__device__ __forceinline__ int64_t find_row(const Index* sorted, const int64_t* order, int64_t rows, int64_t row) {
  const int64_t p = lower_bound(sorted, rows, row);
  return p < rows && static_cast<int64_t>(sorted[p]) == row ? order[p] : -1;
}

// A group of lanes a row of the block.
template <class A, class T, class Index>
__global__ void __launch_bounds__(kThreads, 1)
    block_rows_kernel(LookaheadTableArgs<T> table, LookaheadSlots<A> slots, LookaheadBlockSide<A> side,
                      const Index* rows, const T* weight, const T* value, int64_t d, int64_t n) {
  const int64_t count = slot_count(slots, n);
  if (side.value && first_thread() == 0) *side.value = value_at<A>(value, 0);
  for (int64_t r = first_group(); r < side.rows; r += group_stride()) {
    const auto row = static_cast<int64_t>(rows[r]);
    const bool valid = in_range(row, table.rows);
    for (int64_t f = threadIdx.x % kLanes; f < d; f += kLanes)
      side.factors[r * d + f] = valid ? value_at<A>(table.factors, row * d + f) : nan_value<A>();
    if (threadIdx.x % kLanes != 0) continue;
    if (side.bias) side.bias[r] = valid ? value_at<A>(table.bias, row) : nan_value<A>();
    side.weight[r] = value_at<A>(weight, r);
    const int64_t slot = lower_bound(slots.rows, count, row);
    side.slots[r] = slot < count && slots.rows[slot] == row ? slot : n;
  }
}

template <class A, class Index>
__global__ void __launch_bounds__(kThreads, 1)
    block_slots_kernel(LookaheadSlots<A> slots, LookaheadBlockSide<A> side, const Index* sorted, int64_t n) {
  const int64_t count = slot_count(slots, n);
  for (int64_t slot = first_thread(); slot < count; slot += thread_stride())
    side.slot_rows[slot] = find_row(sorted, side.order, side.rows, slots.rows[slot]);
}

template <class A, class T, class Index>
__global__ void __launch_bounds__(kThreads, 1)
    block_pairs_kernel(LookaheadArgs<T, Index> args, LookaheadWorkspace<A> work, LookaheadBlockSide<A> users,
                       LookaheadBlockSide<A> items, const Index* sorted_users, const Index* sorted_items,
                       Fault* outside) {
  for (int64_t k = first_thread(); k < args.lower.n; k += thread_stride()) {
    const auto user = static_cast<int64_t>(args.lower.users[k]), item = static_cast<int64_t>(args.lower.items[k]);
    const int64_t u = find_row(sorted_users, users.order, users.rows, user);
    const int64_t i = find_row(sorted_items, items.order, items.rows, item);
    if (u < 0) atomicMin(outside, static_cast<Fault>(k));
    if (i < 0) atomicMin(outside + 1, static_cast<Fault>(k));
    const bool inside =
        u >= 0 && i >= 0 && in_range(user, args.user_table.rows) && in_range(item, args.item_table.rows);
    users.local[k] = inside ? u : -1;
    items.local[k] = inside ? i : -1;
    if (!inside) work.sides[0].keys[k] = work.sides[1].keys[k] = args.upper.n;
  }
}

}  // namespace

namespace cuda {

template <class T, class Index>
void lookahead_block_match(const LookaheadBlockArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& work,
                           const LookaheadBlockWorkspace<accumulator_t<T>>& block, const Index* sorted_users,
                           const Index* sorted_items, void* stream) {
  using A = accumulator_t<T>;
  const auto on = static_cast<cudaStream_t>(stream);
  auto* faults = reinterpret_cast<Fault*>(block.faults);
  const int64_t d = args.pairs.factors, n = args.pairs.upper.n;
  launch(start_faults_kernel, 1u, 4, 0, on, faults);
  for (int which = 0; which < 2; ++which) {
    const LookaheadBlockSide<A>& side = block.sides[which];
    const LookaheadSlots<A>& slots = work.sides[which];
    const Index* sorted = which == 0 ? sorted_users : sorted_items;
    launch(block_distinct_kernel<Index>, grid_size(side.rows, kThreads), kThreads, 0, on, sorted, side.order, side.rows,
           faults + which);
    launch(block_rows_kernel<A, T, Index>, group_grid(side.rows), kThreads, 0, on,
           which == 0 ? args.pairs.user_table : args.pairs.item_table, slots, side,
           which == 0 ? args.users : args.items, which == 0 ? args.user_weight : args.item_weight, args.value, d, n);
    launch(block_slots_kernel<A, Index>, grid_size(n, kThreads), kThreads, 0, on, slots, side, sorted, n);
  }
  launch(block_pairs_kernel<A, T, Index>, grid_size(args.pairs.lower.n, kThreads), kThreads, 0, on, args.pairs, work,
         block.sides[0], block.sides[1], sorted_users, sorted_items, faults + 2);
}

BlockFaults read_faults(const int64_t* faults, void* stream) {
  int64_t first[4];
  read_back(faults, 4, first, static_cast<cudaStream_t>(stream));
  return {{first[0], first[1]}, {first[2], first[3]}};
}

#define DEBIAS_INSTANTIATE(T, Index)                                                    \
  template void lookahead_block_match(                                                  \
      const LookaheadBlockArgs<T, Index>&, const LookaheadWorkspace<accumulator_t<T>>&, \
      const LookaheadBlockWorkspace<accumulator_t<T>>&, const Index*, const Index*, void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
