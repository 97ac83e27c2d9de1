#include "lookahead/lookahead_upper.h"

namespace debias {
namespace {

using namespace lookahead;

constexpr int64_t kMatchBlock = 8192;  // lower rows that one task looks up

// Lower samples by table row and slot; a slot is a place among the distinct rows of the upper batch.
struct Samples {
  std::vector<int64_t> position;                  // in the batch
  std::array<std::vector<int64_t>, 2> row, slot;  // of users and items; slot -1: the upper batch lacks the row
  int64_t size() const { return static_cast<int64_t>(position.size()); }
};

template <class T, class Index>
struct Problem {
  Upper<T, Index> upper;
  Samples lower;
  std::array<Segments, 2> segments;  // lower samples by slot
  T *scores, *slopes;
};

// Scores of matched lower samples at theta, and the slopes of their losses.
template <class T, class Index>
struct LowerScores {
  static DEBIAS_HD void run(const Problem<T, Index>* problem, int64_t begin, int64_t end) {
    const LookaheadArgs<T, Index>& args = *problem->upper.args;
    const LookaheadRowsArgs<T, Index> rows = args.lower;
    const LookaheadTableArgs<T> users = args.user_table, items = args.item_table;
    const Samples& samples = problem->lower;
    T *scores = problem->scores, *slopes = problem->slopes;
    const int64_t d = args.factors;
    const int64_t *user = samples.row[0].data(), *item = samples.row[1].data(), *position = samples.position.data();
    for (int64_t m = begin; m < end; ++m) {
      if (m + kPrefetch < end) {
        prefetch_row(users, user[m + kPrefetch], d);
        prefetch_row(items, item[m + kPrefetch], d);
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
  static DEBIAS_HD void run(const Problem<T, Index>* problem, int which, int64_t begin, int64_t end) {
    const Side<T>& side = problem->upper.sides[which];
    const LookaheadTableArgs<T> table = *side.table;
    const T* other_factors = problem->upper.sides[1 - which].table->factors;
    const AssumedStep step = problem->upper.args->step;
    const int64_t d = problem->upper.args->factors, *other = problem->lower.row[1 - which].data();
    const Segments& segments = problem->segments[which];
    const T* slopes = problem->slopes;
    // Slots without lower samples are no segment: walk both lists.
    auto j = static_cast<size_t>(std::lower_bound(segments.rows.begin(), segments.rows.end(), begin) -
                                 segments.rows.begin());
    for (int64_t slot = begin; slot < end; ++slot) {
      if (slot + kPrefetch < end) prefetch_row(table, side.upper.rows[static_cast<size_t>(slot + kPrefetch)], d);
      T* __restrict out = side.stepped + slot * d;
      T bias = 0;
      const bool touched = j < segments.rows.size() && segments.rows[j] == slot;
      const T* theta = table.factors + side.upper.rows[static_cast<size_t>(slot)] * d;
      add_row(out, theta, touched ? static_cast<T>(step.l2) : T(0), d, true);
      for (int64_t p = touched ? segments.offsets[j] : 0; touched && p < segments.offsets[j + 1]; ++p) {
        const int64_t m = segments.order[static_cast<size_t>(p)];
        bias += slopes[m];
        add_row(out, other_factors + other[m] * d, slopes[m], d, false);
      }
      j += touched;
      side.stepped_bias[slot] = bias;
      take_step(side, step, slot, d);
    }
  }
};

// -D_k times the mixed derivatives: formula (H).
template <class T, class Index>
struct Contraction {
  static DEBIAS_HD void run(const Problem<T, Index>* problem, int64_t begin, int64_t end) {
    const LookaheadRowsArgs<T, Index> rows = problem->upper.args->lower;
    const Side<T>&users = problem->upper.sides[0], &items = problem->upper.sides[1];
    const Samples& samples = problem->lower;
    const int64_t d = problem->upper.args->factors;
    const bool user_bias = users.table->bias != nullptr, item_bias = items.table->bias != nullptr;
    for (int64_t m = begin; m < end; ++m) {
      const auto at = static_cast<size_t>(m);
      const int64_t user_slot = samples.slot[0][at], item_slot = samples.slot[1][at], k = samples.position[at];
      T contraction = 0;
      if (user_slot >= 0) {
        contraction += dot(items.table->factors + samples.row[1][at] * d, users.gradient + user_slot * d, d);
        if (user_bias) contraction += users.gradient_bias[user_slot];
      }
      if (item_slot >= 0) {
        contraction += dot(users.table->factors + samples.row[0][at] * d, items.gradient + item_slot * d, d);
        if (item_bias) contraction += items.gradient_bias[item_slot];
      }
      const LowerRow<T> row = lower_row(rows.kind, row_input(rows, problem->scores[m], k));
      const T cotangent = -row_coefficient<T>(rows, k) * contraction;
      if (rows.grad_imputations) rows.grad_imputations[k] = cotangent * row.imputation;
      if (k >= rows.n_rated) continue;
      if (rows.grad_targets) rows.grad_targets[k] = cotangent * row.target;
      if (rows.grad_source) rows.grad_source[k] = cotangent * row.source;
    }
  }
};

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
  Problem<T, Index> problem{};
  problem.upper.args = &args;
  const std::array<SlotMap, 2> maps = group(problem.upper);
  problem.lower = matched_samples(args.lower.users, args.lower.items, args.lower.n, maps);
  for (size_t which = 0; which < 2; ++which)
    problem.segments[which] = by_slot(problem.lower.slot[which], problem.upper.sides[which].slots());
  const int64_t matched = problem.lower.size();
  const auto each = [&](const auto& give) {
    each_array(problem.upper, give);
    give(problem.scores, matched);
    give(problem.slopes, matched);
  };
  size_t bytes = 0;
  each([&](T*, int64_t count) { bytes += scratch_bytes<T>(count); });
  Scratch scratch(bytes);
  each([&](T*& array, int64_t count) { array = scratch.take<T>(count); });
  const auto over_matched = [&](const auto& kernel) {
    parallel_blocks(matched, kStepBlock, serial_below(args.factors, kSerialFloats),
                    [&](int64_t, int64_t begin, int64_t end) { kernel(begin, end); });
  };
  over_matched([&](int64_t begin, int64_t end) { simd_run<LowerScores<T, Index>>(&problem, begin, end); });
  over_slots(problem.upper,
             [&](int which, int64_t begin, int64_t end) { simd_run<StepRows<T, Index>>(&problem, which, begin, end); });
  const bool wants = wants_lower(args) && matched > 0;
  const double loss = upper_loss(problem.upper, wants);
  if (wants) over_matched([&](int64_t begin, int64_t end) { simd_run<Contraction<T, Index>>(&problem, begin, end); });
  return loss;
}

template InvalidRow first_invalid_row(const LookaheadRowsArgs<float, int64_t>&);
template InvalidRow first_invalid_row(const LookaheadRowsArgs<double, int64_t>&);
template double lookahead_loss(const LookaheadArgs<float, int32_t>&);
template double lookahead_loss(const LookaheadArgs<float, int64_t>&);
template double lookahead_loss(const LookaheadArgs<double, int32_t>&);
template double lookahead_loss(const LookaheadArgs<double, int64_t>&);

}  // namespace cpu
}  // namespace debias
