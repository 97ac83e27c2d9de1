// Losses of implicit feedback weighted by the inverse exposure (Saito et al. 2020).
#include <torch/csrc/stable/library.h>

#include "pointwise_loss/click_loss.h"

namespace debias {
namespace {

ClickLoss parse_form(const std::string& form) {
  if (form == "square") return ClickLoss::relmf_square;
  if (form == "log") return ClickLoss::relmf_log;
  value_error("form must be 'square' or 'log', got '", form, "'");
}

LossAndGradients relmf_loss(const Tensor& scores, const Tensor& clicks, const Tensor& exposures,
                            const std::string& form, std::optional<double> clip_min, const std::string& reduction,
                            bool validate, int64_t needs) {
  const ClickLossCall call{parse_form(form), "exposures", clip_min, validate};
  return click_loss(call, parse_reduction(reduction), scores, clicks, exposures, needs);
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "relmf_loss(Tensor scores, Tensor clicks, Tensor exposures, str form, float? clip_min, str reduction, "
      "bool validate, int needs) -> (Tensor loss, Tensor grad_scores, Tensor grad_clicks, Tensor grad_exposures)");
}

DEBIAS_IMPLEMENT(m) { m.impl("relmf_loss", TORCH_BOX(&debias::relmf_loss)); }
