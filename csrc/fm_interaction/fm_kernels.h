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

// Of one component, or a vector of them, whose value in field f at(f, value) reads: the sum over f < g of e_f e_g, as
// sum_g e_g (e_0 + ... + e_(g-1)). Unlike half the difference of the squared sum and the sum of squares, nothing
// cancels.
template <class Value, class At>
DEBIAS_HD void pairs(int64_t n_fields, const At& at, Value& total) {
  Value before{}, value;
  total = before;
  for (int64_t f = 0; f < n_fields; ++f) {
    at(f, value);
    total += value * before;
    before += value;
  }
}

// Its derivative in each field, the sum of the others times grad, handed to put(f, slope).
template <class Value, class Grad, class At, class Put>
DEBIAS_HD void slopes(int64_t n_fields, Grad grad, const At& at, const Put& put) {
  Value sum{}, value;
  for (int64_t f = 0; f < n_fields; ++f) {
    at(f, value);
    sum += value;
  }
  for (int64_t f = 0; f < n_fields; ++f) {
    at(f, value);
    value = grad * (sum - value);
    put(f, value);
  }
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
