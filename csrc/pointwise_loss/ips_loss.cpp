// Inverse propensity scoring: ell(s, t) / q, q given, clipped or with a smooth floor (methods: Schnabel et al. 2016).
#include <torch/csrc/stable/library.h>

#include "pointwise_loss/weighted_loss.h"

namespace debias {
namespace {

LossAndGradients ips_loss(const Tensor& scores, const Tensor& targets, const Tensor& source, bool logits,
                          const std::string& loss, std::optional<double> clip_min, std::optional<double> floor,
                          const std::string& reduction, bool validate, int64_t needs) {
  const WeightedLossCall call = propensity_call(loss, logits, clip_min, floor, validate);
  const Reduction kind = parse_reduction(reduction);
  return weighted_loss(call, kind, reduction_scale(kind, scores.numel()), scores, targets, source, needs);
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "ips_loss(Tensor scores, Tensor targets, Tensor source, bool logits, str loss, float? clip_min, "
      "float? floor, str reduction, bool validate, int needs) "
      "-> (Tensor loss, Tensor grad_scores, Tensor grad_targets, Tensor grad_source)");
}

DEBIAS_IMPLEMENT(m) { m.impl("ips_loss", TORCH_BOX(&debias::ips_loss)); }
