// The look-ahead step of a block: the all-pairs term by its Gram matrices, the rated pairs one by one.
#include "block/gram.h"
#include "common/reduce.cuh"
#include "lookahead/lookahead_block_kernels.h"
#include "lookahead/lookahead_pairs.cuh"

namespace debias {
namespace {

template <class A, class T, class Index>
struct BlockTerms {
  LookaheadBlockArgs<T, Index> args;
  LookaheadBlockWorkspace<A> block;

  __device__ __forceinline__ const LookaheadArgs<T, Index>& pairs() const { return args.pairs; }
  __device__ __forceinline__ BlockRow<A> row(A score, int64_t k) const {
    const LookaheadBlockSide<A>&users = block.sides[0], &items = block.sides[1];
    return block_row(args.pairs.lower, args.weights, args.imputations, score, k, users.weight[users.local[k]],
                     items.weight[items.local[k]], *items.value);
  }
  __device__ __forceinline__ A slope(A score, int64_t k) const {
    return row(score, k).slope(static_cast<A>(args.pairs.lower.coefficient));
  }
  __device__ __forceinline__ void write(A score, A change, int64_t k) const {
    const LookaheadRowsArgs<T, Index>& rows = args.pairs.lower;
    const BlockRow<A> at = row(score, k);
    const A cotangent = -static_cast<A>(rows.coefficient) * change;
    if (rows.grad_targets) rows.grad_targets[k] = from_float<T>(cotangent * at.rated.target);
    if (rows.grad_source) rows.grad_source[k] = from_float<T>(cotangent * at.rated.source);
    if (!args.weights) return;
    const BlockPairGradients<A> to = at.gradients(change);
    if (args.grad_weights) args.grad_weights[k] = from_float<T>(to.weight);
    if (args.grad_imputations) args.grad_imputations[k] = from_float<T>(to.imputation);
    block.sides[0].pair_weight[k] = to.user_weight;
    block.sides[1].pair_weight[k] = to.item_weight;
    block.pair_value[k] = to.value;
  }
};

// A group of lanes a row of the block.
template <class A>
__global__ void __launch_bounds__(kThreads, 1)
    directions_kernel(LookaheadSlots<A> slots, LookaheadBlockSide<A> side, int64_t d, int64_t n) {
  for (int64_t r = first_group(); r < side.rows; r += group_stride()) {
    const int64_t slot = side.slots[r];
    for (int64_t f = threadIdx.x % kLanes; f < d; f += kLanes)
      side.direction[r * d + f] = slot < n ? slots.gradient[slot * d + f] : A(0);
    if (side.bias && threadIdx.x % kLanes == 0) side.direction_bias[r] = slot < n ? slots.gradient_bias[slot] : A(0);
  }
}

// The gradient of a side's weights: the part of all pairs, and that of the row's rated pairs in their order.
template <class A, class T>
__global__ void __launch_bounds__(kThreads, 1)
    weight_gradient_kernel(LookaheadSlots<A> slots, LookaheadBlockSide<A> side, int64_t pairs, T* out) {
  // Every lane makes every round, so that the shuffles always meet.
  for (int64_t round = 0; round * group_stride() < side.rows; ++round) {
    const int64_t r = round * group_stride() + first_group();
    const bool valid = r < side.rows;
    const int64_t end = valid ? lower_bound(slots.sorted_keys, pairs, r + 1) : 0;
    A sum = 0;
    for (int64_t p = (valid ? lower_bound(slots.sorted_keys, pairs, r) : 0) + threadIdx.x % kLanes; p < end;
         p += kLanes)
      sum += side.pair_weight[slots.lower_order[p]];
    sum = lanes_sum<kLanes>(sum);
    if (valid && threadIdx.x % kLanes == 0) out[r] = from_float<T>(side.contraction[r] + sum);
  }
}

// One block, so that the order of the additions is fixed.
template <class A, class T>
__global__ void __launch_bounds__(kReduceThreads, 1)
    value_gradient_kernel(LookaheadBlockWorkspace<A> block, int64_t pairs, int64_t d, T* out) {
  const LookaheadBlockSide<A>&users = block.sides[0], &items = block.sides[1];
  double sum =
      2.0 * gram_direction_sum(users.gram, items.gram, users.cross, items.cross, d, threadIdx.x, kReduceThreads);
  for (int64_t k = threadIdx.x; k < pairs; k += kReduceThreads) sum += static_cast<double>(block.pair_value[k]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *out = from_float<T>(static_cast<A>(sum));
}

template <class A>
GramRows<A> rows_of(const LookaheadBlockSide<A>& side, int64_t d, bool is_user) {
  return {side.factors, side.bias, side.weight, side.value, 0.0, side.rows, d, 1.0, is_user};
}

template <class A>
GramRows<A> directions_of(const LookaheadBlockSide<A>& side, int64_t d, bool is_user) {
  return {side.direction, side.direction_bias, nullptr, nullptr, 0.0, side.rows, d, 0.0, is_user};
}

// The gradients of the all-pairs term to the rows of both sides: 2 A_u H x_u, and with the sides exchanged.
template <class A>
void all_pairs_gradients(const LookaheadBlockWorkspace<A>& block, int64_t d, void* stream) {
  for (const int which : {0, 1}) {
    const GramRows<A> rows = rows_of(block.sides[which], d, which == 0);
    cuda::gram_products(rows, rows, block.shares, block.sides[which].gram, stream);
  }
  for (const int which : {0, 1}) {
    const LookaheadBlockSide<A>& side = block.sides[which];
    const GramRows<A> rows = rows_of(side, d, which == 0);
    const GramGradients<A> out{side.gradient, side.gradient_bias, nullptr, d, rows.bias_component(), 2.0, 0.0};
    cuda::gram_gradients(rows, block.sides[1 - which].gram, out, false, stream);
  }
}

// The hypergradients of the block's weights and value; those of the rated pairs are there.
template <class A, class T, class Index>
void contract_block(const LookaheadBlockArgs<T, Index>& args, const LookaheadWorkspace<A>& work,
                    const LookaheadBlockWorkspace<A>& block, cudaStream_t on) {
  const int64_t d = args.pairs.factors, n = args.pairs.upper.n, pairs = args.weights ? args.pairs.lower.n : 0;
  for (const int which : {0, 1}) {
    const LookaheadBlockSide<A>& side = block.sides[which];
    launch(directions_kernel<A>, group_grid(side.rows), kThreads, 0, on, work.sides[which], side, d, n);
    if (wants_cross(args, which))
      cuda::gram_products(rows_of(side, d, which == 0), directions_of(side, d, which == 0), block.shares, side.cross,
                          on);
  }
  for (const int which : {0, 1}) {
    T* const out = which == 0 ? args.grad_user_weight : args.grad_item_weight;
    if (!out) continue;
    const LookaheadBlockSide<A>&side = block.sides[which], &other = block.sides[1 - which];
    cuda::gram_contractions(rows_of(side, d, which == 0), directions_of(side, d, which == 0), other.gram, other.cross,
                            -2.0, side.contraction, on);
    launch(weight_gradient_kernel<A, T>, group_grid(side.rows), kThreads, 0, on, work.sides[which], side, pairs, out);
  }
  if (args.grad_value) launch(value_gradient_kernel<A, T>, 1u, kReduceThreads, 0, on, block, pairs, d, args.grad_value);
}

}  // namespace

namespace cuda {

template <class T, class Index>
void lookahead_block_loss(const LookaheadBlockArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& work,
                          const LookaheadBlockWorkspace<accumulator_t<T>>& block, T* loss, void* stream) {
  using A = accumulator_t<T>;
  using Terms = BlockTerms<A, T, Index>;
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned over_pairs = group_grid(args.pairs.lower.n);
  all_pairs_gradients(block, args.pairs.factors, stream);
  launch(lower_scores_kernel<A, Terms>, over_pairs, kThreads, 0, on, Terms{args, block}, work);
  lookahead_upper(args.pairs, work, wants_lower(args), loss, stream);
  if (!wants_lower(args)) return;
  if (wants_pairs(args)) launch(contraction_kernel<A, Terms>, over_pairs, kThreads, 0, on, Terms{args, block}, work);
  if (wants_weights(args)) contract_block(args, work, block, on);
}

#define DEBIAS_INSTANTIATE(T, Index)                                                                                   \
  template void lookahead_block_loss(const LookaheadBlockArgs<T, Index>&, const LookaheadWorkspace<accumulator_t<T>>&, \
                                     const LookaheadBlockWorkspace<accumulator_t<T>>&, T*, void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
