// The upper loss after one assumed step on a block: its rated pairs, and all its pairs in the Gram form.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "lookahead/lookahead_block_device.h"
#include "lookahead/lookahead_inputs.h"

namespace debias {
namespace {

using Optional = std::optional<Tensor>;
using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

struct Block {
  Tensor users, items, user_weight, item_weight, value;
  Optional weights, imputations;
};

void check_block_float(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape,
                       const Tensor& user_factors) {
  check_same_dtype(name, tensor, "user_factors", user_factors);
  check_same_device(name, tensor, "user_factors", user_factors);
  check_shape(name, tensor, shape);
}

Block checked_block(const LookaheadTables& tables, const LookaheadRows& lower, const Tensor& users, const Tensor& items,
                    const Tensor& user_weight, const Tensor& item_weight, const Tensor& value, const Optional& weights,
                    const Optional& imputations) {
  check_dim("lower['block']['users']", users, 1);
  check_dim("lower['block']['items']", items, 1);
  check_same_dtype("lower['block']['users']", users, "lower['users']", lower.users);
  check_same_dtype("lower['block']['items']", items, "lower['users']", lower.users);
  check_same_device("lower['block']['users']", users, "user_factors", tables.user_factors);
  check_same_device("lower['block']['items']", items, "user_factors", tables.user_factors);
  check_block_float("lower['block']['user_weight']", user_weight, {users.numel()}, tables.user_factors);
  check_block_float("lower['block']['item_weight']", item_weight, {items.numel()}, tables.user_factors);
  check_block_float("lower['block']['value']", value, {}, tables.user_factors);
  if (weights.has_value() != imputations.has_value())
    value_error("lower['block'] must hold both of 'weights' and 'imputations', or none");
  if (weights) {
    check_block_float("lower['block']['weights']", *weights, {lower.targets.numel()}, tables.user_factors);
    check_block_float("lower['block']['imputations']", *imputations, {lower.targets.numel()}, tables.user_factors);
  }
  const auto flat = [](const Tensor& tensor) { return torch::stable::contiguous(tensor); };
  return {flat(users), flat(items),         flat(user_weight),      flat(item_weight),
          flat(value), contiguous(weights), contiguous(imputations)};
}

Tensor gradient_like(bool wanted, const Optional& like, const Tensor& dtype) {
  if (!wanted || !like) return torch::stable::new_empty(dtype, {0});
  return torch::stable::new_zeros(*like, like->sizes());
}

template <class T, class Index>
LookaheadBlockArgs<T, Index> arguments(const LookaheadTables& tables, const LookaheadRows& lower,
                                       const LookaheadRows& upper, const Block& block, const Outputs& out) {
  LookaheadBlockArgs<T, Index> args{};
  args.pairs = {tables.users<T>(),      tables.items<T>(), lower.args<T, Index>(),
                upper.args<T, Index>(), tables.step,       tables.user_factors.size(1)};
  args.users = pointer<Index>(block.users);
  args.items = pointer<Index>(block.items);
  args.user_weight = pointer<T>(block.user_weight);
  args.item_weight = pointer<T>(block.item_weight);
  args.value = pointer<T>(block.value);
  args.weights = pointer<T>(block.weights);
  args.imputations = pointer<T>(block.imputations);
  args.m = block.users.numel();
  args.n = block.items.numel();
  args.pairs.lower.grad_targets = output<T>(std::get<1>(out));
  args.pairs.lower.grad_source = output<T>(std::get<2>(out));
  args.grad_weights = output<T>(std::get<3>(out));
  args.grad_imputations = output<T>(std::get<4>(out));
  args.grad_user_weight = output<T>(std::get<5>(out));
  args.grad_item_weight = output<T>(std::get<6>(out));
  args.grad_value = output<T>(std::get<7>(out));
  args.pairs.upper.grad_targets = output<T>(std::get<8>(out));
  args.pairs.upper.grad_source = output<T>(std::get<9>(out));
  return args;
}

void check_faults(const BlockFaults& found) {
  for (int which = 0; which < 2; ++which) {
    const char* key = which == 0 ? "users" : "items";
    if (found.twice[which] >= 0)
      value_error("lower['block']['", key, "'] must be distinct, got the index at position ", found.twice[which],
                  " a second time");
    if (found.outside[which] >= 0)
      index_error("lower['", key, "'] must be in lower['block']['", key, "'], got another index at position ",
                  found.outside[which]);
  }
}

Outputs lookahead_block_loss(
    const Tensor& lower_targets, const Optional& lower_source, const Optional& weights, const Optional& imputations,
    const Tensor& user_weight, const Tensor& item_weight, const Tensor& value, const Tensor& upper_targets,
    const Optional& upper_source, const Tensor& user_factors, const Tensor& item_factors, const Optional& user_bias,
    const Optional& item_bias, const Tensor& lower_users, const Tensor& lower_items, const Tensor& upper_users,
    const Tensor& upper_items, const Tensor& block_users, const Tensor& block_items, const Optional& user_exp_avg,
    const Optional& item_exp_avg, const Optional& user_bias_exp_avg, const Optional& item_bias_exp_avg,
    const Optional& user_exp_avg_sq, const Optional& item_exp_avg_sq, const Optional& user_bias_exp_avg_sq,
    const Optional& item_bias_exp_avg_sq, const std::string& lower_loss, const std::string& lower_kind,
    std::optional<double> lower_clip_min, std::optional<double> lower_floor, const std::string& lower_reduction,
    const std::string& upper_loss, const std::string& upper_kind, std::optional<double> upper_clip_min,
    std::optional<double> upper_floor, const std::string& upper_reduction, double lr, double l2, int64_t step,
    double beta1, double beta2, double eps, bool validate, int64_t needs) {
  if (lower_loss != "mse" || lower_reduction != "sum")
    value_error("lower['block'] needs lower['loss'] 'mse' and lower['reduction'] 'sum', got '", lower_loss, "' and '",
                lower_reduction, "'");
  const LookaheadTables tables(user_factors, item_factors, user_bias, item_bias,
                               {user_exp_avg, item_exp_avg, user_bias_exp_avg, item_bias_exp_avg},
                               {user_exp_avg_sq, item_exp_avg_sq, user_bias_exp_avg_sq, item_bias_exp_avg_sq},
                               checked_step(lr, l2, step, beta1, beta2, eps));
  const LookaheadRows lower("lower", tables, lower_users, lower_items, lower_targets, lower_source, std::nullopt,
                            std::nullopt, checked_kind("lower", lower_loss, lower_kind, lower_clip_min, lower_floor),
                            lower_reduction, 1.0);
  const LookaheadRows upper("upper", tables, upper_users, upper_items, upper_targets, upper_source, std::nullopt,
                            std::nullopt, checked_kind("upper", upper_loss, upper_kind, upper_clip_min, upper_floor),
                            upper_reduction, 1.0);
  check_same_dtype("upper['users']", upper_users, "lower['users']", lower_users);
  const Block block =
      checked_block(tables, lower, block_users, block_items, user_weight, item_weight, value, weights, imputations);
  lower.check_values(tables, validate);
  upper.check_values(tables, validate);
  check_rows("lower['block']['users']", block.users, user_factors.size(0), validate);
  check_rows("lower['block']['items']", block.items, item_factors.size(0), validate);
  const auto gradient = [&](int bit, const Optional& like) {
    return gradient_like(needed(needs, bit), like, user_factors);
  };
  const Outputs out{torch::stable::new_empty(user_factors, {}),
                    gradient(0, lower.targets),
                    gradient(1, lower.source),
                    gradient(2, block.weights),
                    gradient(3, block.imputations),
                    gradient(4, block.user_weight),
                    gradient(5, block.item_weight),
                    gradient(6, block.value),
                    gradient(7, upper.targets),
                    gradient(8, upper.source)};
  dispatch_index(lower_users.scalar_type(), [&](auto index) {
    using Index = typename decltype(index)::type;
    on_device_of(
        user_factors,
        [&] {
          dispatch_float(user_factors.scalar_type(), [&](auto type) {
            using T = typename decltype(type)::type;
            write_scalar<T>(std::get<0>(out),
                            cpu::lookahead_block_loss(arguments<T, Index>(tables, lower, upper, block, out)));
          });
        },
        [&](void* stream) {
          dispatch_storage(user_factors.scalar_type(), [&](auto type) {
            using T = typename decltype(type)::type;
            const auto args = arguments<T, Index>(tables, lower, upper, block, out);
            LookaheadBlockDevice<T> device(args, upper.users, upper.items, block.users, block.items, stream);
            if (validate) check_faults(cuda::read_faults(device.block.faults, stream));
            device.sort_pairs();
            cuda::lookahead_block_loss(args, device.rows.work, device.block, output<T>(std::get<0>(out)), stream);
          });
        });
  });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "lookahead_block_loss(Tensor lower_targets, Tensor? lower_source, Tensor? weights, Tensor? imputations, "
      "Tensor user_weight, Tensor item_weight, Tensor value, Tensor upper_targets, Tensor? upper_source, "
      "Tensor user_factors, Tensor item_factors, Tensor? user_bias, Tensor? item_bias, Tensor lower_users, "
      "Tensor lower_items, Tensor upper_users, Tensor upper_items, Tensor block_users, Tensor block_items, "
      "Tensor? user_exp_avg, Tensor? item_exp_avg, Tensor? user_bias_exp_avg, Tensor? item_bias_exp_avg, "
      "Tensor? user_exp_avg_sq, Tensor? item_exp_avg_sq, Tensor? user_bias_exp_avg_sq, Tensor? item_bias_exp_avg_sq, "
      "str lower_loss, str lower_kind, float? lower_clip_min, float? lower_floor, str lower_reduction, "
      "str upper_loss, str upper_kind, float? upper_clip_min, float? upper_floor, str upper_reduction, float lr, "
      "float l2, int step, float beta1, float beta2, float eps, bool validate, int needs) -> (Tensor loss, "
      "Tensor grad_lower_targets, Tensor grad_lower_source, Tensor grad_weights, Tensor grad_imputations, "
      "Tensor grad_user_weight, Tensor grad_item_weight, Tensor grad_value, Tensor grad_upper_targets, "
      "Tensor grad_upper_source)");
}

DEBIAS_IMPLEMENT(m) { m.impl("lookahead_block_loss", TORCH_BOX(&debias::lookahead_block_loss)); }
