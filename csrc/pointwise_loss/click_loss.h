// One pass over the rows of a loss of clicks and exposures, on whichever device holds them.
#pragma once

#include "pointwise_loss/click_loss_kernels.h"
#include "pointwise_loss/weighted_loss.h"

namespace debias {

struct ClickLossCall {
  ClickLoss loss;
  const char* source_name;  // for error messages
  std::optional<double> clip_min;
  bool validate = true;
};

// The loss, reduced, and the gradients in scores, clicks and source that `needs` names.
LossAndGradients click_loss(const ClickLossCall& call, Reduction reduction, const Tensor& scores, const Tensor& clicks,
                            const Tensor& source, int64_t needs);

}  // namespace debias
