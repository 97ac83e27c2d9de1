// What frontdoor_aggregate.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
//
//   mean[i, k] = 1 / count_i  sum over the context rows j of sample i of sigmoid(v . relu(a_j + c_ik) + v0)
//   out[i]     = sum_k alpha_ik mean[i, k]
#pragma once

#include <cstdint>

#include "common/half.h"

namespace debias {

template <class T>
struct FrontdoorArgs {
  const T* context;              // a, [M, h]
  const T* mediators;            // c, [N, K, h]
  const T* attention;            // alpha, or its logits, [N, K]
  const T* weight;               // v, [h]
  const T* bias;                 // v0, [1]
  const int64_t* context_index;  // [M], the sample that a context row is; null: row j is sample j
  int logits;                    // attention holds logits
  int exclude_self;              // leave out of sample i the context rows that are sample i
  int64_t n_context, n_samples, n_teachers, hidden;

  DEBIAS_HD int64_t rows() const { return n_samples * n_teachers; }
};

// Gradients; null where not wanted.
template <class T>
struct FrontdoorGradients {
  T *context, *mediators, *attention, *weight, *bias;
};

namespace cpu {
// means: [N, K]
template <class T>
void frontdoor_aggregate(const FrontdoorArgs<T>& args, T* out, T* means);
template <class T>
void frontdoor_backward(const FrontdoorArgs<T>& args, const T* grad, const T* means,
                        const FrontdoorGradients<T>& gradients);
}  // namespace cpu

namespace cuda {
// means: [N, K]; workspace: so many int64.
template <class T>
int64_t frontdoor_workspace(const FrontdoorArgs<T>& args, bool backward);
template <class T>
void frontdoor_aggregate(const FrontdoorArgs<T>& args, T* out, accumulator_t<T>* means, int64_t* workspace,
                         void* stream);
template <class T>
void frontdoor_backward(const FrontdoorArgs<T>& args, const T* grad, const accumulator_t<T>* means,
                        const FrontdoorGradients<T>& gradients, int64_t* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
