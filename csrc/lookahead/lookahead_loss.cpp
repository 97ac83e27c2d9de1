// The upper loss after one assumed step on the lower loss, and its gradients in closed form (methods: one-step
// hypergradients without double backward).
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "lookahead/lookahead_device.h"
#include "lookahead/lookahead_inputs.h"

namespace debias {
namespace {

using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Optional = std::optional<Tensor>;

enum Need { kLowerTargets, kLowerSource, kLowerImputations, kUpperTargets, kUpperSource };

Tensor zeros_if(bool wanted, const Optional& like, const Tensor& dtype) {
  if (!wanted || !like) return torch::stable::new_empty(dtype, {0});
  return torch::stable::new_zeros(*like, like->sizes());
}

Outputs lookahead_loss(
    const Tensor& lower_targets, const Optional& lower_source, const Optional& lower_imputations,
    const Tensor& upper_targets, const Optional& upper_source, const Tensor& user_factors, const Tensor& item_factors,
    const Optional& user_bias, const Optional& item_bias, const Tensor& lower_users, const Tensor& lower_items,
    const Optional& observed, const Tensor& upper_users, const Tensor& upper_items, const Optional& user_exp_avg,
    const Optional& item_exp_avg, const Optional& user_bias_exp_avg, const Optional& item_bias_exp_avg,
    const Optional& user_exp_avg_sq, const Optional& item_exp_avg_sq, const Optional& user_bias_exp_avg_sq,
    const Optional& item_bias_exp_avg_sq, const std::string& lower_loss, const std::string& lower_kind,
    std::optional<double> lower_clip_min, std::optional<double> lower_floor, const std::string& lower_reduction,
    double missing_scale, const std::string& upper_loss, const std::string& upper_kind,
    std::optional<double> upper_clip_min, std::optional<double> upper_floor, const std::string& upper_reduction,
    double lr, double l2, int64_t step, double beta1, double beta2, double eps, bool validate, int64_t needs) {
  const LookaheadTables tables(user_factors, item_factors, user_bias, item_bias,
                               {user_exp_avg, item_exp_avg, user_bias_exp_avg, item_bias_exp_avg},
                               {user_exp_avg_sq, item_exp_avg_sq, user_bias_exp_avg_sq, item_bias_exp_avg_sq},
                               checked_step(lr, l2, step, beta1, beta2, eps));
  const LookaheadRows lower("lower", tables, lower_users, lower_items, lower_targets, lower_source, lower_imputations,
                            observed, checked_kind("lower", lower_loss, lower_kind, lower_clip_min, lower_floor),
                            lower_reduction, missing_scale);
  const LookaheadRows upper("upper", tables, upper_users, upper_items, upper_targets, upper_source, std::nullopt,
                            std::nullopt, checked_kind("upper", upper_loss, upper_kind, upper_clip_min, upper_floor),
                            upper_reduction, 1.0);
  check_same_dtype("upper['users']", upper_users, "lower['users']", lower_users);
  lower.check_values(tables, validate);
  upper.check_values(tables, validate);
  const Outputs out{torch::stable::new_empty(user_factors, {}),
                    zeros_if(needed(needs, kLowerTargets), lower.targets, user_factors),
                    zeros_if(needed(needs, kLowerSource), lower.source, user_factors),
                    zeros_if(needed(needs, kLowerImputations), lower.imputations, user_factors),
                    zeros_if(needed(needs, kUpperTargets), upper.targets, user_factors),
                    zeros_if(needed(needs, kUpperSource), upper.source, user_factors)};
  const auto arguments = [&](auto type, auto index) {
    using T = typename decltype(type)::type;
    using Index = typename decltype(index)::type;
    LookaheadArgs<T, Index> args{tables.users<T>(),      tables.items<T>(), lower.args<T, Index>(),
                                 upper.args<T, Index>(), tables.step,       user_factors.size(1)};
    args.lower.grad_targets = output<T>(std::get<1>(out));
    args.lower.grad_source = output<T>(std::get<2>(out));
    args.lower.grad_imputations = output<T>(std::get<3>(out));
    args.upper.grad_targets = output<T>(std::get<4>(out));
    args.upper.grad_source = output<T>(std::get<5>(out));
    return args;
  };
  dispatch_index(lower_users.scalar_type(), [&](auto index) {
    on_device_of(
        user_factors,
        [&] {
          dispatch_float(user_factors.scalar_type(), [&](auto type) {
            using T = typename decltype(type)::type;
            write_scalar<T>(std::get<0>(out), cpu::lookahead_loss(arguments(type, index)));
          });
        },
        [&](void* stream) {
          dispatch_storage(user_factors.scalar_type(), [&](auto type) {
            using T = typename decltype(type)::type;
            const auto args = arguments(type, index);
            LookaheadDevice<T> device(args, upper.users, upper.items, stream);
            for (size_t which = 0; which < 2; ++which) device.sort_lower(which, *device.keys[which]);
            cuda::lookahead_loss(args, device.work, output<T>(std::get<0>(out)), stream);
          });
        });
  });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "lookahead_loss(Tensor lower_targets, Tensor? lower_source, Tensor? lower_imputations, Tensor upper_targets, "
      "Tensor? upper_source, Tensor user_factors, Tensor item_factors, Tensor? user_bias, Tensor? item_bias, "
      "Tensor lower_users, Tensor lower_items, Tensor? observed, Tensor upper_users, Tensor upper_items, "
      "Tensor? user_exp_avg, Tensor? item_exp_avg, Tensor? user_bias_exp_avg, Tensor? item_bias_exp_avg, "
      "Tensor? user_exp_avg_sq, Tensor? item_exp_avg_sq, Tensor? user_bias_exp_avg_sq, Tensor? item_bias_exp_avg_sq, "
      "str lower_loss, str lower_kind, float? lower_clip_min, float? lower_floor, str lower_reduction, "
      "float missing_scale, str upper_loss, str upper_kind, float? upper_clip_min, float? upper_floor, "
      "str upper_reduction, float lr, float l2, int step, float beta1, float beta2, float eps, bool validate, "
      "int needs) -> (Tensor loss, Tensor grad_lower_targets, Tensor grad_lower_source, Tensor grad_lower_imputations, "
      "Tensor grad_upper_targets, Tensor grad_upper_source)");
}

DEBIAS_IMPLEMENT(m) { m.impl("lookahead_loss", TORCH_BOX(&debias::lookahead_loss)); }
