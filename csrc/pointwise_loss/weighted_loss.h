// One pass over the rows of a weighted loss on whichever device holds them.
#pragma once

#include "pointwise_loss/row_loss.h"

namespace debias {

struct WeightedLossCall {
  LossKind loss;
  WeightKind weight;
  const char* source_name;  // for error messages
  std::optional<double> clip_min = {}, floor = {};
  bool validate = true;
};

inline WeightedLossCall propensity_call(const std::string& loss, bool logits, std::optional<double> clip_min,
                                        std::optional<double> floor, bool validate) {
  return {parse_loss(loss),
          logits ? WeightKind::propensity_logit : WeightKind::propensity,
          logits ? "propensity_logits" : "propensities",
          clip_min,
          floor,
          validate};
}

using LossAndGradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

template <class T>
WeightedLossArgs<T> weighted_loss_args(const WeightedLossCall& call, const Tensor& scores, const Tensor& targets,
                                       const std::optional<Tensor>& source) {
  WeightedLossArgs<T> args{};
  args.scores = pointer<T>(scores);
  args.targets = pointer<T>(targets);
  args.source = pointer<T>(source);
  args.n = scores.numel();
  args.coefficient = 1.0;
  args.floor = call.floor.value_or(0.0);
  args.largest_weight = largest_weight(call.clip_min);
  return args;
}

template <class T>
void set_outputs(WeightedLossArgs<T>& args, const LossAndGradients& outputs, bool row_values) {
  args.values = row_values ? output<T>(std::get<0>(outputs)) : nullptr;
  args.grad_scores = output<T>(std::get<1>(outputs));
  args.grad_targets = output<T>(std::get<2>(outputs));
  args.grad_source = output<T>(std::get<3>(outputs));
}

template <class T>
void check_sums(const WeightedLossCall& call, const RowSums& sums, const WeightedLossArgs<T>& args) {
  if (!sums.valid)
    propensity_error(call.source_name, call.weight == WeightKind::propensity_logit, args.source, nullptr, args.n);
}

inline void check_row_inputs(const WeightedLossCall& call, const Tensor& scores, const Tensor& targets,
                             const std::optional<Tensor>& source) {
  check_float("scores", scores);
  check_like("targets", targets, "scores", scores);
  if (source) check_like(call.source_name, *source, "scores", scores);
  check_bounds(call.clip_min, call.floor);
}

inline LossAndGradients make_outputs(const Tensor& scores, Reduction reduction, int64_t needs) {
  return {loss_output(scores, reduction), empty_if(needed(needs, 0), scores), empty_if(needed(needs, 1), scores),
          empty_if(needed(needs, 2), scores)};
}

// scale * sum_k w_k ell_k, or the rows w_k ell_k, with the gradients that `needs` names.
LossAndGradients weighted_loss(const WeightedLossCall& call, Reduction reduction, double scale, const Tensor& scores,
                               const Tensor& targets, const std::optional<Tensor>& source, int64_t needs);

}  // namespace debias
