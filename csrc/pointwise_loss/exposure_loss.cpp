// -R log(x p) - (1 - R) log(1 - x p), p = sigmoid(s): clicks R explained by relevance and exposure x (UMF, Biif).
#include <torch/csrc/stable/library.h>

#include "pointwise_loss/click_loss.h"

namespace debias {
namespace {

LossAndGradients exposure_loss(const Tensor& scores, const Tensor& clicks, const Tensor& source, bool logits,
                               const std::string& reduction, bool validate, int64_t needs) {
  const ClickLossCall call{logits ? ClickLoss::exposure_logit : ClickLoss::exposure,
                           logits ? "exposure_logits" : "exposures", std::nullopt, validate};
  return click_loss(call, parse_reduction(reduction), scores, clicks, source, needs);
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "exposure_loss(Tensor scores, Tensor clicks, Tensor source, bool logits, str reduction, bool validate, "
      "int needs) -> (Tensor loss, Tensor grad_scores, Tensor grad_clicks, Tensor grad_source)");
}

DEBIAS_IMPLEMENT(m) { m.impl("exposure_loss", TORCH_BOX(&debias::exposure_loss)); }
