#include "lookahead/lookahead_inputs.h"

#include <algorithm>
#include <cmath>

#include "mf_score/score_inputs.h"
#include "pointwise_loss/exposure_math.h"

namespace debias {
namespace {

const char* const kTableNames[4] = {"user_factors", "item_factors", "user_bias", "item_bias"};

constexpr std::array<const char*, 5> kLossNames{"mse", "mae", "bce", "exposure", "relmf"};
constexpr std::array<const char*, 7> kSourceNames{"unit",          "weights",   "propensities",   "propensity_logits",
                                                  "doubly_robust", "exposures", "exposure_logits"};

const char* source_name(LookaheadSource source) {
  return source == LookaheadSource::doubly_robust ? "propensities" : kSourceNames[static_cast<size_t>(source)];
}

std::string source_domain(const LookaheadKind& kind) {
  switch (kind.source) {
    case LookaheadSource::propensity_logits:
    case LookaheadSource::exposure_logits: return " must not be NaN";
    case LookaheadSource::exposures:
      return kind.clip > 0 ? " must be in [0, 1]" : message(" must be in ", kClickedExposureDomain);
    default: return " must be in (0, 1]";
  }
}

void check_not_negative(const char* name, double value) {
  if (!(value >= 0 && std::isfinite(value))) value_error(name, " must be finite and not negative, got ", value);
}

void check_moments(const char* key, const Moments& moments, const std::array<std::optional<Tensor>, 4>& tables,
                   bool adam) {
  for (size_t k = 0; k < 4; ++k) {
    const std::string name = message("assumed['", key, "']['", kTableNames[k], "']");
    if (moments[k].has_value() != (adam && tables[k].has_value()))
      value_error(name, " must be given exactly when ", kTableNames[k], " is");
    if (moments[k]) check_like(name.c_str(), *moments[k], kTableNames[k], *tables[k]);
  }
}

}  // namespace

Tensor zeros_if(bool wanted, const std::optional<Tensor>& like, const Tensor& dtype) {
  if (!wanted || !like) return torch::stable::new_empty(dtype, {0});
  return torch::stable::new_zeros(*like, like->sizes());
}

AssumedStep checked_step(double lr, double l2, int64_t step, double beta1, double beta2, double eps) {
  check_not_negative("lr", lr);
  check_not_negative("l2", l2);
  AssumedStep assumed;
  assumed.lr = lr;
  assumed.l2 = l2;
  if (step == 0) return assumed;
  if (step < 0) value_error("assumed['step'] must not be negative, got ", step - 1);
  for (const double beta : {beta1, beta2})
    if (!(beta >= 0 && beta < 1)) value_error("assumed['betas'] must be in [0, 1), got ", beta);
  check_not_negative("assumed['eps']", eps);
  assumed.adam = 1;
  assumed.beta1 = beta1;
  assumed.beta2 = beta2;
  assumed.eps = eps;
  assumed.correction1 = 1 - std::pow(beta1, static_cast<double>(step));
  assumed.correction2 = 1 - std::pow(beta2, static_cast<double>(step));
  return assumed;
}

LookaheadKind checked_kind(const std::string& side, const std::string& loss, const std::string& source,
                           std::optional<double> clip_min, std::optional<double> floor) {
  const auto position = [](const auto& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) - names.begin();
  };
  const auto at = position(kLossNames, loss);
  if (at == static_cast<std::ptrdiff_t>(kLossNames.size()))
    value_error(side, "['loss'] must be 'mse', 'mae', 'bce', 'exposure' or 'relmf', got '", loss, "'");
  LookaheadKind kind{};
  kind.loss = static_cast<LookaheadLoss>(at);
  const auto source_at = position(kSourceNames, source);
  if (source_at == static_cast<std::ptrdiff_t>(kSourceNames.size()))
    value_error(side, " has an unknown source of weights, '", source, "'");
  kind.source = static_cast<LookaheadSource>(source_at);
  if (kind.source == LookaheadSource::doubly_robust && kind.loss != LookaheadLoss::mse &&
      kind.loss != LookaheadLoss::bce)
    value_error(side, "['loss'] must be 'mse' or 'bce' with imputations, got '", loss, "'");
  const bool exposures = kind.source == LookaheadSource::exposures;
  if (kind.loss == LookaheadLoss::relmf ? !exposures : has_clicks(kind) != (kind.source >= LookaheadSource::exposures))
    value_error(side, "['loss'] is '", loss, "', which ", has_clicks(kind) ? "needs exposures" : "takes no exposures");
  if (floor && has_clicks(kind)) value_error(side, "['floor'] must not be given with loss '", loss, "'");
  check_bounds(clip_min, floor);
  kind.floor = floor.value_or(0.0);
  kind.clip = clip_min.value_or(0.0);
  kind.largest_weight = largest_weight(clip_min);
  return kind;
}

LookaheadTables::LookaheadTables(const Tensor& given_user_factors, const Tensor& given_item_factors,
                                 const std::optional<Tensor>& given_user_bias,
                                 const std::optional<Tensor>& given_item_bias, const Moments& given_exp_avg,
                                 const Moments& given_exp_avg_sq, const AssumedStep& assumed)
    : user_factors(torch::stable::contiguous(given_user_factors)),
      item_factors(torch::stable::contiguous(given_item_factors)),
      user_bias(contiguous(given_user_bias)),
      item_bias(contiguous(given_item_bias)),
      step(assumed) {
  check_dim("user_factors", user_factors, 2);
  check_float("user_factors", user_factors);
  check_dim("item_factors", item_factors, 2);
  check_same_dtype("item_factors", item_factors, "user_factors", user_factors);
  check_same_device("item_factors", item_factors, "user_factors", user_factors);
  if (item_factors.size(1) != user_factors.size(1))
    value_error("item_factors must have as many columns as user_factors, ", user_factors.size(1), ", got ",
                item_factors.size(1));
  const std::array<std::optional<Tensor>, 4> tables{user_factors, item_factors, user_bias, item_bias};
  for (size_t k = 2; k < 4; ++k) {
    if (!tables[k]) continue;
    check_shape(kTableNames[k], *tables[k], {tables[k - 2]->size(0)});
    check_same_dtype(kTableNames[k], *tables[k], "user_factors", user_factors);
    check_same_device(kTableNames[k], *tables[k], "user_factors", user_factors);
  }
  check_moments("exp_avg", given_exp_avg, tables, step.adam);
  check_moments("exp_avg_sq", given_exp_avg_sq, tables, step.adam);
  for (size_t k = 0; k < 4; ++k) {
    exp_avg[k] = contiguous(given_exp_avg[k]);
    exp_avg_sq[k] = contiguous(given_exp_avg_sq[k]);
  }
}

LookaheadRows::LookaheadRows(const std::string& of_side, const LookaheadTables& tables, const Tensor& given_users,
                             const Tensor& given_items, const Tensor& given_targets,
                             const std::optional<Tensor>& given_source, const std::optional<Tensor>& given_imputations,
                             const std::optional<Tensor>& given_observed, const LookaheadKind& of_kind,
                             const std::string& of_reduction, double scale)
    : users(torch::stable::contiguous(given_users)),
      items(torch::stable::contiguous(given_items)),
      targets(torch::stable::contiguous(given_targets)),
      source(contiguous(given_source)),
      imputations(contiguous(given_imputations)),
      observed(contiguous(given_observed)),
      side(of_side),
      kind(of_kind),
      reduction(parse_reduction(of_reduction)),
      missing_scale(scale) {
  check_finite((name("missing") + "['scale']").c_str(), scale);
  if (reduction == Reduction::none) value_error(name("reduction"), " must be 'mean' or 'sum', got 'none'");
  const std::string target_name = name("targets"), users_name = name("users");
  check_dim(users_name.c_str(), users, 1);
  check_index(users_name.c_str(), users);
  check_same_device(users_name.c_str(), users, "user_factors", tables.user_factors);
  check_like(name("items").c_str(), items, users_name.c_str(), users);
  check_dim(target_name.c_str(), targets, 1);
  check_same_dtype(target_name.c_str(), targets, "user_factors", tables.user_factors);
  check_same_device(target_name.c_str(), targets, "user_factors", tables.user_factors);
  if (imputations) {
    const std::string imputations_name = name("imputations");
    check_same_dtype(imputations_name.c_str(), *imputations, "user_factors", tables.user_factors);
    check_same_device(imputations_name.c_str(), *imputations, "user_factors", tables.user_factors);
    check_same_shape(imputations_name.c_str(), *imputations, users_name.c_str(), users);
  } else {
    check_same_shape(target_name.c_str(), targets, users_name.c_str(), users);
  }
  if (source) check_like(name(source_name(kind.source)).c_str(), *source, target_name.c_str(), targets);
  if (!observed) return;
  const std::string observed_name = name("observed");
  check_same_device(observed_name.c_str(), *observed, target_name.c_str(), targets);
  check_same_shape(observed_name.c_str(), *observed, target_name.c_str(), targets);
  if (observed->scalar_type() != ScalarType::Bool)
    value_error(observed_name, " must be bool, got ", dtype_name(observed->scalar_type()));
}

void LookaheadRows::check_ranges() const {
  on_device_of(
      targets,
      [&] {
        dispatch_float(targets.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const InvalidRow bad = cpu::first_invalid_row(args<T, int64_t>());
          if (bad.row < 0) return;
          const T value = pointer<T>(bad.source ? *source : targets)[bad.row];
          value_error(name(bad.source ? source_name(kind.source) : "targets"),
                      bad.source ? source_domain(kind) : std::string(" must be in [0, 1]"), ", got ", value, " at row ",
                      bad.row);
        });
      },
      [&](void* stream) {
        const Tensor workspace = torch::stable::new_empty(targets, {1}, ScalarType::Long);
        dispatch_storage(targets.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const InvalidRow bad = cuda::first_invalid_row(args<T, int64_t>(), output<int64_t>(workspace), stream);
          if (bad.row < 0) return;
          value_error(name(bad.source ? source_name(kind.source) : "targets"),
                      bad.source ? source_domain(kind) : std::string(" must be in [0, 1]"),
                      ", got another value at row ", bad.row);
        });
      });
}

void LookaheadRows::check_values(const LookaheadTables& tables, bool validate) const {
  if (!validate && runs_cuda_kernels(users)) return;
  check_table_indices(name("users").c_str(), users, tables.user_factors.size(0));
  check_table_indices(name("items").c_str(), items, tables.item_factors.size(0));
  if (kind.source != LookaheadSource::unit && kind.source != LookaheadSource::weights) check_ranges();
}

}  // namespace debias
