// The upper half of a look-ahead step: theta' at the rows of the upper batch, the loss there, and its gradient.
#include "common/reduce.cuh"
#include "lookahead/lookahead_groups.cuh"

namespace debias {
namespace {

// What one side is to step_rows_kernel and gradient_rows_kernel.
template <class A, class T, class Index>
struct SideArgs {
  LookaheadTableArgs<T> table;
  LookaheadSlots<A> slots;
  const T* other_factors;  // the other table, and what the lower rows have of it
  const Index* other_rows;
  const A* other_stepped;  // theta' of the other table, and what the upper rows have of it
  const int64_t* other_slots;
  const A* lower_slopes;
  const A* upper_slopes;
  AssumedStep step;
  int64_t d, n, m;
};

// Factor f of the lower gradient of a slot; f = d is the bias.
template <class A, class T, class Index>
__device__ __forceinline__ A lower_gradient(const SideArgs<A, T, Index>& side, int64_t begin, int64_t end, int64_t f) {
  A sum = 0;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t k = side.slots.lower_order[p];
    const A slope = side.lower_slopes[k];
    if (f == side.d)
      sum += slope;
    else
      sum +=
          slope * static_cast<A>(to_float(side.other_factors[static_cast<int64_t>(side.other_rows[k]) * side.d + f]));
  }
  return sum;
}

// theta' of one side. A row outside the table becomes NaN, and so does the loss.
template <class A, class T, class Index>
__global__ void __launch_bounds__(kThreads, 1) step_rows_kernel(SideArgs<A, T, Index> side) {
  const LookaheadSlots<A>& slots = side.slots;
  const int64_t d = side.d, count = slot_count(slots, side.n);
  for (int64_t slot = first_group(); slot < count; slot += group_stride()) {
    const int64_t row = slots.rows[slot];
    const bool valid = in_range(row, side.table.rows);
    const int64_t in_block = slots.block_rows ? slots.block_rows[slot] : -1;
    const int64_t key = slots.block_rows ? in_block : slot;
    const int64_t begin = key < 0 ? 0 : lower_bound(slots.sorted_keys, side.m, key);
    const int64_t end = key < 0 ? 0 : lower_bound(slots.sorted_keys, side.m, key + 1);
    const A decay = end > begin || in_block >= 0 ? static_cast<A>(side.step.l2) : A(0);
    for (int64_t f = threadIdx.x % kLanes; f <= d; f += kLanes) {
      const bool bias = f == d;
      if (bias && !side.table.bias) continue;
      const int64_t at = bias ? row : row * d + f;
      const T* from = bias ? side.table.bias : side.table.factors;
      const T* exp_avg = bias ? side.table.bias_exp_avg : side.table.exp_avg;
      const T* exp_avg_sq = bias ? side.table.bias_exp_avg_sq : side.table.exp_avg_sq;
      Stepped<A> to{nan_value<A>(), nan_value<A>()};
      if (valid) {
        const A theta = static_cast<A>(to_float(from[at]));
        A gradient = lower_gradient(side, begin, end, f) + (bias ? A(0) : decay * theta);
        if (in_block >= 0)
          gradient += bias ? slots.block_gradient_bias[in_block] : slots.block_gradient[in_block * d + f];
        to = assumed_step(side.step, theta, gradient, value_at<A>(exp_avg, at), value_at<A>(exp_avg_sq, at));
      }
      (bias ? slots.stepped_bias[slot] : slots.stepped[slot * d + f]) = to.value;
      if (slots.response) (bias ? slots.response_bias[slot] : slots.response[slot * d + f]) = to.response;
    }
  }
}

template <class A, class T, class Index>
__global__ void __launch_bounds__(kThreads, 1)
    upper_rows_kernel(LookaheadArgs<T, Index> args, LookaheadWorkspace<A> work) {
  const LookaheadSlots<A>&users = work.sides[0], &items = work.sides[1];
  const int64_t d = args.factors, n = args.upper.n;
  const A scale = static_cast<A>(args.upper.coefficient);
  for (int64_t round = 0; round * group_stride() < n; ++round) {
    const int64_t k = round * group_stride() + first_group();
    const int64_t user = k < n ? users.sample_slots[k] : 0, item = k < n ? items.sample_slots[k] : 0;
    A sum = 0;
    for (int64_t f = threadIdx.x % kLanes; k < n && f < d; f += kLanes)
      sum += users.stepped[user * d + f] * items.stepped[item * d + f];
    sum = lanes_sum<kLanes>(sum);
    if (k >= n || threadIdx.x % kLanes != 0) continue;
    if (args.user_table.bias) sum += users.stepped_bias[user];
    if (args.item_table.bias) sum += items.stepped_bias[item];
    if (d == 0 &&
        !(in_range(users.rows[user], args.user_table.rows) && in_range(items.rows[item], args.item_table.rows)))
      sum = nan_value<A>();
    const UpperRow<A> row = upper_row(args.upper.kind, row_input(args.upper, sum, k));
    work.values[k] = row.value;
    work.upper_slopes[k] = scale * row.score;
    if (args.upper.grad_targets) args.upper.grad_targets[k] = from_float<T>(scale * row.target);
    if (args.upper.grad_source) args.upper.grad_source[k] = from_float<T>(scale * row.source);
  }
}

// The gradient of the upper loss at theta', times the response of the step.
template <class A, class T, class Index>
__global__ void __launch_bounds__(kThreads, 1) gradient_rows_kernel(SideArgs<A, T, Index> side) {
  const LookaheadSlots<A>& slots = side.slots;
  const int64_t d = side.d, count = slot_count(slots, side.n);
  for (int64_t slot = first_group(); slot < count; slot += group_stride()) {
    const int64_t end = slot + 1 < count ? slots.begins[slot + 1] : side.n;
    for (int64_t f = threadIdx.x % kLanes; f <= d; f += kLanes) {
      const bool bias = f == d;
      if (bias && !side.table.bias) continue;
      A sum = 0;
      for (int64_t p = slots.begins[slot]; p < end; ++p) {
        const int64_t k = slots.order[p];
        sum += side.upper_slopes[k] * (bias ? A(1) : side.other_stepped[side.other_slots[k] * d + f]);
      }
      const A* response = bias ? slots.response_bias : slots.response;
      const int64_t at = bias ? slot : slot * d + f;
      (bias ? slots.gradient_bias : slots.gradient)[at] =
          sum * (response ? response[at] : static_cast<A>(side.step.lr));
    }
  }
}

// One block, so that the order of the additions is fixed.
template <class A, class T>
__global__ void loss_kernel(const A* values, int64_t n, double scale, T* loss) {
  double sum = 0;
  for (int64_t k = threadIdx.x; k < n; k += kReduceThreads) sum += static_cast<double>(values[k]);
  const double total = block_sum(sum);
  if (threadIdx.x == 0) *loss = from_float<T>(static_cast<A>(scale * total));
}

template <class A, class T, class Index>
SideArgs<A, T, Index> side_args(const LookaheadArgs<T, Index>& args, const LookaheadWorkspace<A>& work, int which) {
  const LookaheadSlots<A>& other = work.sides[1 - which];
  return {which == 0 ? args.user_table : args.item_table,
          work.sides[which],
          (which == 0 ? args.item_table : args.user_table).factors,
          which == 0 ? args.lower.items : args.lower.users,
          other.stepped,
          other.sample_slots,
          work.lower_slopes,
          work.upper_slopes,
          args.step,
          args.factors,
          args.upper.n,
          args.lower.n};
}

}  // namespace

namespace cuda {

template <class T, class Index>
void lookahead_upper(const LookaheadArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& work,
                     bool wants_gradient, T* loss, void* stream) {
  using A = accumulator_t<T>;
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned over_upper = group_grid(args.upper.n);
  for (int which = 0; which < 2; ++which)
    launch(step_rows_kernel<A, T, Index>, over_upper, kThreads, 0, on, side_args(args, work, which));
  launch(upper_rows_kernel<A, T, Index>, over_upper, kThreads, 0, on, args, work);
  launch(loss_kernel<A, T>, 1u, kReduceThreads, 0, on, static_cast<const A*>(work.values), args.upper.n,
         args.upper.coefficient, loss);
  if (!wants_gradient) return;
  for (int which = 0; which < 2; ++which)
    launch(gradient_rows_kernel<A, T, Index>, over_upper, kThreads, 0, on, side_args(args, work, which));
}

#define DEBIAS_INSTANTIATE(T, Index)                                                                                   \
  template void lookahead_upper(const LookaheadArgs<T, Index>&, const LookaheadWorkspace<accumulator_t<T>>&, bool, T*, \
                                void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
