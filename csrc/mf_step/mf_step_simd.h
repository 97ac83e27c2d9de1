// The loops of a step on the CPU, for simd_run: D is the number of factors where it is known at compile time, else 0.
#pragma once

#include "common/factor_rows.h"
#include "common/simd.h"
#include "mf_step/mf_step_kernels.h"
#include "optimizer_step/update_values.h"

namespace debias {

constexpr int64_t kSlopeChunk = 64;  // samples whose columns are gathered at a time

// The samples of a batch grouped by one side, that side's tables, and what its gradients are made of.
template <class T>
struct SideStep {
  SideTables<T> tables;
  int64_t factors, second_width;  // values a row of the tables, and of `second`
  const int64_t* rows;            // distinct, ascending
  int64_t groups;
  const int64_t* offsets;  // of the groups in `order`
  const int64_t* order;    // samples by row
  const T* source;         // rows of the other side, before the step
  const int64_t* source_row;
  const T* slopes;  // by sample
  T* saved;         // [groups, d] or null: the rows before the step
  StepRule<T> rule;
  T l2, l2_bias;               // of rows with samples
  T idle_l2, idle_l2_bias;     // of rows without
  int idle_rows, idle_biases;  // 1: these are updated as well
};

// scores[p] of the samples at places p of the groups [first, last)
template <class T, int D>
struct ScorePass {
  static DEBIAS_HD void run(const SideStep<T>* side, const T* other_bias, T offset, int64_t first, int64_t last,
                            T* __restrict scores) {
    const int64_t d = D ? D : side->factors;
    const int64_t *rows = side->rows, *offsets = side->offsets, *order = side->order, *other = side->source_row;
    const T *table = side->tables.rows, *bias = side->tables.bias, *source = side->source;
    const T *m = side->tables.first, *v = side->tables.second;
    const int64_t groups = side->groups, end = offsets[groups];
    for (int64_t j = first; j < last; ++j) {
      if (j + kPrefetch < groups) {
        const int64_t ahead = rows[j + kPrefetch];
        prefetch_row(table + ahead * d, d);
        if (m) prefetch_row(m + ahead * d, d);
        if (v) prefetch_row(v + ahead * side->second_width, side->second_width);
      }
      const T* __restrict row = table + rows[j] * d;
      const T start = offset + (bias ? bias[rows[j]] : T(0));
      for (int64_t p = offsets[j]; p < offsets[j + 1]; ++p) {
        if (p + kPrefetch < end) prefetch_row(source + other[order[p + kPrefetch]] * d, d);
        const int64_t k = order[p];
        const T* __restrict factors = source + other[k] * d;
        scores[p] = dot(row, factors, d) + start + (other_bias ? other_bias[other[k]] : T(0));
      }
    }
  }
};

template <class T>
struct SlopeColumns {
  const int64_t* order;
  const T *targets, *weights, *exposures, *pseudo_targets;
  T scale;    // of the slopes
  T* slopes;  // by sample
};

// From scores[p] to the slope of each sample, and the sum of their losses.
template <class Row, class T>
struct SlopePass {
  static DEBIAS_HD void run(const SlopeColumns<T>* columns, const T* scores, int64_t begin, int64_t end, double* loss) {
    const int64_t* order = columns->order;
    const T *targets = columns->targets, *weights = columns->weights;
    const T *exposures = columns->exposures, *pseudo_targets = columns->pseudo_targets;
    const T scale = columns->scale;
    T* slopes = columns->slopes;
    T t[kSlopeChunk], w[kSlopeChunk], x[kSlopeChunk], pseudo[kSlopeChunk], slope[kSlopeChunk];
    double sum = 0;
    for (int64_t p = begin; p < end; p += kSlopeChunk) {
      const int64_t n = end - p < kSlopeChunk ? end - p : kSlopeChunk;
      const T* s = scores + p;
      for (int64_t c = 0; c < n; ++c) {
        const int64_t k = order[p + c];
        t[c] = targets[k];
        w[c] = weights ? weights[k] : T(1);
        x[c] = Row::reads_source ? exposures[k] : T(0);
        pseudo[c] = Row::reads_pseudo_target ? pseudo_targets[k] : T(0);
      }
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < n; ++c) {
        const RowSlope<T> row = Row::at(s[c], t[c], w[c], x[c], pseudo[c]);
        slope[c] = scale * row.score;
        sum += static_cast<double>(row.value);
      }
      for (int64_t c = 0; c < n; ++c) slopes[order[p + c]] = slope[c];
    }
    *loss += sum;
  }
};

template <class Row, class T>
struct LegalRows {
  static DEBIAS_HD void run(const T* targets, const T* exposures, int64_t n, int* legal) {
    int all = 1;
#pragma omp simd reduction(& : all)
    for (int64_t k = 0; k < n; ++k) all &= Row::at(T(0), targets[k], T(1), exposures[k], T(0)).valid;
    *legal = all;
  }
};

// A row of d parameters, with one second moment where the optimiser keeps one a row.
template <class Rule, class T, class G>
DEBIAS_HD void update_row(T* __restrict p, T* __restrict m, T* __restrict v, int64_t d, const StepRule<T>& given,
                          const G& gradient) {
  if constexpr (Rule::by_row) {
    T squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t f = 0; f < d; ++f) {
      const T g = gradient(f, p[f]);
      squares += g * g;
    }
    *v += d > 0 ? squares / static_cast<T>(d) : T(0);
    const T rate = given.rate / (square_root(*v) + given.eps);
#pragma omp simd
    for (int64_t f = 0; f < d; ++f) p[f] -= rate * gradient(f, p[f]);
  } else {
    update_values<Rule>(p, m, v, d, given, gradient);
  }
}

// Rows without a sample: their gradient is l2 times themselves.
template <class Rule, class T>
DEBIAS_HD void update_idle(const SideStep<T>* side, int64_t begin, int64_t end) {
  if (begin >= end) return;
  const SideTables<T> tables = side->tables;
  const StepRule<T> rule = side->rule;
  const int64_t d = side->factors;
  const T l2 = side->idle_l2, l2_bias = side->idle_l2_bias;
  const auto decay = [=](int64_t, T p) { return l2 * p; };
  if constexpr (Rule::by_row) {
    for (int64_t row = begin; row < end; ++row)
      update_row<Rule>(tables.rows + row * d, static_cast<T*>(nullptr), tables.second + row, d, rule, decay);
  } else {
    update_values<Rule>(tables.rows + begin * d, at_row(tables.first, begin, d), at_row(tables.second, begin, d),
                        (end - begin) * d, rule, decay);
  }
  if (tables.bias && side->idle_biases)
    update_values<Rule>(tables.bias + begin, at_row(tables.bias_first, begin, 1), at_row(tables.bias_second, begin, 1),
                        end - begin, rule, [=](int64_t, T p) { return l2_bias * p; });
}

// The rows of the groups [first, last), and, where idle rows are updated, every other one of [row_begin, row_end).
// `sum` holds d values.
template <class Rule, class T, int D>
struct UpdatePass {
  static DEBIAS_HD void run(const SideStep<T>* side, int64_t first, int64_t last, int64_t row_begin, int64_t row_end,
                            T* __restrict sum) {
    const int64_t d = D ? D : side->factors;
    const SideTables<T> tables = side->tables;
    const StepRule<T> rule = side->rule;
    const int64_t *rows = side->rows, *offsets = side->offsets, *order = side->order, *source_row = side->source_row;
    const T *source = side->source, *slopes = side->slopes;
    const T l2 = side->l2, l2_bias = side->l2_bias;
    const bool idle = side->idle_rows;
    const int64_t second_width = Rule::by_row ? 1 : d, groups = side->groups, end = offsets[groups];
    const bool cold = !side->saved;  // the users' rows have just been read for their scores
    for (int64_t j = first; j < last; ++j) {
      const int64_t row = rows[j];
      if (cold && j + kPrefetch < groups) {
        const int64_t ahead = rows[j + kPrefetch];
        prefetch_row(tables.rows + ahead * d, d);
        if (Rule::has_first) prefetch_row(tables.first + ahead * d, d);
        if (Rule::has_second) prefetch_row(tables.second + ahead * second_width, second_width);
      }
      if (idle) update_idle<Rule>(side, row_begin, row);
      row_begin = row + 1;
      T* __restrict p = tables.rows + row * d;
      if (side->saved) {
        T* __restrict old = side->saved + j * d;
#pragma omp simd
        for (int64_t f = 0; f < d; ++f) old[f] = p[f];
      }
      if (cold && offsets[j] + kPrefetch < end) prefetch_row(source + source_row[order[offsets[j] + kPrefetch]] * d, d);
      T scale = slopes[order[offsets[j]]], bias = scale;
      const T* __restrict gradient = source + source_row[order[offsets[j]]] * d;
      if (offsets[j + 1] - offsets[j] > 1) {
#pragma omp simd
        for (int64_t f = 0; f < d; ++f) sum[f] = scale * gradient[f];
        for (int64_t q = offsets[j] + 1; q < offsets[j + 1]; ++q) {
          if (cold && q + kPrefetch < end) prefetch_row(source + source_row[order[q + kPrefetch]] * d, d);
          const T slope = slopes[order[q]];
          const T* __restrict more = source + source_row[order[q]] * d;
          bias += slope;
#pragma omp simd
          for (int64_t f = 0; f < d; ++f) sum[f] += slope * more[f];
        }
        gradient = sum;
        scale = T(1);
      }
      update_row<Rule>(p, at_row(tables.first, row, d), at_row(tables.second, row, second_width), d, rule,
                       [=](int64_t f, T value) { return scale * gradient[f] + l2 * value; });
      if (tables.bias)
        update_values<Rule>(tables.bias + row, at_row(tables.bias_first, row, 1), at_row(tables.bias_second, row, 1), 1,
                            rule, [=](int64_t, T value) { return bias + l2_bias * value; });
    }
    if (idle) update_idle<Rule>(side, row_begin, row_end);
  }
};

}  // namespace debias
