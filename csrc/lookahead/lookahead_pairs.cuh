// The passes over the lower rows: their slopes before the step, and what formula (H) makes of the change of their
// scores. Terms says what a row's loss is made of.
#pragma once

#include "lookahead/lookahead_groups.cuh"

namespace debias {
namespace {

// Scores and slopes at theta of the lower rows that meet the upper batch.
template <class A, class Terms>
__global__ void __launch_bounds__(kThreads, 1) lower_scores_kernel(Terms terms, LookaheadWorkspace<A> work) {
  const auto& args = terms.pairs();
  const int64_t d = args.factors, m = args.lower.n, none = args.upper.n;
  // Every lane makes every round, so that the shuffles always meet.
  for (int64_t round = 0; round * group_stride() < m; ++round) {
    const int64_t k = round * group_stride() + first_group();
    const bool met = k < m && (work.sides[0].keys[k] < none || work.sides[1].keys[k] < none);
    const int64_t user = met ? static_cast<int64_t>(args.lower.users[k]) : 0;
    const int64_t item = met ? static_cast<int64_t>(args.lower.items[k]) : 0;
    A sum = 0;
    for (int64_t f = threadIdx.x % kLanes; met && f < d; f += kLanes)
      sum += static_cast<A>(to_float(args.user_table.factors[user * d + f])) *
             static_cast<A>(to_float(args.item_table.factors[item * d + f]));
    sum = lanes_sum<kLanes>(sum);
    if (!met || threadIdx.x % kLanes != 0) continue;
    sum += value_at<A>(args.user_table.bias, user) + value_at<A>(args.item_table.bias, item);
    work.lower_scores[k] = sum;
    work.lower_slopes[k] = terms.slope(sum, k);
  }
}

// terms.write(score, D_k, k) for the same rows.
template <class A, class Terms>
__global__ void __launch_bounds__(kThreads, 1) contraction_kernel(Terms terms, LookaheadWorkspace<A> work) {
  const auto& args = terms.pairs();
  const LookaheadSlots<A>&users = work.sides[0], &items = work.sides[1];
  const int64_t d = args.factors, m = args.lower.n, none = args.upper.n;
  for (int64_t round = 0; round * group_stride() < m; ++round) {
    const int64_t k = round * group_stride() + first_group();
    const int64_t user_slot = k < m ? users.keys[k] : none, item_slot = k < m ? items.keys[k] : none;
    const bool met = user_slot < none || item_slot < none;
    const int64_t user = met ? static_cast<int64_t>(args.lower.users[k]) : 0;
    const int64_t item = met ? static_cast<int64_t>(args.lower.items[k]) : 0;
    A sum = 0;
    for (int64_t f = threadIdx.x % kLanes; met && f < d; f += kLanes) {
      if (user_slot < none)
        sum += static_cast<A>(to_float(args.item_table.factors[item * d + f])) * users.gradient[user_slot * d + f];
      if (item_slot < none)
        sum += static_cast<A>(to_float(args.user_table.factors[user * d + f])) * items.gradient[item_slot * d + f];
    }
    sum = lanes_sum<kLanes>(sum);
    if (!met || threadIdx.x % kLanes != 0) continue;
    if (args.user_table.bias && user_slot < none) sum += users.gradient_bias[user_slot];
    if (args.item_table.bias && item_slot < none) sum += items.gradient_bias[item_slot];
    terms.write(work.lower_scores[k], sum, k);
  }
}

}  // namespace
}  // namespace debias
