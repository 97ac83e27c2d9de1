// Losses of score pairs, row by row: what the op file asks of the kernels. Raw pointers only.
#pragma once

#include "pointwise_loss/pointwise_loss_kernels.h"

namespace debias {

enum class PairKind { bpr, pda };

// sum_k w_k ell(s_ik, s_jk) and coefficient * its gradients; null outputs are not computed.
template <class T>
struct PairLossArgs {
  const T* positive;
  const T* negative;
  const T* weights;              // null: 1
  const T* positive_popularity;  // null: 1
  const T* negative_popularity;
  T* values;
  T* grad_positive;
  T* grad_negative;
  T* grad_weights;
  int64_t n;
  double coefficient;
  double gamma;
};

namespace cpu {
// The sums are valid where every popularity lies in [0, 1].
template <class T>
RowSums pair_loss(PairKind kind, const PairLossArgs<T>& args);
}  // namespace cpu

namespace cuda {
// workspace: row_loss_workspace(n) doubles; its sums become the loss, the rows with a bad positive popularity, those
// with a bad negative one.
template <class Storage>
void pair_loss(PairKind kind, const PairLossArgs<Storage>& args, double* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
