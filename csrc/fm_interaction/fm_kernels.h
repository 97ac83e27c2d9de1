// What fm_interaction.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

#include "common/half.h"

namespace debias {

// fields: [B, F, d]
template <class Storage>
struct FMArgs {
  const Storage* fields;
  int64_t batch, n_fields, width;
};

namespace fm {

// Component i of one sample's fields: sum over f < g of e_f e_g, as sum_g e_g (e_0 + ... + e_(g-1)). Unlike half the
// difference of the squared sum and the sum of squares, nothing cancels.
template <class Storage>
DEBIAS_HD accumulator_t<Storage> pairs(const Storage* sample, int64_t n_fields, int64_t width, int64_t i) {
  accumulator_t<Storage> before = 0, total = 0;
  for (int64_t f = 0; f < n_fields; ++f) {
    const accumulator_t<Storage> value = to_float(sample[f * width + i]);
    total += value * before;
    before += value;
  }
  return total;
}

// Its derivative in each field: the sum of the others, times grad.
template <class Storage>
DEBIAS_HD void slopes(const Storage* sample, int64_t n_fields, int64_t width, int64_t i, accumulator_t<Storage> grad,
                      Storage* out) {
  accumulator_t<Storage> sum = 0;
  for (int64_t f = 0; f < n_fields; ++f) sum += to_float(sample[f * width + i]);
  for (int64_t f = 0; f < n_fields; ++f)
    out[f * width + i] = from_float<Storage>(grad * (sum - to_float(sample[f * width + i])));
}

}  // namespace fm

namespace cpu {
template <class T>
void fm_interaction(const FMArgs<T>& args, T* out);
template <class T>
void fm_interaction_backward(const FMArgs<T>& args, const T* grad, T* to_fields);
}  // namespace cpu

namespace cuda {
template <class Storage>
void fm_interaction(const FMArgs<Storage>& args, Storage* out, void* stream);
template <class Storage>
void fm_interaction_backward(const FMArgs<Storage>& args, const Storage* grad, Storage* to_fields, void* stream);
}  // namespace cuda

}  // namespace debias
