// What lookahead_loss.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "lookahead/mixed_math.h"
#include "lookahead/step_math.h"

namespace debias {

// One table of rows with, or without, a bias column; the moments are those of Adam, null for gradient descent.
template <class T>
struct LookaheadTableArgs {
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
struct LookaheadRowsArgs {
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
  LookaheadKind kind;
};

template <class T, class Index>
struct LookaheadArgs {
  LookaheadTableArgs<T> user_table, item_table;
  LookaheadRowsArgs<T, Index> lower, upper;
  AssumedStep step;
  int64_t factors;
};

template <class T, class Index>
DEBIAS_HD bool wants_lower(const LookaheadArgs<T, Index>& args) {
  return args.lower.grad_targets || args.lower.grad_source || args.lower.grad_imputations;
}

// Row k; what a row does not have reads as 0, and an unobserved propensity as 1.
template <class A, class T, class Index>
DEBIAS_HD RowInput<A> row_input(const LookaheadRowsArgs<T, Index>& rows, A score, int64_t k) {
  const bool rated = k < rows.n_rated;
  const bool observed = rated && (!rows.observed || reinterpret_cast<const unsigned char*>(rows.observed)[k]);
  return {score, rated ? static_cast<A>(to_float(rows.targets[k])) : A(0),
          rows.source && observed ? static_cast<A>(to_float(rows.source[k])) : A(1),
          rows.imputations ? static_cast<A>(to_float(rows.imputations[k])) : A(0), observed ? A(1) : A(0)};
}

template <class A, class T, class Index>
DEBIAS_HD A row_coefficient(const LookaheadRowsArgs<T, Index>& rows, int64_t k) {
  return static_cast<A>(k < rows.n_rated ? rows.coefficient : rows.missing_coefficient);
}

// Bit 0: the source of row k lies outside its domain, bit 1: its target does.
template <class A, class T, class Index>
DEBIAS_HD int invalid_row(const LookaheadRowsArgs<T, Index>& rows, int64_t k) {
  const RowInput<A> in = row_input(rows, A(0), k);
  return (valid_source(rows.kind, in.target, in.source) ? 0 : 1) | (valid_target(rows.kind, in.target) ? 0 : 2);
}

// The first row outside the domain of its loss, -1 if there is none, and whether its source is to blame.
struct InvalidRow {
  int64_t row;
  bool source;
};

namespace cpu {
template <class T, class Index>
InvalidRow first_invalid_row(const LookaheadRowsArgs<T, Index>& rows);
// The upper loss after the assumed step.
template <class T, class Index>
double lookahead_loss(const LookaheadArgs<T, Index>& args);
}  // namespace cpu

// One table at the rows of the upper batch, on the device. A slot is a place among these rows, ascending; A is the type
// of the arithmetic. Sizes: n upper rows, m lower rows.
template <class A>
struct LookaheadSlots {
  const int64_t* order;        // [n] upper samples sorted by row
  const int64_t* slots;        // [n] 1-based slot of each sorted sample
  int64_t* rows;               // [n] of each slot
  int64_t* begins;             // [n] first sorted sample of each slot
  int64_t* sample_slots;       // [n] of each sample
  int64_t* keys;               // [m] slot of each lower row; n: none
  const int64_t* sorted_keys;  // [m] keys, ascending; with a block the rows of the block, -1: outside
  const int64_t* lower_order;  // [m] lower rows by sorted key
  A* stepped;                  // [n, d] theta'
  A* stepped_bias;             // [n]
  A* response;                 // [n, d], with Adam
  A* response_bias;            // [n], with Adam
  A* gradient;                 // [n, d] response times the gradient of the upper loss at theta'
  A* gradient_bias;            // [n]

  const int64_t* block_rows;     // [n] row of the block of each slot, -1: outside; null without a block
  const A* block_gradient;       // [rows of the block, d] of the all-pairs term
  const A* block_gradient_bias;  // [rows of the block]
};

template <class A>
struct LookaheadWorkspace {
  LookaheadSlots<A> sides[2];  // users, items
  A* lower_scores;             // [m]
  A* lower_slopes;             // [m]
  A* upper_slopes;             // [n]
  A* values;                   // [n]
};

namespace cuda {
template <class T, class Index>
InvalidRow first_invalid_row(const LookaheadRowsArgs<T, Index>& rows, int64_t* workspace, void* stream);
// Fills rows, begins, sample_slots and keys; sorted_* are the upper batch's indices in the order of `order`.
template <class T, class Index>
void lookahead_match(const LookaheadArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& workspace,
                     const Index* sorted_users, const Index* sorted_items, void* stream);
template <class T, class Index>
void lookahead_loss(const LookaheadArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& workspace, T* loss,
                    void* stream);
// What follows the slopes of the lower rows: theta', the upper loss and, where wanted, its gradient at the slots.
template <class T, class Index>
void lookahead_upper(const LookaheadArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& workspace,
                     bool wants_gradient, T* loss, void* stream);
}  // namespace cuda

}  // namespace debias
