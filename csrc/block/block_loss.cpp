// Losses over all pairs of a user block and an item block, and over the rated ones among them.
#include <torch/csrc/stable/library.h>

#include <cmath>
#include <tuple>
#include <utility>

#include "block/block_inputs.h"
#include "common/torch_ops.h"

namespace debias {
namespace {

using MaybeTensor = std::optional<Tensor>;

// on_cpu(type) returns the loss of that float type; on_cuda(type, stream) writes it.
template <class OnCpu, class OnCuda>
void run_block(const BlockOutputs& out, OnCpu&& on_cpu, OnCuda&& on_cuda) {
  on_device_of(
      out.loss,
      [&] {
        dispatch_float(out.loss.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          *output<T>(out.loss) = static_cast<T>(on_cpu(type));
        });
      },
      [&](void* stream) { dispatch_storage(out.loss.scalar_type(), [&](auto type) { on_cuda(type, stream); }); });
}

Tensor device_bytes(const BlockInputs& in, int64_t bytes) {
  return torch::stable::new_empty(in.student.user_factors, {bytes}, ScalarType::Byte);
}

void* address(const Tensor& memory) { return memory.numel() ? memory.mutable_data_ptr() : nullptr; }

// The rated pairs by item, for the kernels of CUDA that sum over an item's pairs.
struct ItemPlaces {
  ItemPlaces(const BlockInputs& in, void* stream) {
    const int64_t n = in.student.item_factors.size(0);
    const auto [sorted, positions] = sort(*in.places.columns);
    order = positions;
    offsets = torch::stable::new_empty(in.rated.rows, {n + 1}, ScalarType::Long);
    cuda::item_offsets(pointer<int64_t>(sorted), sorted.numel(), n, output<int64_t>(*offsets), stream);
  }
  cuda::ItemOrder pointers() const { return {pointer<int64_t>(offsets), pointer<int64_t>(order)}; }
  std::optional<Tensor> offsets, order;
};

Tensor gram_memory(const BlockInputs& in, int64_t imputation_factors) {
  const Tensor& users = in.student.user_factors;
  return device_bytes(in, cuda::block_gram_workspace(users.size(0), in.student.item_factors.size(0),
                                                     in.rated.rows.numel(), users.size(1), imputation_factors));
}

template <class T>
void tiles_on_cuda(const BlockInputs& in, const BlockOutputs& out, const TileArgs<T>& target, void* stream) {
  const Tensor& users = in.student.user_factors;
  const Tensor memory =
      device_bytes(in, cuda::block_tiles_workspace(users.size(0), in.student.item_factors.size(0), users.size(1)));
  cuda::block_tiles(arguments<T>(in, out), target, address(memory), output<T>(out.loss), stream);
}

template <size_t... k>
auto tuple_of(const BlockOutputs& out, std::index_sequence<k...>) {
  return std::make_tuple(out.loss, out.gradients[k]...);
}

// (loss, gradients ...)
template <int count>
auto results(const BlockOutputs& out) {
  return tuple_of(out, std::make_index_sequence<count>{});
}
using SharedResults = decltype(results<kSharedGradients>(std::declval<BlockOutputs>()));
using ConstantResults = decltype(results<kConstantGradients>(std::declval<BlockOutputs>()));

struct ConstantTensors {
  MaybeTensor value, user_weight, item_weight, rated_weights, rated_values;
};

ConstantTensors checked_constant(const ConstantTensors& target, bool replace, const BlockInputs& in) {
  const Tensor &users = in.student.user_factors, &items = in.student.item_factors;
  const auto check = [&](const char* name, const MaybeTensor& tensor, std::initializer_list<int64_t> shape) {
    if (!tensor) return;
    check_shape(name, *tensor, shape);
    check_same_dtype(name, *tensor, "user_factors", users);
    check_same_device(name, *tensor, "user_factors", users);
  };
  check("unobserved.value", target.value, {});
  check("unobserved.user_weight", target.user_weight, {users.size(0)});
  check("unobserved.item_weight", target.item_weight, {items.size(0)});
  check_like_pairs("unobserved.rated_weights", target.rated_weights, in.rated.targets);
  check_like_pairs("unobserved.rated_values", target.rated_values, in.rated.targets);
  if (target.rated_weights.has_value() != target.rated_values.has_value())
    value_error("unobserved.rated_weights and unobserved.rated_values must be given together, got ",
                target.rated_weights ? "rated_weights" : "rated_values", " alone");
  if (replace && target.rated_weights)
    value_error(
        "unobserved.rated_weights and unobserved.rated_values must be None where rated='replace' takes the rated pairs "
        "out");
  return {contiguous(target.value), contiguous(target.user_weight), contiguous(target.item_weight),
          contiguous(target.rated_weights), contiguous(target.rated_values)};
}

template <class T>
ConstantTargetArgs<T> arguments(const ConstantTensors& target, double value_number, bool replace,
                                const BlockOutputs& out) {
  return {pointer<T>(target.value),
          value_number,
          pointer<T>(target.user_weight),
          pointer<T>(target.item_weight),
          pointer<T>(target.rated_weights),
          pointer<T>(target.rated_values),
          replace,
          out.at<T>(kValue),
          out.at<T>(kUserWeight),
          out.at<T>(kItemWeight),
          out.at<T>(kRatedWeights),
          out.at<T>(kRatedValues)};
}

ConstantResults block_constant(const Tensor& user_factors, const Tensor& item_factors, const MaybeTensor& user_bias,
                               const MaybeTensor& item_bias, const Tensor& targets, const MaybeTensor& weights,
                               const MaybeTensor& value, const MaybeTensor& user_weight, const MaybeTensor& item_weight,
                               const MaybeTensor& rated_weights, const MaybeTensor& rated_values, const Tensor& rows,
                               const Tensor& columns, double value_number, bool replace, const std::string& reduction,
                               bool validate, int64_t needs) {
  const BlockInputs in = checked_block({user_factors, item_factors, user_bias, item_bias},
                                       {targets, weights, rows, columns}, reduction, validate);
  const ConstantTensors target =
      checked_constant({value, user_weight, item_weight, rated_weights, rated_values}, replace, in);
  BlockOutputs out(in, needs);
  for (const MaybeTensor& like :
       {target.value, target.user_weight, target.item_weight, target.rated_weights, target.rated_values})
    out.add(like);
  run_block(
      out,
      [&](auto type) {
        using T = typename decltype(type)::type;
        return cpu::block_constant(arguments<T>(in, out), arguments<T>(target, value_number, replace, out));
      },
      [&](auto type, void* stream) {
        using T = typename decltype(type)::type;
        const ItemPlaces items(in, stream);
        const Tensor memory = gram_memory(in, 0);
        cuda::block_constant(arguments<T>(in, out), arguments<T>(target, value_number, replace, out), items.pointers(),
                             address(memory), output<T>(out.loss), stream);
      });
  return results<kConstantGradients>(out);
}

SharedResults block_imputation(const Tensor& user_factors, const Tensor& item_factors, const MaybeTensor& user_bias,
                               const MaybeTensor& item_bias, const Tensor& targets, const MaybeTensor& weights,
                               const Tensor& rows, const Tensor& columns, const Tensor& imputation_user_factors,
                               const Tensor& imputation_item_factors, const MaybeTensor& imputation_user_bias,
                               const MaybeTensor& imputation_item_bias, bool labels, const std::string& reduction,
                               bool validate, int64_t needs) {
  const BlockInputs in = checked_block({user_factors, item_factors, user_bias, item_bias},
                                       {targets, weights, rows, columns}, reduction, validate);
  const TableTensors imputation =
      checked_tables("unobserved.imputation.",
                     {imputation_user_factors, imputation_item_factors, imputation_user_bias, imputation_item_bias},
                     user_factors, item_factors);
  const BlockOutputs out(in, needs);
  const auto tiles = [&](auto type) {
    using T = typename decltype(type)::type;
    return TileArgs<T>{TileKind::label, {pointers<T>(imputation), {}}, 0.0, 0.0, 0.0};
  };
  run_block(
      out,
      [&](auto type) {
        using T = typename decltype(type)::type;
        const BlockArgs<T> args = arguments<T>(in, out);
        return labels ? cpu::block_tiles(args, tiles(type)) : cpu::block_residual(args, pointers<T>(imputation));
      },
      [&](auto type, void* stream) {
        using T = typename decltype(type)::type;
        if (labels) return tiles_on_cuda(in, out, tiles(type), stream);
        const ItemPlaces items(in, stream);
        const Tensor memory = gram_memory(in, imputation.user_factors.size(1));
        cuda::block_residual(arguments<T>(in, out), pointers<T>(imputation), items.pointers(), address(memory),
                             output<T>(out.loss), stream);
      });
  return results<kSharedGradients>(out);
}

TileKind interd_kind(const std::string& variant, bool detach_target) {
  if (variant == "soft") return detach_target ? TileKind::interd_soft : TileKind::interd_attached;
  if (variant == "hard") return TileKind::interd_hard;  // the coefficients are constant but for jumps
  if (variant == "zero") return TileKind::interd_zero;
  value_error("unobserved.variant must be 'soft', 'hard' or 'zero', got '", variant, "'");
}

SharedResults block_interd(const Tensor& user_factors, const Tensor& item_factors, const MaybeTensor& user_bias,
                           const MaybeTensor& item_bias, const Tensor& targets, const MaybeTensor& weights,
                           const Tensor& rows, const Tensor& columns, const Tensor& biased_user_factors,
                           const Tensor& biased_item_factors, const MaybeTensor& biased_user_bias,
                           const MaybeTensor& biased_item_bias, const Tensor& debiased_user_factors,
                           const Tensor& debiased_item_factors, const MaybeTensor& debiased_user_bias,
                           const MaybeTensor& debiased_item_bias, double gamma, double beta, const std::string& variant,
                           bool detach_target, const std::string& reduction, bool validate, int64_t needs) {
  const TileKind kind = interd_kind(variant, detach_target);
  check_finite("unobserved.gamma", gamma);
  check_finite("unobserved.beta", beta);
  const BlockInputs in = checked_block({user_factors, item_factors, user_bias, item_bias},
                                       {targets, weights, rows, columns}, reduction, validate);
  const TableTensors biased = checked_tables(
      "unobserved.biased.", {biased_user_factors, biased_item_factors, biased_user_bias, biased_item_bias},
      user_factors, item_factors);
  const TableTensors debiased = checked_tables(
      "unobserved.debiased.", {debiased_user_factors, debiased_item_factors, debiased_user_bias, debiased_item_bias},
      user_factors, item_factors);
  const BlockOutputs out(in, needs);
  const auto tiles = [&](auto type) {
    using T = typename decltype(type)::type;
    const double epsilon = sizeof(T) == 8 ? 1e-12 : 1e-8;
    return TileArgs<T>{kind, {pointers<T>(biased), pointers<T>(debiased)}, gamma, beta, epsilon};
  };
  run_block(
      out,
      [&](auto type) {
        using T = typename decltype(type)::type;
        return cpu::block_tiles(arguments<T>(in, out), tiles(type));
      },
      [&](auto type, void* stream) { tiles_on_cuda(in, out, tiles(type), stream); });
  return results<kSharedGradients>(out);
}

}  // namespace
}  // namespace debias

#define DEBIAS_BLOCK_GRADIENTS                                                                \
  "(Tensor loss, Tensor grad_user_factors, Tensor grad_item_factors, Tensor grad_user_bias, " \
  "Tensor grad_item_bias, Tensor grad_targets, Tensor grad_weights"

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "block_constant(Tensor user_factors, Tensor item_factors, Tensor? user_bias, Tensor? item_bias, Tensor targets, "
      "Tensor? weights, Tensor? value, Tensor? user_weight, Tensor? item_weight, Tensor? rated_weights, "
      "Tensor? rated_values, Tensor rows, Tensor columns, float value_number, bool replace, str reduction, "
      "bool validate, int needs) -> " DEBIAS_BLOCK_GRADIENTS
      ", Tensor grad_value, Tensor grad_user_weight, "
      "Tensor grad_item_weight, Tensor grad_rated_weights, Tensor grad_rated_values)");
  m.def(
      "block_imputation(Tensor user_factors, Tensor item_factors, Tensor? user_bias, Tensor? item_bias, "
      "Tensor targets, Tensor? weights, Tensor rows, Tensor columns, Tensor imputation_user_factors, "
      "Tensor imputation_item_factors, Tensor? imputation_user_bias, Tensor? imputation_item_bias, bool labels, "
      "str reduction, bool validate, int needs) -> " DEBIAS_BLOCK_GRADIENTS ")");
  m.def(
      "block_interd(Tensor user_factors, Tensor item_factors, Tensor? user_bias, Tensor? item_bias, Tensor targets, "
      "Tensor? weights, Tensor rows, Tensor columns, Tensor biased_user_factors, Tensor biased_item_factors, "
      "Tensor? biased_user_bias, Tensor? biased_item_bias, Tensor debiased_user_factors, "
      "Tensor debiased_item_factors, Tensor? debiased_user_bias, Tensor? debiased_item_bias, float gamma, float beta, "
      "str variant, bool detach_target, str reduction, bool validate, int needs) -> " DEBIAS_BLOCK_GRADIENTS ")");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("block_constant", TORCH_BOX(&debias::block_constant));
  m.impl("block_imputation", TORCH_BOX(&debias::block_imputation));
  m.impl("block_interd", TORCH_BOX(&debias::block_interd));
}
