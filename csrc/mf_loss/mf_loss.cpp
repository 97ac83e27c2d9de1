// The loss of a factor model over a batch of pairs: gather, dot, row loss and slopes in one pass. The gradients of the
// tables are mf_score's backward pass on the slopes.
#include <torch/csrc/stable/library.h>

#include "common/dispatch.h"
#include "mf_loss/mf_loss_kernels.h"
#include "mf_score/score_inputs.h"
#include "pointwise_loss/row_loss.h"

namespace debias {
namespace {

// Bits of `needs`, in the order of the differentiable arguments.
enum Need { kTables = 31, kTargets = 32, kWeights = 64, kExposures = 128, kPseudoTargets = 256 };

using LossAndSlopes = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

struct RowInputs {
  Tensor targets;
  std::optional<Tensor> weights, exposures, pseudo_targets;
};

RowLossKind parse_kind(const std::string& loss) {
  if (loss == "mse") return RowLossKind::mse;
  if (loss == "mae") return RowLossKind::mae;
  if (loss == "bce") return RowLossKind::bce;
  value_error("loss must be 'mse', 'mae' or 'bce', got '", loss, "'");
}

Reduction parse_scalar_reduction(const std::string& reduction) {
  if (reduction == "sum") return Reduction::sum;
  if (reduction == "mean") return Reduction::mean;
  value_error("reduction must be 'mean' or 'sum', got '", reduction, "'");
}

// A column of the batch: one value for each pair, in the dtype of the tables.
Tensor checked_column(const char* name, const Tensor& column, const Tables& tables) {
  check_same_device(name, column, "user_factors", tables.user_factors);
  check_same_dtype(name, column, "user_factors", tables.user_factors);
  check_same_shape(name, column, "users", tables.users);
  return torch::stable::contiguous(column);
}

std::optional<Tensor> checked_column(const char* name, const std::optional<Tensor>& column, const Tables& tables) {
  if (!column) return std::nullopt;
  return checked_column(name, *column, tables);
}

template <class T>
LossRows<T> loss_rows(const RowInputs& in, const LossAndSlopes& out, double scale) {
  return {pointer<T>(in.targets),      pointer<T>(in.weights),
          pointer<T>(in.exposures),    pointer<T>(in.pseudo_targets),
          output<T>(std::get<1>(out)), output<T>(std::get<2>(out)),
          output<T>(std::get<3>(out)), output<T>(std::get<4>(out)),
          output<T>(std::get<5>(out)), scale};
}

void run_cpu(const RowLossChoice& loss, const ScoreInputs& score, const RowInputs& rows, double scale,
             const LossAndSlopes& out) {
  dispatch_float(rows.targets.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    dispatch_index(score.tables.users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      const RowSums sums = cpu::mf_loss(loss, score_args<T, Index>(score, nullptr), loss_rows<T>(rows, out, scale));
      write_scalar<T>(std::get<0>(out), scale * sums.loss);
    });
  });
}

void run_cuda(const RowLossChoice& loss, const ScoreInputs& score, const RowInputs& rows, double scale,
              const LossAndSlopes& out, void* stream) {
  const Tensor workspace =
      torch::stable::new_empty(rows.targets, {cuda::row_loss_workspace(rows.targets.numel())}, ScalarType::Double);
  double* sums = output<double>(workspace);
  dispatch_storage(rows.targets.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    dispatch_index(score.tables.users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      cuda::mf_loss(loss, score_args<T, Index>(score, nullptr), loss_rows<T>(rows, out, scale), sums, stream);
    });
    cuda::write_loss<T>(sums, scale, false, output<T>(std::get<0>(out)), stream);
  });
}

LossAndSlopes mf_loss(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users, const Tensor& items,
                      const std::optional<Tensor>& user_bias, const std::optional<Tensor>& item_bias,
                      const std::optional<Tensor>& offset, const Tensor& targets, const std::optional<Tensor>& weights,
                      const std::optional<Tensor>& exposures, const std::optional<Tensor>& pseudo_targets,
                      double offset_value, const std::string& loss, const std::string& reduction, bool validate,
                      int64_t needs) {
  const RowLossChoice choice{parse_kind(loss), pseudo_targets.has_value()};
  const Reduction kind = parse_scalar_reduction(reduction);
  const ScoreInputs score = checked_score_inputs(user_factors, item_factors, users, items, user_bias, item_bias, offset,
                                                 offset_value, validate);
  const Tables& tables = score.tables;
  const RowInputs rows{checked_column("targets", targets, tables), checked_column("weights", weights, tables),
                       checked_column("exposures", exposures, tables),
                       checked_column("pseudo_targets", pseudo_targets, tables)};
  const double scale = reduction_scale(kind, users.numel());
  const auto column_if = [&](int64_t bits, bool given) { return empty_if((needs & bits) != 0 && given, rows.targets); };
  const LossAndSlopes out{loss_output(rows.targets, kind),
                          column_if(kTables, true),
                          column_if(kTargets, true),
                          column_if(kWeights, weights.has_value()),
                          column_if(kExposures, exposures.has_value()),
                          column_if(kPseudoTargets, pseudo_targets.has_value())};
  on_device_of(
      rows.targets, [&] { run_cpu(choice, score, rows, scale, out); },
      [&](void* stream) { run_cuda(choice, score, rows, scale, out, stream); });
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
