// What lookahead_loss.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

#include "lookahead/mixed_math.h"
#include "lookahead/step_math.h"

namespace debias {

// One table of rows with, or without, a bias column; the moments are those of Adam, null for gradient descent.
template <class T>
struct TableArgs {
  const T* factors;  // [rows, d]
  const T* bias;     // [rows] or null
  const T* exp_avg;
  const T* exp_avg_sq;
  const T* bias_exp_avg;
  const T* bias_exp_avg_sq;
  int64_t rows;
};

// The rows of one loss. Rows from n_rated on are missing pairs: imputations alone, with a coefficient of their own.
template <class T, class Index>
struct RowsArgs {
  const Index* users;    // [n]
  const Index* items;    // [n]
  const T* targets;      // [n_rated]
  const T* source;       // [n_rated] or null
  const T* imputations;  // [n] or null
  const bool* observed;  // [n_rated] or null: every rated row is observed
  T* grad_targets;       // null outputs are not wanted; those of lower rows hold zeros when the kernels start
  T* grad_source;
  T* grad_imputations;
  int64_t n, n_rated;
  double coefficient, missing_coefficient;
  RowKind kind;
};

template <class T, class Index>
struct LookaheadArgs {
  TableArgs<T> user_table, item_table;
  RowsArgs<T, Index> lower, upper;
  AssumedStep step;
  int64_t factors;
};

template <class T, class Index>
DEBIAS_HD bool wants_lower(const LookaheadArgs<T, Index>& args) {
  return args.lower.grad_targets || args.lower.grad_source || args.lower.grad_imputations;
}

namespace cpu {
// The upper loss after the assumed step.
template <class T, class Index>
double lookahead_loss(const LookaheadArgs<T, Index>& args);
}  // namespace cpu

}  // namespace debias
