// The upper half of a look-ahead step on the CPU: theta' at the rows of the upper batch, the loss there, and the
// gradient of the loss. What the lower loss is made of is the caller's.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "common/factor_rows.h"
#include "common/parallel.h"
#include "common/segment.h"
#include "common/simd.h"
#include "lookahead/lookahead_kernels.h"
#include "lookahead/scratch.h"
#include "lookahead/slot_map.h"

namespace debias::lookahead {

constexpr int64_t kStepBlock = 256;       // samples, or slots, of one task
constexpr int64_t kSerialFloats = 50000;  // gathered floats that a second thread does not pay for

// One table at the rows of the upper batch.
template <class T>
struct Side {
  const LookaheadTableArgs<T>* table;
  Segments upper;               // upper samples by row: slot j is row upper.rows[j]
  T *stepped, *stepped_bias;    // theta'
  T *response, *response_bias;  // of Adam's step, else null
  T *gradient, *gradient_bias;  // response times the gradient of the upper loss at theta'
  int64_t slots() const { return static_cast<int64_t>(upper.rows.size()); }
};

template <class T, class Index>
struct Upper {
  const LookaheadArgs<T, Index>* args;
  std::array<Side<T>, 2> sides;               // users, items
  std::array<std::vector<int64_t>, 2> slots;  // of the upper samples
  T* slopes;
};

template <class T>
DEBIAS_HD void prefetch_row(const LookaheadTableArgs<T>& table, int64_t row, int64_t d) {
  debias::prefetch_row(table.factors + row * d, d);
  if (table.bias) __builtin_prefetch(table.bias + row);
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

// The assumed step of one slot: `stepped` holds the gradient of the lower loss, and then theta'.
template <class T>
DEBIAS_HD void take_step(const Side<T>& side, const AssumedStep& step, int64_t slot, int64_t d) {
  const LookaheadTableArgs<T>& table = *side.table;
  const int64_t row = side.upper.rows[static_cast<size_t>(slot)];
  const T* __restrict theta = table.factors + row * d;
  T* __restrict out = side.stepped + slot * d;
  if (step.adam) {
    const T *exp_avg = table.exp_avg + row * d, *exp_avg_sq = table.exp_avg_sq + row * d;
    T* response = side.response + slot * d;
    for (int64_t f = 0; f < d; ++f) {
      const Stepped<T> to = assumed_step(step, theta[f], out[f], exp_avg[f], exp_avg_sq[f]);
      out[f] = to.value;
      response[f] = to.response;
    }
  } else {
    const T lr = static_cast<T>(step.lr);
#pragma omp simd
    for (int64_t f = 0; f < d; ++f) out[f] = theta[f] - lr * out[f];
  }
  if (!table.bias) return;
  const T m = step.adam ? table.bias_exp_avg[row] : T(0), v = step.adam ? table.bias_exp_avg_sq[row] : T(0);
  const Stepped<T> to = assumed_step(step, table.bias[row], side.stepped_bias[slot], m, v);
  side.stepped_bias[slot] = to.value;
  if (step.adam) side.response_bias[slot] = to.response;
}

// From the scores of unweighted rows of one loss to their slopes, in place; returns the sum of their losses.
template <LookaheadLoss loss, class T>
DEBIAS_HD double unit_rows(const T* __restrict targets, T* __restrict scores, int64_t n, T scale) {
  const LookaheadKind kind{loss, LookaheadSource::unit, 0, 0, 0};  // known here, so that the loop vectorises
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) {
    const UpperRow<T> row = upper_row(kind, RowInput<T>{scores[k], targets[k], T(1), T(0), T(1)});
    scores[k] = scale * row.score;
    sum += static_cast<double>(row.value);
  }
  return sum;
}

// The upper loss at theta', its slopes, and its own gradients.
template <class T, class Index>
struct UpperRows {
  static DEBIAS_HD void run(Upper<T, Index>* upper, int64_t begin, int64_t end, double* loss) {
    const LookaheadRowsArgs<T, Index> rows = upper->args->upper;
    const Side<T>&users = upper->sides[0], &items = upper->sides[1];
    const int64_t d = upper->args->factors;
    const int64_t *user = upper->slots[0].data(), *item = upper->slots[1].data();
    const bool user_bias = users.table->bias != nullptr, item_bias = items.table->bias != nullptr;
    const T scale = static_cast<T>(rows.coefficient);
    T* slopes = upper->slopes;  // the scores at first
    for (int64_t k = begin; k < end; ++k) {
      T score = dot(users.stepped + user[k] * d, items.stepped + item[k] * d, d);
      if (user_bias) score += users.stepped_bias[user[k]];
      if (item_bias) score += items.stepped_bias[item[k]];
      slopes[k] = score;
    }
    if (rows.kind.source == LookaheadSource::unit && !rows.grad_targets) {
      const T* targets = rows.targets + begin;
      if (rows.kind.loss == LookaheadLoss::mse) {
        *loss = unit_rows<LookaheadLoss::mse>(targets, slopes + begin, end - begin, scale);
        return;
      }
      if (rows.kind.loss == LookaheadLoss::bce) {
        *loss = unit_rows<LookaheadLoss::bce>(targets, slopes + begin, end - begin, scale);
        return;
      }
    }
    double sum = 0;
    for (int64_t k = begin; k < end; ++k) {
      const UpperRow<T> row = upper_row(rows.kind, row_input(rows, slopes[k], k));
      slopes[k] = scale * row.score;
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
  static DEBIAS_HD void run(Upper<T, Index>* upper, int which, int64_t begin, int64_t end) {
    Side<T>& side = upper->sides[which];
    const Side<T>& others = upper->sides[1 - which];
    const int64_t d = upper->args->factors, *other = upper->slots[1 - which].data();
    const T* slopes = upper->slopes;
    const T lr = static_cast<T>(upper->args->step.lr);
    const T* response = side.response;
    for (int64_t slot = begin; slot < end; ++slot) {
      T* __restrict out = side.gradient + slot * d;
      T bias = 0;
      const int64_t first = side.upper.offsets[static_cast<size_t>(slot)];
      for (int64_t p = first; p < side.upper.offsets[static_cast<size_t>(slot) + 1]; ++p) {
        const int64_t k = side.upper.order[static_cast<size_t>(p)];
        bias += slopes[k];
        add_row(out, others.stepped + other[k] * d, response ? slopes[k] : lr * slopes[k], d, p == first);
      }
      side.gradient_bias[slot] = bias * (response && side.table->bias ? side.response_bias[slot] : lr);
      if (!response) continue;
#pragma omp simd
      for (int64_t f = 0; f < d; ++f) out[f] *= response[slot * d + f];
    }
  }
};

// Groups the upper batch by its rows; the maps lead from the rows of a table to the slots.
template <class T, class Index>
std::array<SlotMap, 2> group(Upper<T, Index>& upper) {
  const LookaheadRowsArgs<T, Index>& rows = upper.args->upper;
  const std::array<const Index*, 2> indices{rows.users, rows.items};
  upper.sides[0].table = &upper.args->user_table;
  upper.sides[1].table = &upper.args->item_table;
  for (Side<T>& side : upper.sides)
    side.upper = make_segments(indices[&side - upper.sides.data()], rows.n, side.table->rows);
  std::array<SlotMap, 2> maps{SlotMap(upper.sides[0].upper.rows, upper.args->user_table.rows),
                              SlotMap(upper.sides[1].upper.rows, upper.args->item_table.rows)};
  for (size_t which = 0; which < 2; ++which) {
    upper.slots[which].resize(static_cast<size_t>(rows.n));
    for (size_t k = 0; k < upper.slots[which].size(); ++k)
      upper.slots[which][k] = maps[which].find(static_cast<int64_t>(indices[which][k]));
  }
  return maps;
}

// Calls give(pointer, count) for each array of the upper half.
template <class T, class Index, class Give>
void each_array(Upper<T, Index>& upper, const Give& give) {
  const int64_t d = upper.args->factors;
  for (Side<T>& side : upper.sides) {
    const int64_t slots = side.slots();
    give(side.stepped, slots * d);
    give(side.gradient, slots * d);
    give(side.stepped_bias, slots);
    give(side.gradient_bias, slots);
    if (!upper.args->step.adam) continue;
    give(side.response, slots * d);
    give(side.response_bias, slots);
  }
  give(upper.slopes, upper.args->upper.n);
}

// kernel(side, first slot, last slot) over both sides
template <class T, class Index, class Kernel>
void over_slots(const Upper<T, Index>& upper, const Kernel& kernel) {
  for (int which = 0; which < 2; ++which)
    parallel_blocks(upper.sides[static_cast<size_t>(which)].slots(), kStepBlock,
                    serial_below(upper.args->factors, kSerialFloats),
                    [&](int64_t, int64_t begin, int64_t end) { kernel(which, begin, end); });
}

// The upper loss at theta', and, where wanted, its gradient at the slots.
template <class T, class Index>
double upper_loss(Upper<T, Index>& upper, bool wants_gradient) {
  const LookaheadRowsArgs<T, Index>& rows = upper.args->upper;
  std::vector<double> losses(static_cast<size_t>(block_count(rows.n, kStepBlock)));
  parallel_blocks(rows.n, kStepBlock, serial_below(upper.args->factors, kSerialFloats),
                  [&](int64_t b, int64_t begin, int64_t end) {
                    simd_run<UpperRows<T, Index>>(&upper, begin, end, &losses[static_cast<size_t>(b)]);
                  });
  if (wants_gradient)
    over_slots(upper, [&](int which, int64_t begin, int64_t end) {
      simd_run<GradientRows<T, Index>>(&upper, which, begin, end);
    });
  double loss = 0;
  for (const double part : losses) loss += part;
  return rows.coefficient * loss;
}

}  // namespace debias::lookahead
