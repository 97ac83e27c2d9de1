// The rows of a block and its rated pairs on the CPU: gathered, padded, and walked user by user.
#pragma once

#include <stdexcept>
#include <string>

#include "block/gram.h"
#include "lookahead/lookahead_block_kernels.h"
#include "lookahead/lookahead_upper.h"

namespace debias::lookahead {

constexpr int64_t kLanes = 16;                  // rows are padded to a multiple of these
constexpr int64_t kMaxTasks = 32;               // user tasks with sums of their own for the items
constexpr int64_t kMaxSums = int64_t{1} << 22;  // numbers in all these sums
constexpr int64_t kPairBlock = 16384;           // rated pairs that one task looks up
constexpr int64_t kRowBlock = 1024;             // rows that one task gathers

// One side of the block: its rows side by side, padded, so that the score is x.y with x = [P[u], a[u], 1] and
// y = [Q[i], 1, b[i]].
template <class T>
struct BlockSide {
  int64_t rows, width;
  std::vector<int64_t> local;                 // of each rated pair
  std::vector<int64_t> slot;                  // of each row; -1: the upper batch lacks it
  std::vector<int64_t> active;                // rows with a slot
  std::vector<T> factors, bias;               // [rows, d], [rows]
  std::vector<T> packed;                      // [rows, width]
  std::vector<T> gradient;                    // [rows, width] of the lower loss, rows with a slot only
  std::vector<T> directions, direction_bias;  // response times G, zero without a slot
  std::vector<T> moving;                      // [rows, width] directions in the places of `packed`, 0 for the unit
  std::vector<double> gram, cross;
};

template <class T, class Index>
struct BlockProblem {
  const LookaheadBlockArgs<T, Index>* args;
  Upper<T, Index> upper;
  std::array<BlockSide<T>, 2> sides;  // users, items
  Segments by_user;                   // rated pairs by local user
  std::vector<T> scores;              // in the order of by_user
  std::vector<T> item_sums;           // of each task
  int64_t tasks, task_users;
};

template <class T>
GramRows<T> gram_rows(const BlockSide<T>& side, const std::vector<T>& factors, const std::vector<T>& bias,
                      const T* weight, const T* value, int64_t d, bool is_user, double unit) {
  return {factors.data(), bias.data(), weight, is_user ? nullptr : value, 0.0, side.rows, d, unit, is_user};
}

template <class T>
void place(std::vector<T>& rows, int64_t row, int64_t width, const T* factors, T bias, T unit, int64_t d,
           bool is_user) {
  T* out = rows.data() + row * width;
  std::copy(factors, factors + d, out);
  out[d] = is_user ? bias : unit;
  out[d + 1] = is_user ? unit : bias;
}

template <class T, class Index>
void gather(BlockSide<T>& side, const LookaheadTableArgs<T>& table, const Index* rows, int64_t count, int64_t d,
            const SlotMap& slots, bool is_user) {
  side.rows = count;
  side.width = (d + 2 + kLanes - 1) / kLanes * kLanes;
  side.slot.resize(static_cast<size_t>(count));
  side.factors.resize(static_cast<size_t>(count * d));
  side.bias.resize(static_cast<size_t>(count));
  side.packed.resize(static_cast<size_t>(count * side.width));
  parallel_blocks(count, kRowBlock, kRowBlock, [&](int64_t, int64_t begin, int64_t end) {
    std::fill(side.packed.begin() + begin * side.width, side.packed.begin() + end * side.width, T(0));
    for (int64_t j = begin; j < end; ++j) {
      const auto row = static_cast<int64_t>(rows[j]);
      const T* from = table.factors + row * d;
      const T bias = table.bias ? table.bias[row] : T(0);
      std::copy(from, from + d, side.factors.begin() + j * d);
      side.bias[static_cast<size_t>(j)] = bias;
      place(side.packed, j, side.width, from, bias, T(1), d, is_user);
      side.slot[static_cast<size_t>(j)] = slots.find(row);
    }
  });
  side.active.clear();
  for (int64_t j = 0; j < count; ++j)
    if (side.slot[static_cast<size_t>(j)] >= 0) side.active.push_back(j);
}

// The places of the rated pairs among the rows of the block.
template <class Index>
void find_local(std::vector<int64_t>& local, const char* name, const Index* block, int64_t count, const Index* pairs,
                int64_t n, int64_t table_rows) {
  const std::vector<int64_t> rows(block, block + count);
  const SlotMap map(rows, table_rows);
  for (int64_t j = 0; j < count; ++j)
    if (map.find(rows[static_cast<size_t>(j)]) != j)
      throw std::invalid_argument(std::string("lower['block']['") + name + "'] must be distinct, got " +
                                  std::to_string(rows[static_cast<size_t>(j)]) + " twice");
  local.resize(static_cast<size_t>(n));
  std::vector<int64_t> outside(static_cast<size_t>(block_count(n, kPairBlock)), -1);
  parallel_blocks(n, kPairBlock, kPairBlock, [&](int64_t b, int64_t begin, int64_t end) {
    for (int64_t k = end - 1; k >= begin; --k) {
      local[static_cast<size_t>(k)] = map.find(static_cast<int64_t>(pairs[k]));
      if (local[static_cast<size_t>(k)] < 0) outside[static_cast<size_t>(b)] = k;
    }
  });
  for (const int64_t k : outside)
    if (k >= 0)
      throw std::out_of_range(std::string("lower['") + name + "'] must be in lower['block']['" + name + "'], got " +
                              std::to_string(pairs[k]) + " at position " + std::to_string(k));
}

template <class T>
DEBIAS_HD T padded_dot(const T* __restrict a, const T* __restrict b, int64_t width) {
  T sum = 0;
  for (int64_t f = 0; f < width; f += kLanes) {
    T part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t l = 0; l < kLanes; ++l) part += a[f + l] * b[f + l];
    sum += part;
  }
  return sum;
}

template <class T>
DEBIAS_HD void padded_add(T* __restrict out, const T* __restrict row, T scale, int64_t width) {
  for (int64_t f = 0; f < width; f += kLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kLanes; ++l) out[f + l] += scale * row[f + l];
  }
}

// Scores of the rated pairs of users [begin, end), and their part of the gradients to rows with a slot.
template <class T, class Index>
struct RatedGradients {
  static DEBIAS_HD void run(BlockProblem<T, Index>* problem, int64_t first, int64_t last, T* item_sums) {
    const LookaheadBlockArgs<T, Index>& args = *problem->args;
    BlockSide<T>&users = problem->sides[0], &items = problem->sides[1];
    const Segments& pairs = problem->by_user;
    const int64_t width = users.width, *item_of = items.local.data(), *order = pairs.order.data();
    const int64_t* item_slot = items.slot.data();
    const LookaheadRowsArgs<T, Index> rows = args.pairs.lower;
    const T value = *args.value, coefficient = static_cast<T>(rows.coefficient);
    const T *weights = args.weights, *imputations = args.imputations, *item_weight = args.item_weight;
    const T *x_rows = users.packed.data(), *y_rows = items.packed.data();
    T* scores = problem->scores.data();
    for (int64_t j = first; j < last; ++j) {
      const int64_t user = pairs.rows[static_cast<size_t>(j)];
      const T* x = x_rows + user * width;
      const T user_weight = args.user_weight[user];
      T* gradient = users.slot[static_cast<size_t>(user)] >= 0 ? users.gradient.data() + user * width : nullptr;
      for (int64_t p = pairs.offsets[static_cast<size_t>(j)]; p < pairs.offsets[static_cast<size_t>(j) + 1]; ++p) {
        const int64_t k = order[p], item = item_of[k];
        const T* y = y_rows + item * width;
        const T score = padded_dot(x, y, width);
        scores[p] = score;
        const bool moves_item = item_slot[item] >= 0;
        if (!gradient && !moves_item) continue;
        const T slope =
            block_row(rows, weights, imputations, score, k, user_weight, item_weight[item], value).slope(coefficient);
        if (gradient) padded_add(gradient, y, slope, width);
        if (moves_item) padded_add(item_sums + item * width, x, slope, width);
      }
    }
  }
};

// -D_k times the mixed derivatives of the rated pairs, and what they take from the weights and the value of all pairs.
template <class T, class Index>
struct RatedContraction {
  static DEBIAS_HD void run(BlockProblem<T, Index>* problem, int64_t first, int64_t last, T* item_sums,
                            double* value_sum) {
    const LookaheadBlockArgs<T, Index>& args = *problem->args;
    const LookaheadRowsArgs<T, Index> rows = args.pairs.lower;
    const BlockSide<T>&users = problem->sides[0], &items = problem->sides[1];
    const Segments& pairs = problem->by_user;
    const int64_t width = users.width, *item_of = items.local.data(), *order = pairs.order.data();
    const T value = *args.value, coefficient = static_cast<T>(rows.coefficient);
    const T *weights = args.weights, *imputations = args.imputations, *item_weights = args.item_weight;
    const T *y_rows = items.packed.data(), *moving_rows = items.moving.data(), *scores = problem->scores.data();
    T *grad_weights = args.grad_weights, *grad_imputations = args.grad_imputations;
    double of_value = 0;
    for (int64_t j = first; j < last; ++j) {
      const int64_t user = pairs.rows[static_cast<size_t>(j)];
      const T *x = users.packed.data() + user * width, *g = users.moving.data() + user * width;
      const bool user_moves = users.slot[static_cast<size_t>(user)] >= 0;
      const T user_weight = args.user_weight[user];
      T of_user = 0;
      for (int64_t p = pairs.offsets[static_cast<size_t>(j)]; p < pairs.offsets[static_cast<size_t>(j) + 1]; ++p) {
        const int64_t k = order[p], item = item_of[k];
        T contraction = padded_dot(x, moving_rows + item * width, width);
        if (user_moves) contraction += padded_dot(g, y_rows + item * width, width);
        const BlockRow<T> row =
            block_row(rows, weights, imputations, scores[p], k, user_weight, item_weights[item], value);
        if (rows.grad_targets) rows.grad_targets[k] = -coefficient * contraction * row.rated.target;
        if (rows.grad_source) rows.grad_source[k] = -coefficient * contraction * row.rated.source;
        if (!weights) continue;
        const BlockPairGradients<T> to = row.gradients(contraction);
        if (grad_weights) grad_weights[k] = to.weight;
        if (grad_imputations) grad_imputations[k] = to.imputation;
        of_user += to.user_weight;
        item_sums[item] += to.item_weight;
        of_value += static_cast<double>(to.value);
      }
      if (args.grad_user_weight) args.grad_user_weight[user] += of_user;
    }
    *value_sum = of_value;
  }
};

// kernel(task, first segment, last segment) over tasks of whole users
template <class T, class Index, class Kernel>
void over_users(const BlockProblem<T, Index>& problem, const Kernel& kernel) {
  const auto& rows = problem.by_user.rows;
  const auto from = [&](int64_t user) { return std::lower_bound(rows.begin(), rows.end(), user) - rows.begin(); };
  parallel_blocks(problem.sides[0].rows, problem.task_users, problem.task_users,
                  [&](int64_t task, int64_t begin, int64_t end) { kernel(task, from(begin), from(end)); });
}

// The sums of all tasks, in order.
template <class T>
void add_tasks(const std::vector<T>& sums, int64_t tasks, int64_t size, T* out) {
  parallel_blocks(size, 1024, 4096, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t task = 0; task < tasks; ++task)
      for (int64_t k = begin; k < end; ++k) out[k] += sums[static_cast<size_t>(task * size + k)];
  });
}

}  // namespace debias::lookahead
