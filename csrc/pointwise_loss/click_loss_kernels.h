// Losses of clicks R and exposures x, row by row: what the op files ask of the kernels. Raw pointers only.
#pragma once

#include "pointwise_loss/pointwise_loss_kernels.h"

namespace debias {

enum class ClickLoss { exposure, exposure_logit, relmf_square, relmf_log };

// sum_k ell(s_k, R_k, x_k) and coefficient * its gradients; null outputs are not computed.
template <class T>
struct ClickLossArgs {
  const T* scores;
  const T* clicks;
  const T* source;  // exposures or their logits
  T* values;
  T* grad_scores;
  T* grad_clicks;
  T* grad_source;
  int64_t n;
  double coefficient;
  double clip;  // the least exposure that counts; 0 where nothing is clipped
};

namespace cpu {
// The sums are valid where every click lies in [0, 1] and every exposure in its range.
template <class T>
RowSums click_loss(ClickLoss loss, const ClickLossArgs<T>& args);
}  // namespace cpu

namespace cuda {
// workspace: row_loss_workspace(n) doubles; its sums become the loss, the rows with a bad click, those with a bad
// exposure.
template <class Storage>
void click_loss(ClickLoss loss, const ClickLossArgs<Storage>& args, double* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
