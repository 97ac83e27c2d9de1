// An optimiser over one parameter on CUDA.
#pragma once

#include "common/launch.cuh"
#include "optimizer_step/optimizer_step_math.h"

namespace debias {

// Parameter `at` of a table with the gradient sum + l2 p.
template <class Rule, class Storage>
__device__ __forceinline__ void update_one(Storage* p, accumulator_t<Storage>* m, accumulator_t<Storage>* v, int64_t at,
                                           accumulator_t<Storage> sum, accumulator_t<Storage> l2,
                                           const StepRule<accumulator_t<Storage>>& rule) {
  using T = accumulator_t<Storage>;
  const T old = static_cast<T>(to_float(p[at]));
  T first = Rule::has_first ? m[at] : T(0), second = Rule::has_second ? v[at] : T(0);
  p[at] = from_float<Storage>(Rule::step(old, sum + l2 * old, first, second, rule));
  if (Rule::has_first) m[at] = first;
  if (Rule::has_second) v[at] = second;
}

}  // namespace debias
