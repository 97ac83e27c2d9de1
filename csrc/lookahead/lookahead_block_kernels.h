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

// The slope of rated pair k in its score, and what it is made of.
template <class T>
struct BlockRow {
  LowerRow<T> rated;
  T own, constant, baseline;  // s - t, s - c, A_u B_i: the pair adds v (s - t)^2 - A_u B_i (s - c)^2
  DEBIAS_HD T slope(T coefficient, T weight) const {
    return coefficient * rated.slope + T(2) * (weight * own - baseline * constant);
  }
};

namespace cpu {
// The upper loss after the assumed step. Throws std::out_of_range where a rated pair lies outside the block, and
// std::invalid_argument where a user or an item of the block comes twice.
template <class T, class Index>
double lookahead_block_loss(const LookaheadBlockArgs<T, Index>& args);
}  // namespace cpu

}  // namespace debias
