// w ell(s, t), ell the squared error, the absolute error or the binary cross-entropy with soft targets.
#include <torch/csrc/stable/library.h>

#include "pointwise_loss/weighted_loss.h"

namespace debias {
namespace {

LossAndGradients pointwise_loss(const Tensor& scores, const Tensor& targets, const std::optional<Tensor>& weights,
                                const std::string& loss, const std::string& reduction, int64_t needs) {
  WeightedLossCall call{parse_loss(loss), weights ? WeightKind::given : WeightKind::unit, "weights"};
  call.validate = false;  // any weight is legal
  const Reduction kind = parse_reduction(reduction);
  return weighted_loss(call, kind, reduction_scale(kind, scores.numel()), scores, targets, weights, needs);
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "pointwise_loss(Tensor scores, Tensor targets, Tensor? weights, str loss, str reduction, int needs) "
      "-> (Tensor loss, Tensor grad_scores, Tensor grad_targets, Tensor grad_weights)");
}

DEBIAS_IMPLEMENT(m) { m.impl("pointwise_loss", TORCH_BOX(&debias::pointwise_loss)); }
