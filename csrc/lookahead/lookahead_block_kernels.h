// A look-ahead step whose lower loss is the rated pairs of a user block and an item block plus all their pairs,
//   sum_k w_k (s_k - r_k)^2 + sum_ui A_u B_i (s_ui - c)^2,
// where the rated pairs may have a weight v_k and a target t_k of their own in place of A_u B_i and c.
#pragma once

#include "lookahead/lookahead_kernels.h"

namespace debias {

template <class T, class Index>
struct LookaheadBlockArgs {
  LookaheadArgs<T, Index> pairs;  // lower: the rated pairs, all of them in the block
  const Index* users;             // [m] distinct
  const Index* items;             // [n] distinct
  const T* user_weight;           // [m] A
  const T* item_weight;           // [n] B
  const T* value;                 // [1] c
  const T* weights;               // [rated] v, or null
  const T* imputations;           // [rated] t, with weights
  T* grad_user_weight;            // null outputs are not wanted
  T* grad_item_weight;
  T* grad_value;
  T* grad_weights;
  T* grad_imputations;
  int64_t m, n;
};

template <class T, class Index>
bool wants_weights(const LookaheadBlockArgs<T, Index>& args) {
  return args.grad_user_weight || args.grad_item_weight || args.grad_value;
}

template <class T, class Index>
bool wants_lower(const LookaheadBlockArgs<T, Index>& args) {
  return wants_lower(args.pairs) || wants_weights(args) || args.grad_weights || args.grad_imputations;
}

// Whether the rated pairs add to any gradient: only with weights of their own do they add to the block's.
template <class T, class Index>
bool wants_pairs(const LookaheadBlockArgs<T, Index>& args) {
  return wants_lower(args.pairs) || args.grad_weights || args.grad_imputations || (args.weights && wants_weights(args));
}

// What the cross matrix of one side (0 users, 1 items) is for: the weights of the other side, and the value.
template <class T, class Index>
bool wants_cross(const LookaheadBlockArgs<T, Index>& args, int which) {
  return args.grad_value || (which == 0 ? args.grad_item_weight : args.grad_user_weight);
}

// What a rated pair adds to the gradients of its own weight and target, and of the block's.
template <class T>
struct BlockPairGradients {
  T weight, imputation, user_weight, item_weight, value;
};

// A rated pair: what its slope in the score is made of.
template <class T>
struct BlockRow {
  LowerRow<T> rated;
  T own, constant, weight, user_weight, item_weight;  // s - t, s - c, v, A_u, B_i: adds v (s - t)^2 - A_u B_i (s - c)^2

  DEBIAS_HD T slope(T coefficient) const {
    return coefficient * rated.slope + T(2) * (weight * own - user_weight * item_weight * constant);
  }
  // Minus the change D of the score times the mixed derivatives.
  DEBIAS_HD BlockPairGradients<T> gradients(T change) const {
    const T along = T(2) * constant * change;
    return {T(-2) * own * change, T(2) * weight * change, item_weight * along, user_weight * along,
            T(-2) * user_weight * item_weight * change};
  }
};

// Without weights of their own, the rated pairs stay in the all-pairs term.
template <class A, class T, class Index>
DEBIAS_HD BlockRow<A> block_row(const LookaheadRowsArgs<T, Index>& rows, const T* weights, const T* imputations,
                                A score, int64_t k, A user_weight, A item_weight, A value) {
  const LowerRow<A> rated = lower_row(rows.kind, row_input(rows, score, k));
  if (!weights) return {rated, A(0), A(0), A(0), A(0), A(0)};
  return {rated,         score - static_cast<A>(to_float(imputations[k])),
          score - value, static_cast<A>(to_float(weights[k])),
          user_weight,   item_weight};
}

namespace cpu {
// The upper loss after the assumed step. Throws std::out_of_range where a rated pair lies outside the block, and
// std::invalid_argument where a user or an item of the block comes twice.
template <class T, class Index>
double lookahead_block_loss(const LookaheadBlockArgs<T, Index>& args);
}  // namespace cpu

// One side of the block on the device, in the type A of the arithmetic; B rated pairs.
template <class A>
struct LookaheadBlockSide {
  int64_t rows;
  const int64_t* order;           // [rows] of the block by their rows of the table
  int64_t* slots;                 // [rows] the slot of each, n: none
  int64_t* slot_rows;             // [n] the row of each slot, -1: outside the block
  int64_t* local;                 // [B] the row of each rated pair, -1: outside
  A *factors, *bias, *weight;     // [rows, d], [rows], [rows]; bias null without one
  A* value;                       // [1] c, null on the user side
  A *gradient, *gradient_bias;    // of the all-pairs term
  A *direction, *direction_bias;  // the gradient at the row's slot, 0 without one
  A* contraction;                 // [rows] what all pairs add to the gradient of the weight
  A* pair_weight;                 // [B] what each rated pair adds; 0 when the kernels start
  double *gram, *cross;
};

template <class A>
struct LookaheadBlockWorkspace {
  LookaheadBlockSide<A> sides[2];  // users, items
  A* pair_value;                   // [B] what each rated pair adds to the gradient of c; 0 when the kernels start
  double* shares;                  // of gram_products
  int64_t* faults;                 // [4] BlockFaults
};

// First positions of what must not be in a block, -1: there is none. By side.
struct BlockFaults {
  int64_t twice[2];    // in the block
  int64_t outside[2];  // among the rated pairs
};

namespace cuda {
// Fills order's companions: slots, slot_rows, local, the gathered rows, and faults. Rated pairs outside the block, or
// outside the tables, meet no slot; block rows outside the tables are NaN. Comes after lookahead_match.
template <class T, class Index>
void lookahead_block_match(const LookaheadBlockArgs<T, Index>& args,
                           const LookaheadWorkspace<accumulator_t<T>>& workspace,
                           const LookaheadBlockWorkspace<accumulator_t<T>>& block, const Index* sorted_users,
                           const Index* sorted_items, void* stream);
BlockFaults read_faults(const int64_t* faults, void* stream);
template <class T, class Index>
void lookahead_block_loss(const LookaheadBlockArgs<T, Index>& args,
                          const LookaheadWorkspace<accumulator_t<T>>& workspace,
                          const LookaheadBlockWorkspace<accumulator_t<T>>& block, T* loss, void* stream);
}  // namespace cuda

}  // namespace debias
