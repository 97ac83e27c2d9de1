// The loss of a factor model over a batch of pairs: gather, dot, row loss and slopes in one pass. The gradients of the
// tables are mf_score's backward pass on the slopes.
#include <torch/csrc/stable/library.h>

#include "common/dispatch.h"
#include "mf_loss/mf_loss_inputs.h"

namespace debias {
namespace {

void run_cpu(const MFLossCall& call, const LossAndSlopes& out) {
  dispatch_float(call.rows.targets.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const LossRows<T> rows = loss_rows<T>(call, out);
    dispatch_index(call.score.tables.users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      const RowSums sums = cpu::mf_loss(call.loss, score_args<T, Index>(call.score, nullptr), rows);
      if (!sums.valid) row_error(call.loss, rows, call.rows.targets.numel());
      write_scalar<T>(std::get<0>(out), call.scale * sums.loss);
    });
  });
}

void run_cuda(const MFLossCall& call, const LossAndSlopes& out, void* stream) {
  const Tensor& targets = call.rows.targets;
  const Tensor workspace =
      torch::stable::new_empty(targets, {cuda::row_loss_workspace(targets.numel())}, ScalarType::Double);
  double* sums = output<double>(workspace);
  dispatch_storage(targets.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    dispatch_index(call.score.tables.users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      cuda::mf_loss(call.loss, score_args<T, Index>(call.score, nullptr), loss_rows<T>(call, out), sums, stream);
    });
    if (call.validate && reads_exposures(call.loss.kind)) {
      const RowSums read = cuda::read_sums(sums, stream);
      if (!read.valid) click_error(call.loss, read.weight > 0, "other values");
    }
    cuda::write_loss<T>(sums, call.scale, false, output<T>(std::get<0>(out)), stream);
  });
}

LossAndSlopes mf_loss(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users, const Tensor& items,
                      const std::optional<Tensor>& user_bias, const std::optional<Tensor>& item_bias,
                      const std::optional<Tensor>& offset, const Tensor& targets, const std::optional<Tensor>& weights,
                      const std::optional<Tensor>& exposures, const std::optional<Tensor>& pseudo_targets,
                      double offset_value, const std::string& loss, const std::string& reduction, bool validate,
                      int64_t needs) {
  const MFLossCall call = checked_call(user_factors, item_factors, users, items, user_bias, item_bias, offset, targets,
                                       weights, exposures, pseudo_targets, offset_value, loss, reduction, validate);
  const LossAndSlopes out = loss_outputs(call, needs);
  on_device_of(call.rows.targets, [&] { run_cpu(call, out); }, [&](void* stream) { run_cuda(call, out, stream); });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "mf_loss(Tensor user_factors, Tensor item_factors, Tensor users, Tensor items, Tensor? user_bias, "
      "Tensor? item_bias, Tensor? offset, Tensor targets, Tensor? weights, Tensor? exposures, Tensor? pseudo_targets, "
      "float offset_value, str loss, str reduction, bool validate, int needs) -> (Tensor loss, Tensor grad_scores, "
      "Tensor grad_targets, Tensor grad_weights, Tensor grad_exposures, Tensor grad_pseudo_targets)");
}

DEBIAS_IMPLEMENT(m) { m.impl("mf_loss", TORCH_BOX(&debias::mf_loss)); }
