#include "pointwise_loss/weighted_loss.h"

namespace debias {

LossAndGradients weighted_loss(const WeightedLossCall& call, Reduction reduction, double scale,
                               const Tensor& given_scores, const Tensor& given_targets,
                               const std::optional<Tensor>& given_source, int64_t needs) {
  check_row_inputs(call, given_scores, given_targets, given_source);
  const Tensor scores = torch::stable::contiguous(given_scores), targets = torch::stable::contiguous(given_targets);
  const std::optional<Tensor> source = contiguous(given_source);
  const LossAndGradients outputs = make_outputs(scores, reduction, needs);
  const Tensor& loss = std::get<0>(outputs);
  const bool rows = reduction == Reduction::none;
  on_device_of(
      scores,
      [&] {
        dispatch_float(scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          auto args = weighted_loss_args<T>(call, scores, targets, source);
          set_outputs(args, outputs, rows);
          args.coefficient = scale;
          const RowSums sums = cpu::weighted_loss<T>(call.loss, call.weight, args);
          check_sums(call, sums, args);
          if (!rows) write_scalar<T>(loss, scale * sums.loss);
        });
      },
      [&](void* stream) {
        const Tensor workspace =
            torch::stable::new_empty(scores, {cuda::row_loss_workspace(scores.numel())}, ScalarType::Double);
        double* sums = output<double>(workspace);
        dispatch_storage(scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          auto args = weighted_loss_args<T>(call, scores, targets, source);
          set_outputs(args, outputs, rows);
          args.coefficient = scale;
          cuda::weighted_loss<T>(call.loss, call.weight, args, nullptr, sums, stream);
          if (call.validate && !cuda::read_sums(sums, stream).valid)
            propensity_error(call.source_name, call.weight == WeightKind::propensity_logit);
          if (!rows) cuda::write_loss<T>(sums, scale, false, output<T>(loss), stream);
        });
      });
  return outputs;
}

}  // namespace debias
