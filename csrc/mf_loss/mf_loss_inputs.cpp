#include "mf_loss/mf_loss_inputs.h"

#include "pointwise_loss/exposure_math.h"

namespace debias {
namespace {

RowLossKind parse_kind(const std::string& loss) {
  if (loss == "mse") return RowLossKind::mse;
  if (loss == "mae") return RowLossKind::mae;
  if (loss == "bce") return RowLossKind::bce;
  if (loss == "exposure") return RowLossKind::exposure;
  if (loss == "relmf") return RowLossKind::relmf;
  value_error("loss must be 'mse', 'mae', 'bce', 'exposure' or 'relmf', got '", loss, "'");
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

}  // namespace

RowLossKind checked_kind(const std::string& loss, bool exposures, bool pseudo_targets) {
  const RowLossKind kind = parse_kind(loss);
  if (reads_exposures(kind) && !exposures) value_error("exposures must be given for the loss '", loss, "'");
  if (!reads_exposures(kind) && exposures) value_error("exposures must be None for the loss '", loss, "'");
  if (reads_exposures(kind) && pseudo_targets) value_error("pseudo_targets must be None for the loss '", loss, "'");
  return kind;
}

MFLossCall checked_call(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                        const Tensor& items, const std::optional<Tensor>& user_bias,
                        const std::optional<Tensor>& item_bias, const std::optional<Tensor>& offset,
                        const Tensor& targets, const std::optional<Tensor>& weights,
                        const std::optional<Tensor>& exposures, const std::optional<Tensor>& pseudo_targets,
                        double offset_value, const std::string& loss, const std::string& reduction, bool validate) {
  const RowLossKind kind = checked_kind(loss, exposures.has_value(), pseudo_targets.has_value());
  const double scale = reduction_scale(parse_scalar_reduction(reduction), users.numel());
  const ScoreInputs score = checked_score_inputs(user_factors, item_factors, users, items, user_bias, item_bias, offset,
                                                 offset_value, validate);
  const Tables& tables = score.tables;
  const RowInputs rows{checked_column("targets", targets, tables), checked_column("weights", weights, tables),
                       checked_column("exposures", exposures, tables),
                       checked_column("pseudo_targets", pseudo_targets, tables)};
  return {{kind, pseudo_targets.has_value()}, score, rows, scale, validate};
}

LossAndSlopes loss_outputs(const MFLossCall& call, int64_t needs) {
  const RowInputs& rows = call.rows;
  const auto column_if = [&](int64_t bits, bool given) { return empty_if((needs & bits) != 0 && given, rows.targets); };
  return {loss_output(rows.targets, Reduction::sum),
          column_if(kScores, true),
          column_if(kTargets, true),
          column_if(kWeights, rows.weights.has_value()),
          column_if(kExposures, rows.exposures.has_value()),
          column_if(kPseudoTargets, rows.pseudo_targets.has_value())};
}

[[noreturn]] void click_error(const RowLossChoice& loss, bool bad_targets, const std::string& where) {
  if (bad_targets) value_error("targets must be in [0, 1], the clicks, got ", where);
  const bool relmf = loss.kind == RowLossKind::relmf;
  value_error("exposures must be in ", relmf ? "(0, 1]" : kClickedExposureDomain, ", got ", where);
}

}  // namespace debias
