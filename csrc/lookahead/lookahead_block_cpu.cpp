#include <memory>

#include "lookahead/lookahead_block_pairs.h"

namespace debias {
namespace {

using namespace lookahead;

constexpr size_t kLargestKept = size_t{1} << 23;  // numbers of a problem whose memory a thread keeps

template <class T, class Index>
GramRows<T> block_rows(const BlockProblem<T, Index>& problem, int which) {
  const BlockSide<T>& side = problem.sides[static_cast<size_t>(which)];
  const LookaheadBlockArgs<T, Index>& args = *problem.args;
  return gram_rows(side, side.factors, side.bias, which == 0 ? args.user_weight : args.item_weight, args.value,
                   args.pairs.factors, which == 0, 1.0);
}

template <class T, class Index>
GramRows<T> block_directions(const BlockProblem<T, Index>& problem, int which) {
  const BlockSide<T>& side = problem.sides[static_cast<size_t>(which)];
  return gram_rows<T>(side, side.directions, side.direction_bias, nullptr, nullptr, problem.args->pairs.factors,
                      which == 0, 0.0);
}

// The gradient of the all-pairs term to the rows with a slot: 2 A_u H x_u, and the same with the sides exchanged.
template <class T, class Index>
void gram_part(BlockProblem<T, Index>& problem, int which) {
  const int64_t d = problem.args->pairs.factors;
  BlockSide<T>& side = problem.sides[static_cast<size_t>(which)];
  const BlockSide<T>& other = problem.sides[static_cast<size_t>(1 - which)];
  const T* weight = which == 0 ? problem.args->user_weight : problem.args->item_weight;
  const auto count = static_cast<int64_t>(side.active.size());
  const auto size = static_cast<size_t>(count);
  std::vector<T> factors(size * static_cast<size_t>(d)), bias(size), weights(size), to(factors.size()), to_bias(size);
  for (size_t j = 0; j < size; ++j) {
    const int64_t row = side.active[j];
    std::copy_n(side.factors.begin() + row * d, d, factors.begin() + static_cast<int64_t>(j) * d);
    bias[j] = side.bias[static_cast<size_t>(row)];
    weights[j] = weight[row];
  }
  GramRows<T> rows = block_rows(problem, which);
  rows.factors = factors.data();
  rows.bias = bias.data();
  rows.weight = weights.data();
  rows.rows = count;
  const GramGradients<T> gradients{to.data(), to_bias.data(), nullptr, d, rows.bias_component(), 2.0, 0.0};
  cpu::gram_gradients(rows, other.gram.data(), gradients, false);
  side.gradient.assign(static_cast<size_t>(side.rows * side.width), T(0));
  const int64_t bias_at = d;  // of the other side's packed rows, the component that is 1 lies here for users
  for (size_t j = 0; j < size; ++j) {
    T* out = side.gradient.data() + side.active[j] * side.width;
    std::copy_n(to.begin() + static_cast<int64_t>(j) * d, d, out);
    out[which == 0 ? bias_at : bias_at + 1] = to_bias[j];
  }
}

// theta' of the slots: rows outside the block have no gradient.
template <class T, class Index>
void step_slots(BlockProblem<T, Index>& problem, int which) {
  const AssumedStep step = problem.args->pairs.step;
  const int64_t d = problem.args->pairs.factors;
  const BlockSide<T>& side = problem.sides[static_cast<size_t>(which)];
  Side<T>& upper = problem.upper.sides[static_cast<size_t>(which)];
  std::fill(upper.stepped, upper.stepped + upper.slots() * d, T(0));
  std::fill(upper.stepped_bias, upper.stepped_bias + upper.slots(), T(0));
  for (const int64_t row : side.active) {
    const int64_t slot = side.slot[static_cast<size_t>(row)];
    const T* gradient = side.gradient.data() + row * side.width;
    const T* theta = side.factors.data() + row * d;
    for (int64_t f = 0; f < d; ++f) upper.stepped[slot * d + f] = gradient[f] + static_cast<T>(step.l2) * theta[f];
    upper.stepped_bias[slot] = gradient[which == 0 ? d : d + 1];
  }
  for (int64_t slot = 0; slot < upper.slots(); ++slot) take_step(upper, step, slot, d);
}

template <class T, class Index>
void place_directions(BlockProblem<T, Index>& problem, int which) {
  const int64_t d = problem.args->pairs.factors;
  BlockSide<T>& side = problem.sides[static_cast<size_t>(which)];
  const Side<T>& upper = problem.upper.sides[static_cast<size_t>(which)];
  side.directions.assign(static_cast<size_t>(side.rows * d), T(0));
  side.direction_bias.assign(static_cast<size_t>(side.rows), T(0));
  side.moving.assign(static_cast<size_t>(side.rows * side.width), T(0));
  for (const int64_t row : side.active) {
    const int64_t slot = side.slot[static_cast<size_t>(row)];
    const T bias = upper.table->bias ? upper.gradient_bias[slot] : T(0);
    std::copy_n(upper.gradient + slot * d, d, side.directions.begin() + row * d);
    side.direction_bias[static_cast<size_t>(row)] = bias;
    place(side.moving, row, side.width, upper.gradient + slot * d, bias, T(0), d, which == 0);
  }
}

// The hypergradients of the all-pairs term.
template <class T, class Index>
void contract_block(BlockProblem<T, Index>& problem) {
  const LookaheadBlockArgs<T, Index>& args = *problem.args;
  const int64_t d = args.pairs.factors;
  for (int which = 0; which < 2; ++which) {
    place_directions(problem, which);
    BlockSide<T>& side = problem.sides[static_cast<size_t>(which)];
    side.cross.resize(side.gram.size());
    if (wants_cross(args, which))
      cpu::gram_products(block_rows(problem, which), block_directions(problem, which), side.cross.data());
  }
  const BlockSide<T>&users = problem.sides[0], &items = problem.sides[1];
  if (args.grad_user_weight)
    cpu::gram_contractions(block_rows(problem, 0), block_directions(problem, 0), items.gram.data(), items.cross.data(),
                           -2.0, args.grad_user_weight);
  if (args.grad_item_weight)
    cpu::gram_contractions(block_rows(problem, 1), block_directions(problem, 1), users.gram.data(), users.cross.data(),
                           -2.0, args.grad_item_weight);
  std::vector<T>& item_sums = problem.item_sums;
  item_sums.assign(static_cast<size_t>(problem.tasks * args.n), T(0));
  std::vector<double> value_sums(static_cast<size_t>(problem.tasks), 0.0);
  if (wants_pairs(args))
    over_users(problem, [&](int64_t task, int64_t first, int64_t last) {
      simd_run<RatedContraction<T, Index>>(&problem, first, last, item_sums.data() + task * args.n,
                                           &value_sums[static_cast<size_t>(task)]);
    });
  if (args.grad_item_weight) add_tasks(item_sums, problem.tasks, args.n, args.grad_item_weight);
  if (!args.grad_value) return;
  double value =
      2.0 * gram_direction_sum(users.gram.data(), items.gram.data(), users.cross.data(), items.cross.data(), d);
  for (const double sum : value_sums) value += sum;
  *args.grad_value = static_cast<T>(value);
}

template <class T, class Index>
void prepare(BlockProblem<T, Index>& problem) {
  const LookaheadBlockArgs<T, Index>& args = *problem.args;
  const LookaheadArgs<T, Index>& pairs = args.pairs;
  const std::array<SlotMap, 2> maps = group(problem.upper);
  BlockSide<T>&users = problem.sides[0], &items = problem.sides[1];
  find_local(users.local, "users", args.users, args.m, pairs.lower.users, pairs.lower.n, pairs.user_table.rows);
  find_local(items.local, "items", args.items, args.n, pairs.lower.items, pairs.lower.n, pairs.item_table.rows);
  gather(users, pairs.user_table, args.users, args.m, pairs.factors, maps[0], true);
  gather(items, pairs.item_table, args.items, args.n, pairs.factors, maps[1], false);
  problem.by_user = make_segments(users.local.data(), pairs.lower.n, args.m);
  problem.scores.resize(static_cast<size_t>(pairs.lower.n));
  const int64_t item_numbers = std::max<int64_t>(1, args.n * items.width);
  const int64_t tasks = std::max<int64_t>(1, std::min(kMaxTasks, kMaxSums / item_numbers));
  problem.task_users = std::max<int64_t>(1, block_count(args.m, tasks));
  problem.tasks = block_count(args.m, problem.task_users);
}

}  // namespace

namespace cpu {

template <class T, class Index>
double lookahead_block_loss(const LookaheadBlockArgs<T, Index>& args) {
  // Steps in a loop find their memory mapped.
  static thread_local std::unique_ptr<BlockProblem<T, Index>> kept;
  std::unique_ptr<BlockProblem<T, Index>> owned = kept ? std::move(kept) : std::make_unique<BlockProblem<T, Index>>();
  BlockProblem<T, Index>& problem = *owned;
  problem.args = &args;
  problem.upper = {};
  problem.upper.args = &args.pairs;
  prepare(problem);
  size_t bytes = 0;
  each_array(problem.upper, [&](T*, int64_t count) { bytes += scratch_bytes<T>(count); });
  Scratch scratch(bytes);
  each_array(problem.upper, [&](T*& array, int64_t count) { array = scratch.take<T>(count); });
  const auto gram_size = static_cast<size_t>((args.pairs.factors + 2) * gram_width(args.pairs.factors));
  for (int which = 0; which < 2; ++which) {
    BlockSide<T>& side = problem.sides[static_cast<size_t>(which)];
    side.gram.resize(gram_size);
    gram_products(block_rows(problem, which), block_rows(problem, which), side.gram.data());
  }
  for (int which = 0; which < 2; ++which) gram_part(problem, which);
  const int64_t item_numbers = args.n * problem.sides[1].width;
  std::vector<T>& item_sums = problem.item_sums;
  item_sums.assign(static_cast<size_t>(problem.tasks * item_numbers), T(0));
  over_users(problem, [&](int64_t task, int64_t first, int64_t last) {
    simd_run<RatedGradients<T, Index>>(&problem, first, last, item_sums.data() + task * item_numbers);
  });
  add_tasks(item_sums, problem.tasks, item_numbers, problem.sides[1].gradient.data());
  for (int which = 0; which < 2; ++which) step_slots(problem, which);
  const bool wants = wants_lower(args);
  const double loss = upper_loss(problem.upper, wants);
  if (wants) contract_block(problem);
  const auto rows = static_cast<size_t>((args.m + args.n) * problem.sides[1].width + args.pairs.lower.n);
  if (rows + item_sums.capacity() <= kLargestKept) kept = std::move(owned);
  return loss;
}

template double lookahead_block_loss(const LookaheadBlockArgs<float, int32_t>&);
template double lookahead_block_loss(const LookaheadBlockArgs<float, int64_t>&);
template double lookahead_block_loss(const LookaheadBlockArgs<double, int32_t>&);
template double lookahead_block_loss(const LookaheadBlockArgs<double, int64_t>&);

}  // namespace cpu
}  // namespace debias
