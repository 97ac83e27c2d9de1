// Doubly robust loss: e(s, p) + (o / q) (e(s, t) - e(s, p)) (Wang et al. 2019).
#include <torch/csrc/stable/library.h>

#include "pointwise_loss/row_loss.h"

namespace debias {
namespace {

using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Inputs {
  Tensor scores, targets, pseudo_targets, propensities, observed;
};

template <class T>
DoublyRobustArgs<T> arguments(const Inputs& in, const Outputs& out, bool rows, double scale) {
  return {pointer<T>(in.scores),       pointer<T>(in.targets),      pointer<T>(in.pseudo_targets),
          pointer<T>(in.propensities), pointer<bool>(in.observed),  rows ? output<T>(std::get<0>(out)) : nullptr,
          output<T>(std::get<1>(out)), output<T>(std::get<2>(out)), output<T>(std::get<3>(out)),
          output<T>(std::get<4>(out)), in.scores.numel(),           scale};
}

Inputs checked(const Tensor& scores, const Tensor& targets, const Tensor& pseudo_targets, const Tensor& propensities,
               const Tensor& observed) {
  check_float("scores", scores);
  check_like("targets", targets, "scores", scores);
  check_like("pseudo_targets", pseudo_targets, "scores", scores);
  check_like("propensities", propensities, "scores", scores);
  check_same_device("observed", observed, "scores", scores);
  check_same_shape("observed", observed, "scores", scores);
  if (observed.scalar_type() != ScalarType::Bool)
    value_error("observed must be bool, got ", dtype_name(observed.scalar_type()));
  return {torch::stable::contiguous(scores), torch::stable::contiguous(targets),
          torch::stable::contiguous(pseudo_targets), torch::stable::contiguous(propensities),
          torch::stable::contiguous(observed)};
}

Outputs dr_loss(const Tensor& scores, const Tensor& targets, const Tensor& pseudo_targets, const Tensor& propensities,
                const Tensor& observed, const std::string& loss, const std::string& reduction, bool validate,
                int64_t needs) {
  const Inputs in = checked(scores, targets, pseudo_targets, propensities, observed);
  const LossKind loss_kind = parse_loss(loss);
  const Reduction kind = parse_reduction(reduction);
  const double scale = reduction_scale(kind, in.scores.numel());
  const bool rows = kind == Reduction::none;
  const Outputs out{loss_output(in.scores, kind), empty_if(needed(needs, 0), in.scores),
                    empty_if(needed(needs, 1), in.scores), empty_if(needed(needs, 2), in.scores),
                    empty_if(needed(needs, 3), in.scores)};
  on_device_of(
      in.scores,
      [&] {
        dispatch_float(in.scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = arguments<T>(in, out, rows, scale);
          const RowSums sums = cpu::doubly_robust_loss<T>(loss_kind, args);
          if (!sums.valid) propensity_error("propensities", false, args.propensities, args.observed, args.n);
          if (!rows) write_scalar<T>(std::get<0>(out), scale * sums.loss);
        });
      },
      [&](void* stream) {
        const Tensor workspace =
            torch::stable::new_empty(in.scores, {cuda::row_loss_workspace(in.scores.numel())}, ScalarType::Double);
        double* sums = output<double>(workspace);
        dispatch_storage(in.scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::doubly_robust_loss<T>(loss_kind, arguments<T>(in, out, rows, scale), sums, stream);
          if (validate && !cuda::read_sums(sums, stream).valid) propensity_error("propensities", false);
          if (!rows) cuda::write_loss<T>(sums, scale, false, output<T>(std::get<0>(out)), stream);
        });
      });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "dr_loss(Tensor scores, Tensor targets, Tensor pseudo_targets, Tensor propensities, Tensor observed, str loss, "
      "str reduction, bool validate, int needs) -> (Tensor loss, Tensor grad_scores, Tensor grad_targets, "
      "Tensor grad_pseudo_targets, Tensor grad_propensities)");
}

DEBIAS_IMPLEMENT(m) { m.impl("dr_loss", TORCH_BOX(&debias::dr_loss)); }
