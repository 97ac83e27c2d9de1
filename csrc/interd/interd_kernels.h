// What interd_loss.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include "interd/interd_math.h"
#include "pointwise_loss/pointwise_loss_kernels.h"

namespace debias {

// sum_k (s_k - r*_k)^2 and grad_scores[k] = coefficient * its slope in s_k; null outputs are not computed.
template <class T>
struct InterDArgs {
  const T* scores;
  const T* biased;
  const T* debiased;
  const T* known;    // what the teachers' errors are measured against: ratings or the scores; null: 0
  const T* weights;  // of the debiased teacher's error; null: 1
  T* values;
  T* grad_scores;
  int64_t n;
  double coefficient, gamma, epsilon;
};

namespace cpu {
template <class T>
RowSums interd_loss(InterDTargetKind kind, const InterDArgs<T>& args);
}  // namespace cpu

namespace cuda {
// Device workspace of row_loss_workspace(n) doubles, as for the other row losses.
template <class Storage>
void interd_loss(InterDTargetKind kind, const InterDArgs<Storage>& args, double* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
