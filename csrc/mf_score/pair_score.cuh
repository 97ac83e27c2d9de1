// The score of a pair, by a group of lanes: consecutive lanes read consecutive factors.
#pragma once

#include "common/device.cuh"
#include "mf_score/mf_score_kernels.h"

namespace debias {

template <class Storage, class Index>
__device__ __forceinline__ accumulator_t<Storage> score_offset(const MFScoreArgs<Storage, Index>& args) {
  using T = accumulator_t<Storage>;
  return static_cast<T>(args.offset_value) + (args.offset ? static_cast<T>(to_float(*args.offset)) : T(0));
}

// Every lane of the warp must call it, with k beyond the batch where there is no pair. An index out of range scores NaN
// and reads nothing.
template <int kLanes, class Storage, class Index>
__device__ __forceinline__ accumulator_t<Storage> pair_score(const MFScoreArgs<Storage, Index>& args, int64_t k,
                                                             int lane, accumulator_t<Storage> offset) {
  using T = accumulator_t<Storage>;
  const int64_t user = k < args.batch ? static_cast<int64_t>(args.users[k]) : -1;
  const int64_t item = k < args.batch ? static_cast<int64_t>(args.items[k]) : -1;
  const bool valid = in_range(user, args.n_users) && in_range(item, args.n_items);
  T sum = 0;
  if (valid) {
    const Storage* p = args.user_factors + user * args.factors;
    const Storage* q = args.item_factors + item * args.factors;
    for (int64_t f = lane; f < args.factors; f += kLanes)
      sum += static_cast<T>(to_float(p[f])) * static_cast<T>(to_float(q[f]));
  }
  sum = lanes_sum<kLanes>(sum);
  if (valid && lane == 0 && args.user_bias) sum += static_cast<T>(to_float(args.user_bias[user]));
  if (valid && lane == 0 && args.item_bias) sum += static_cast<T>(to_float(args.item_bias[item]));
  return valid ? sum + offset : nan_value<T>();
}

}  // namespace debias
