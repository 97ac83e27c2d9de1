// An optimiser over neighbouring parameters on the CPU, for simd_run.
#pragma once

#include "optimizer_step/optimizer_step_math.h"

namespace debias {

// n parameters and their state, one update each; gradient(f, parameter f).
template <class Rule, class T, class G>
DEBIAS_HD void update_values(T* __restrict p, T* __restrict m, T* __restrict v, int64_t n, const StepRule<T>& given,
                             const G& gradient) {
  const StepRule<T> rule = given;
#pragma omp simd
  for (int64_t f = 0; f < n; ++f) {
    T first = 0, second = 0;
    if constexpr (Rule::has_first) first = m[f];
    if constexpr (Rule::has_second) second = v[f];
    p[f] = Rule::step(p[f], gradient(f, p[f]), first, second, rule);
    if constexpr (Rule::has_first) m[f] = first;
    if constexpr (Rule::has_second) v[f] = second;
  }
}

template <class T>
DEBIAS_HD T* at_row(T* table, int64_t row, int64_t width) {
  return table ? table + row * width : nullptr;
}

}  // namespace debias
