// Self-normalised inverse propensity scoring: sum(ell / q) / sum(1 / q) (Swaminathan and Joachims 2015).
#include <torch/csrc/stable/library.h>

#include "pointwise_loss/weighted_loss.h"

namespace debias {
namespace {

// Two passes: the sums first, then the gradients, whose coefficient 1 / sum(1/q) and baseline loss need them.
LossAndGradients self_normalised(const WeightedLossCall& call, const Tensor& given_scores, const Tensor& given_targets,
                                 const Tensor& given_source, int64_t needs) {
  check_row_inputs(call, given_scores, given_targets, given_source);
  const Tensor scores = torch::stable::contiguous(given_scores), targets = torch::stable::contiguous(given_targets);
  const std::optional<Tensor> source = torch::stable::contiguous(given_source);
  const LossAndGradients outputs = make_outputs(scores, Reduction::sum, needs);
  const Tensor& loss = std::get<0>(outputs);
  on_device_of(
      scores,
      [&] {
        dispatch_float(scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          auto args = weighted_loss_args<T>(call, scores, targets, source);
          const RowSums sums = cpu::weighted_loss<T>(call.loss, call.weight, args);
          check_sums(call, sums, args);
          write_scalar<T>(loss, sums.loss / sums.weight);
          if (needs == 0) return;
          set_outputs(args, outputs, false);
          args.coefficient = 1.0 / sums.weight;
          args.baseline = sums.loss / sums.weight;
          cpu::weighted_loss<T>(call.loss, call.weight, args);
        });
      },
      [&](void* stream) {
        const int64_t size = cuda::row_loss_workspace(scores.numel());
        const Tensor first = torch::stable::new_empty(scores, {size}, ScalarType::Double);
        const Tensor second = torch::stable::new_empty(scores, {size}, ScalarType::Double);
        double* sums = output<double>(first);
        dispatch_storage(scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          auto args = weighted_loss_args<T>(call, scores, targets, source);
          cuda::weighted_loss<T>(call.loss, call.weight, args, nullptr, sums, stream);
          if (call.validate && !cuda::read_sums(sums, stream).valid)
            propensity_error(call.source_name, call.weight == WeightKind::propensity_logit);
          cuda::write_loss<T>(sums, 1.0, true, output<T>(loss), stream);
          if (needs == 0) return;
          set_outputs(args, outputs, false);
          cuda::weighted_loss<T>(call.loss, call.weight, args, sums, output<double>(second), stream);
        });
      });
  return outputs;
}

LossAndGradients snips_loss(const Tensor& scores, const Tensor& targets, const Tensor& source, bool logits,
                            const std::string& loss, std::optional<double> clip_min, std::optional<double> floor,
                            std::optional<double> normaliser_sum, int64_t normaliser_rows, bool validate,
                            int64_t needs) {
  const WeightedLossCall call = propensity_call(loss, logits, clip_min, floor, validate);
  if (!normaliser_sum) return self_normalised(call, scores, targets, source, needs);
  if (!(*normaliser_sum > 0) || !std::isfinite(*normaliser_sum) || normaliser_rows < 1)
    value_error("normaliser must be (sum of 1/q > 0, number of rows >= 1), got (", *normaliser_sum, ", ",
                normaliser_rows, ")");
  const double scale = static_cast<double>(normaliser_rows) / static_cast<double>(scores.numel()) / *normaliser_sum;
  return weighted_loss(call, Reduction::sum, scale, scores, targets, source, needs);
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "snips_loss(Tensor scores, Tensor targets, Tensor source, bool logits, str loss, float? clip_min, "
      "float? floor, float? normaliser_sum, int normaliser_rows, bool validate, int needs) "
      "-> (Tensor loss, Tensor grad_scores, Tensor grad_targets, Tensor grad_source)");
}

DEBIAS_IMPLEMENT(m) { m.impl("snips_loss", TORCH_BOX(&debias::snips_loss)); }
