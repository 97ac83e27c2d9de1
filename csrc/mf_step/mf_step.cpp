// Fused training steps of a factor model, in place: one batch, or the batches of an epoch.
#include <torch/csrc/stable/library.h>

#include "common/dispatch.h"
#include "mf_step/device_steps.h"
#include "mf_step/epoch_order.h"
#include "mf_step/mf_step_inputs.h"

namespace debias {
namespace {

using Optional = std::optional<Tensor>;

void check_order(const Tensor& order, const Tensor& users, bool validate) {
  check_dim("order", order, 1);
  if (order.scalar_type() != ScalarType::Long)
    value_error("order must be int64, got ", dtype_name(order.scalar_type()));
  check_same_device("order", order, "users", users);
  check_same_shape("order", order, "users", users);
  if (validate) check_table_indices("order", order, users.numel());
}

// The sum of the losses of every sample visited, before the update of its batch.
Tensor run(const StepTensors& in, const StepOptions& options, const EpochPlan& plan) {
  const Tensor loss = torch::stable::new_empty(in.user_factors, {}, ScalarType::Double);
  double* const total = output<double>(loss);
  on_device_of(
      in.user_factors,
      [&] {
        dispatch_float(in.user_factors.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          dispatch_index(in.users.scalar_type(), [&](auto index) {
            using Index = typename decltype(index)::type;
            *total = cpu::mf_steps(model_of<T>(in), samples_of<T, Index>(in), plan, options);
          });
        });
      },
      [&](void* stream) {
        dispatch_storage(in.user_factors.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          dispatch_index(in.users.scalar_type(), [&](auto index) {
            using Index = typename decltype(index)::type;
            device_steps(model_of<T>(in), samples_of<T, Index>(in), in.user_factors, plan, options, total, stream);
          });
        });
      });
  return loss;
}

// The batches [start, stop) of an epoch in the given order; without an order all samples are one batch.
EpochPlan checked_plan(const Optional& order, int64_t batch_size, int64_t start, int64_t stop, const Tensor& users,
                       bool validate) {
  const int64_t n = users.numel();
  if (!order) return {nullptr, std::max<int64_t>(1, n), 0, 1};
  check_order(*order, users, validate);
  if (batch_size < 1) value_error("batch_size must be at least 1, got ", batch_size);
  const int64_t batches = n / batch_size + (n % batch_size != 0);
  if (start < 0 || stop < start || stop > batches)
    value_error("start and stop must satisfy 0 <= start <= stop <= ", batches, ", got ", start, " and ", stop);
  return {pointer<int64_t>(*order), batch_size, start, stop};
}

// One batch is always validated on the CPU; an epoch as asked, since its later slices need not be validated again.
Tensor mf_steps_(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users, const Tensor& items,
                 const Tensor& targets, const Optional& weights, const Optional& user_bias, const Optional& item_bias,
                 const Optional& exposures, const Optional& pseudo_targets, const Optional& user_first,
                 const Optional& user_second, const Optional& item_first, const Optional& item_second,
                 const Optional& user_bias_first, const Optional& user_bias_second, const Optional& item_bias_first,
                 const Optional& item_bias_second, const std::string& loss, const std::string& reduction, double offset,
                 const std::string& optimizer, double lr, double beta1, double beta2, double eps, int64_t step,
                 double l2, bool all_rows, bool decay_bias, bool validate, const Optional& order, int64_t batch_size,
                 int64_t start, int64_t stop) {
  const bool checks = validate || (!order && !runs_cuda_kernels(users));
  const RowLossKind kind = checked_kind(loss, exposures.has_value(), pseudo_targets.has_value());
  const StepTensors in = checked({user_factors,
                                  item_factors,
                                  users,
                                  items,
                                  targets,
                                  weights,
                                  exposures,
                                  pseudo_targets,
                                  user_bias,
                                  item_bias,
                                  {user_first, user_second, user_bias_first, user_bias_second},
                                  {item_first, item_second, item_bias_first, item_bias_second}},
                                 optimizer_kind(optimizer), kind, checks);
  const StepOptions options = step_options(
      kind, reduction, offset, {optimizer_kind(optimizer), lr, beta1, beta2, eps, step}, l2, all_rows, decay_bias);
  const Optional visited = contiguous(order);
  return run(in, options, checked_plan(visited, batch_size, start, stop, users, checks));
}

// A CPU tensor: `like` gives the device where torch dispatches.
Tensor mf_epoch_order(const Tensor& like, int64_t n, int64_t seed, int64_t epoch) {
  if (n < 0) value_error("n must not be negative, got ", n);
  const Tensor order = torch::stable::new_empty(like, {n}, ScalarType::Long);
  if (n > 0) epoch_order(n, static_cast<uint64_t>(seed), static_cast<uint64_t>(epoch), output<int64_t>(order));
  return order;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "mf_steps_(Tensor(a!) user_factors, Tensor(b!) item_factors, Tensor users, Tensor items, Tensor targets, "
      "Tensor? weights, Tensor(c!)? user_bias, Tensor(d!)? item_bias, Tensor? exposures, Tensor? pseudo_targets, "
      "Tensor(e!)? user_first, Tensor(f!)? user_second, Tensor(g!)? item_first, Tensor(h!)? item_second, "
      "Tensor(i!)? user_bias_first, Tensor(j!)? user_bias_second, Tensor(k!)? item_bias_first, "
      "Tensor(l!)? item_bias_second, str loss, str reduction, float offset, str optimizer, float lr, float beta1, "
      "float beta2, float eps, int step, float l2, bool all_rows, bool decay_bias, bool validate, Tensor? order, "
      "int batch_size, int start, int stop) -> Tensor");
  m.def("mf_epoch_order(Tensor like, int n, int seed, int epoch) -> Tensor");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("mf_steps_", TORCH_BOX(&debias::mf_steps_));
  m.impl("mf_epoch_order", TORCH_BOX(&debias::mf_epoch_order));
}
