#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "common/parallel.h"
#include "common/segment.h"
#include "common/simd.h"
#include "lookahead/lookahead_kernels.h"
#include "lookahead/slot_map.h"

namespace debias {
namespace {

constexpr int64_t kMatchBlock = 8192;          // lower rows that one task looks up
constexpr int64_t kBlock = 256;                // samples, or slots, of one task
constexpr int64_t kSerialBelowFloats = 50000;  // gathered floats that a second thread does not pay for
constexpr int64_t kPrefetch = 8;               // samples ahead

template <class T>
using Buffer = std::unique_ptr<T[]>;

template <class T>
Buffer<T> buffer(int64_t n) {
  return Buffer<T>(new T[static_cast<size_t>(std::max<int64_t>(n, 1))]);
}

// Samples by table row and slot; a slot is a place among the distinct rows of the upper batch.
struct Samples {
  std::vector<int64_t> position;                  // in the batch
  std::array<std::vector<int64_t>, 2> row, slot;  // of users and items; slot -1: the upper batch lacks the row
  int64_t size() const { return static_cast<int64_t>(position.size()); }
};

// One table at the rows of the upper batch.
template <class T>
struct Side {
  const LookaheadTableArgs<T>* table;
  Segments upper;                     // upper samples by row: slot j is row upper.rows[j]
  Segments lower;                     // matched lower samples by slot
  Buffer<T> stepped, stepped_bias;    // theta'
  Buffer<T> response, response_bias;  // of Adam's step
  Buffer<T> gradient, gradient_bias;  // response times the gradient of the upper loss at theta'
  int64_t slots() const { return static_cast<int64_t>(upper.rows.size()); }
};

template <class T, class Index>
struct Problem {
  const LookaheadArgs<T, Index>* args;
  std::array<Side<T>, 2> sides;
  Samples upper, lower;
  Buffer<T> lower_scores, lower_slopes, upper_slopes;
};

template <class T>
DEBIAS_HD void prefetch_row(const T* row, int64_t d) {
  const char* line = reinterpret_cast<const char*>(row);
  const char* end = reinterpret_cast<const char*>(row + d);
  for (; line < end; line += 64) __builtin_prefetch(line);
}

template <class T>
DEBIAS_HD T dot(const T* __restrict a, const T* __restrict b, int64_t d) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t f = 0; f < d; ++f) sum += a[f] * b[f];
  return sum;
}

// out (+)= scale * row
template <class T>
DEBIAS_HD void add_row(T* __restrict out, const T* __restrict row, T scale, int64_t d, bool first) {
  if (first) {
#pragma omp simd
    for (int64_t f = 0; f < d; ++f) out[f] = scale * row[f];
  } else {
#pragma omp simd
    for (int64_t f = 0; f < d; ++f) out[f] += scale * row[f];
  }
}

// Scores of matched lower samples at theta, and the slopes of their losses.
template <class T, class Index>
struct LowerScores {
  static DEBIAS_HD void run(const Problem<T, Index>* problem, int64_t begin, int64_t end) {
    const auto& [args, sides, upper, samples, scores, slopes, upper_slopes] = *problem;
    const LookaheadRowsArgs<T, Index> rows = args->lower;
    const LookaheadTableArgs<T> users = args->user_table, items = args->item_table;
    const int64_t d = args->factors;
    const int64_t *user = samples.row[0].data(), *item = samples.row[1].data(), *position = samples.position.data();
    for (int64_t m = begin; m < end; ++m) {
      if (m + kPrefetch < end) {
        prefetch_row(users.factors + user[m + kPrefetch] * d, d);
        prefetch_row(items.factors + item[m + kPrefetch] * d, d);
      }
      T score = dot(users.factors + user[m] * d, items.factors + item[m] * d, d);
      if (users.bias) score += users.bias[user[m]];
      if (items.bias) score += items.bias[item[m]];
      const int64_t k = position[m];
      scores[m] = score;
      slopes[m] = row_coefficient<T>(rows, k) * lower_row(rows.kind, row_input(rows, score, k)).slope;
    }
  }
};

// theta' of the slots of one side (0 users, 1 items).
template <class T, class Index>
struct StepRows {
  static DEBIAS_HD void run(Problem<T, Index>* problem, int which, int64_t begin, int64_t end) {
    Side<T>& side = problem->sides[which];
    const LookaheadTableArgs<T> table = *side.table;
    const T* other_factors = problem->sides[1 - which].table->factors;
    const AssumedStep step = problem->args->step;
    const int64_t d = problem->args->factors, *other = problem->lower.row[1 - which].data();
    const int64_t* order = side.lower.order.data();
    const T* slopes = problem->lower_slopes.get();
    // Slots without lower samples are no segment: walk both lists.
    const auto& slots = side.lower.rows;
    auto j = static_cast<size_t>(std::lower_bound(slots.begin(), slots.end(), begin) - slots.begin());
    for (int64_t slot = begin; slot < end; ++slot) {
      const int64_t row = side.upper.rows[static_cast<size_t>(slot)];
      const T* __restrict theta = table.factors + row * d;
      T* __restrict out = side.stepped.get() + slot * d;
      T bias_gradient = 0;
      const bool touched = j < slots.size() && slots[j] == slot;
      add_row(out, theta, touched ? static_cast<T>(step.l2) : T(0), d, true);
      if (touched) {
        for (int64_t p = side.lower.offsets[j]; p < side.lower.offsets[j + 1]; ++p) {
          const int64_t m = order[p];
          bias_gradient += slopes[m];
          add_row(out, other_factors + other[m] * d, slopes[m], d, false);
        }
        ++j;
      }
      T* response = side.response.get();
      const T* exp_avg = table.exp_avg ? table.exp_avg + row * d : theta;
      const T* exp_avg_sq = table.exp_avg_sq ? table.exp_avg_sq + row * d : theta;
      if (response) {
        for (int64_t f = 0; f < d; ++f) {
          const Stepped<T> to = assumed_step(step, theta[f], out[f], exp_avg[f], exp_avg_sq[f]);
          out[f] = to.value;
          response[slot * d + f] = to.response;
        }
      } else {
        const T lr = static_cast<T>(step.lr);
#pragma omp simd
        for (int64_t f = 0; f < d; ++f) out[f] = theta[f] - lr * out[f];
      }
      if (!table.bias) continue;
      const T m = table.bias_exp_avg ? table.bias_exp_avg[row] : T(0);
      const T v = table.bias_exp_avg_sq ? table.bias_exp_avg_sq[row] : T(0);
      const Stepped<T> to = assumed_step(step, table.bias[row], bias_gradient, m, v);
      side.stepped_bias[static_cast<size_t>(slot)] = to.value;
      if (response) side.response_bias[static_cast<size_t>(slot)] = to.response;
    }
  }
};

// The upper loss at theta', its slopes, and its own gradients.
template <class T, class Index>
struct UpperRows {
  static DEBIAS_HD void run(Problem<T, Index>* problem, int64_t begin, int64_t end, double* loss) {
    const LookaheadRowsArgs<T, Index> rows = problem->args->upper;
    const Side<T>&users = problem->sides[0], &items = problem->sides[1];
    const int64_t d = problem->args->factors;
    const int64_t *user = problem->upper.slot[0].data(), *item = problem->upper.slot[1].data();
    const bool user_bias = users.table->bias != nullptr, item_bias = items.table->bias != nullptr;
    const T scale = static_cast<T>(rows.coefficient);
    double sum = 0;
    for (int64_t k = begin; k < end; ++k) {
      T score = dot(users.stepped.get() + user[k] * d, items.stepped.get() + item[k] * d, d);
      if (user_bias) score += users.stepped_bias[static_cast<size_t>(user[k])];
      if (item_bias) score += items.stepped_bias[static_cast<size_t>(item[k])];
      const UpperRow<T> row = upper_row(rows.kind, row_input(rows, score, k));
      problem->upper_slopes[static_cast<size_t>(k)] = scale * row.score;
      if (rows.grad_targets) rows.grad_targets[k] = scale * row.target;
      if (rows.grad_source) rows.grad_source[k] = scale * row.source;
      sum += static_cast<double>(row.value);
    }
    *loss = sum;
  }
};

// G of the slots of one side, times the response of the step.
template <class T, class Index>
struct GradientRows {
  static DEBIAS_HD void run(Problem<T, Index>* problem, int which, int64_t begin, int64_t end) {
    Side<T>& side = problem->sides[which];
    const Side<T>& others = problem->sides[1 - which];
    const int64_t d = problem->args->factors, *other = problem->upper.slot[1 - which].data();
    const T* slopes = problem->upper_slopes.get();
    const T lr = static_cast<T>(problem->args->step.lr);
    const T* response = side.response.get();
    for (int64_t slot = begin; slot < end; ++slot) {
      T* __restrict out = side.gradient.get() + slot * d;
      T bias = 0;
      const int64_t first = side.upper.offsets[static_cast<size_t>(slot)];
      for (int64_t p = first; p < side.upper.offsets[static_cast<size_t>(slot) + 1]; ++p) {
        const int64_t k = side.upper.order[static_cast<size_t>(p)];
        bias += slopes[k];
        add_row(out, others.stepped.get() + other[k] * d, response ? slopes[k] : lr * slopes[k], d, p == first);
      }
      side.gradient_bias[static_cast<size_t>(slot)] =
          bias * (response && side.table->bias ? side.response_bias[static_cast<size_t>(slot)] : lr);
      if (!response) continue;
#pragma omp simd
      for (int64_t f = 0; f < d; ++f) out[f] *= response[slot * d + f];
    }
  }
};

// -D_k times the mixed derivatives: formula (H).
template <class T, class Index>
struct Contraction {
  static DEBIAS_HD void run(const Problem<T, Index>* problem, int64_t begin, int64_t end) {
    const LookaheadRowsArgs<T, Index> rows = problem->args->lower;
    const Side<T>&users = problem->sides[0], &items = problem->sides[1];
    const Samples& samples = problem->lower;
    const int64_t d = problem->args->factors;
    const bool user_bias = users.table->bias != nullptr, item_bias = items.table->bias != nullptr;
    for (int64_t m = begin; m < end; ++m) {
      const auto at = static_cast<size_t>(m);
      const int64_t user_slot = samples.slot[0][at], item_slot = samples.slot[1][at], k = samples.position[at];
      T contraction = 0;
      if (user_slot >= 0) {
        contraction += dot(items.table->factors + samples.row[1][at] * d, users.gradient.get() + user_slot * d, d);
        if (user_bias) contraction += users.gradient_bias[static_cast<size_t>(user_slot)];
      }
      if (item_slot >= 0) {
        contraction += dot(users.table->factors + samples.row[0][at] * d, items.gradient.get() + item_slot * d, d);
        if (item_bias) contraction += items.gradient_bias[static_cast<size_t>(item_slot)];
      }
      const LowerRow<T> row = lower_row(rows.kind, row_input(rows, problem->lower_scores[at], k));
      const T cotangent = -row_coefficient<T>(rows, k) * contraction;
      if (rows.grad_imputations) rows.grad_imputations[k] = cotangent * row.imputation;
      if (k >= rows.n_rated) continue;
      if (rows.grad_targets) rows.grad_targets[k] = cotangent * row.target;
      if (rows.grad_source) rows.grad_source[k] = cotangent * row.source;
    }
  }
};

template <class Index>
Samples upper_samples(const Index* users, const Index* items, int64_t n, const std::array<SlotMap, 2>& maps) {
  Samples samples;
  for (int which = 0; which < 2; ++which) {
    const Index* indices = which == 0 ? users : items;
    samples.slot[which].resize(static_cast<size_t>(n));
    for (int64_t k = 0; k < n; ++k)
      samples.slot[which][static_cast<size_t>(k)] = maps[which].find(static_cast<int64_t>(indices[k]));
  }
  return samples;
}

// The lower samples that share a user or an item with the upper batch, in their order: the others neither move a row
// that the upper loss reads, nor have a contraction other than 0.
template <class Index>
Samples matched_samples(const Index* users, const Index* items, int64_t n, const std::array<SlotMap, 2>& maps) {
  std::vector<Samples> parts(static_cast<size_t>(block_count(n, kMatchBlock)));
  parallel_blocks(n, kMatchBlock, kMatchBlock, [&](int64_t block, int64_t begin, int64_t end) {
    Samples part;
    for (int64_t k = begin; k < end; ++k) {
      const auto user = static_cast<int64_t>(users[k]), item = static_cast<int64_t>(items[k]);
      const int64_t user_slot = maps[0].find(user), item_slot = maps[1].find(item);
      if (user_slot < 0 && item_slot < 0) continue;
      part.position.push_back(k);
      part.row[0].push_back(user);
      part.row[1].push_back(item);
      part.slot[0].push_back(user_slot);
      part.slot[1].push_back(item_slot);
    }
    parts[static_cast<size_t>(block)] = std::move(part);
  });
  if (parts.size() == 1) return std::move(parts[0]);
  Samples all;
  const auto append = [](std::vector<int64_t>& to, const std::vector<int64_t>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  for (const Samples& part : parts) {
    append(all.position, part.position);
    for (int which = 0; which < 2; ++which) {
      append(all.row[which], part.row[which]);
      append(all.slot[which], part.slot[which]);
    }
  }
  return all;
}

// Lower samples by slot; those without one come last, and are dropped.
Segments by_slot(std::vector<int64_t> slot, int64_t slots) {
  for (int64_t& one : slot) one = one < 0 ? slots : one;
  Segments segments = make_segments(slot.data(), static_cast<int64_t>(slot.size()), slots + 1);
  if (!segments.rows.empty() && segments.rows.back() == slots) {
    segments.rows.pop_back();
    segments.offsets.pop_back();
  }
  return segments;
}

template <class T>
void allocate(Side<T>& side, int64_t d, bool adam) {
  const int64_t slots = side.slots();
  side.stepped = buffer<T>(slots * d);
  side.stepped_bias = buffer<T>(slots);
  side.gradient = buffer<T>(slots * d);
  side.gradient_bias = buffer<T>(slots);
  if (!adam) return;
  side.response = buffer<T>(slots * d);
  side.response_bias = buffer<T>(slots);
}

template <class T, class Index>
Problem<T, Index> make_problem(const LookaheadArgs<T, Index>& args) {
  Problem<T, Index> problem{};
  const LookaheadRowsArgs<T, Index>&lower = args.lower, &upper = args.upper;
  problem.args = &args;
  problem.sides[0].table = &args.user_table;
  problem.sides[1].table = &args.item_table;
  problem.sides[0].upper = make_segments(upper.users, upper.n, args.user_table.rows);
  problem.sides[1].upper = make_segments(upper.items, upper.n, args.item_table.rows);
  const std::array<SlotMap, 2> maps{SlotMap(problem.sides[0].upper.rows, args.user_table.rows),
                                    SlotMap(problem.sides[1].upper.rows, args.item_table.rows)};
  problem.upper = upper_samples(upper.users, upper.items, upper.n, maps);
  problem.lower = matched_samples(lower.users, lower.items, lower.n, maps);
  for (int which = 0; which < 2; ++which) {
    Side<T>& side = problem.sides[static_cast<size_t>(which)];
    side.lower = by_slot(problem.lower.slot[static_cast<size_t>(which)], side.slots());
    allocate(side, args.factors, args.step.adam != 0);
  }
  problem.lower_scores = buffer<T>(problem.lower.size());
  problem.lower_slopes = buffer<T>(problem.lower.size());
  problem.upper_slopes = buffer<T>(upper.n);
  return problem;
}

}  // namespace

namespace cpu {

template <class T, class Index>
InvalidRow first_invalid_row(const LookaheadRowsArgs<T, Index>& rows) {
  for (int64_t k = 0; k < rows.n_rated; ++k)
    if (const int invalid = invalid_row<T>(rows, k)) return {k, (invalid & 1) != 0};
  return {-1, false};
}

template <class T, class Index>
double lookahead_loss(const LookaheadArgs<T, Index>& args) {
  Problem<T, Index> problem = make_problem(args);
  const int64_t serial_below = kSerialBelowFloats / std::max<int64_t>(1, args.factors);
  const int64_t matched = problem.lower.size();
  const auto over_slots = [&](auto kernel) {
    for (int which = 0; which < 2; ++which)
      parallel_blocks(problem.sides[static_cast<size_t>(which)].slots(), kBlock, serial_below,
                      [&](int64_t, int64_t begin, int64_t end) { kernel(which, begin, end); });
  };
  parallel_blocks(matched, kBlock, serial_below,
                  [&](int64_t, int64_t begin, int64_t end) { simd_run<LowerScores<T, Index>>(&problem, begin, end); });
  over_slots([&](int which, int64_t begin, int64_t end) { simd_run<StepRows<T, Index>>(&problem, which, begin, end); });
  std::vector<double> losses(static_cast<size_t>(block_count(args.upper.n, kBlock)));
  parallel_blocks(args.upper.n, kBlock, serial_below, [&](int64_t block, int64_t begin, int64_t end) {
    simd_run<UpperRows<T, Index>>(&problem, begin, end, &losses[static_cast<size_t>(block)]);
  });
  if (wants_lower(args) && matched > 0) {
    over_slots(
        [&](int which, int64_t begin, int64_t end) { simd_run<GradientRows<T, Index>>(&problem, which, begin, end); });
    parallel_blocks(matched, kBlock, serial_below, [&](int64_t, int64_t begin, int64_t end) {
      simd_run<Contraction<T, Index>>(&problem, begin, end);
    });
  }
  double loss = 0;
  for (const double part : losses) loss += part;
  return args.upper.coefficient * loss;
}

template InvalidRow first_invalid_row(const LookaheadRowsArgs<float, int64_t>&);
template InvalidRow first_invalid_row(const LookaheadRowsArgs<double, int64_t>&);
template double lookahead_loss(const LookaheadArgs<float, int32_t>&);
template double lookahead_loss(const LookaheadArgs<float, int64_t>&);
template double lookahead_loss(const LookaheadArgs<double, int32_t>&);
template double lookahead_loss(const LookaheadArgs<double, int64_t>&);

}  // namespace cpu
}  // namespace debias
