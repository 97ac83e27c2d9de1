// The front-door aggregate: attention over teachers of the mean, over the context rows, of a one-hidden-layer head.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "common/dispatch.h"
#include "common/torch_ops.h"
#include "frontdoor/frontdoor_kernels.h"
#include "mf_score/score_inputs.h"

namespace debias {
namespace {

struct Inputs {
  Tensor context, mediators, attention, weight, bias;
  std::optional<Tensor> context_index;  // int64
  bool logits, exclude_self;

  template <class T>
  FrontdoorArgs<T> args() const {
    return {pointer<T>(context),
            pointer<T>(mediators),
            pointer<T>(attention),
            pointer<T>(weight),
            pointer<T>(bias),
            pointer<int64_t>(context_index),
            logits,
            exclude_self,
            context.size(0),
            mediators.size(0),
            mediators.size(1),
            context.size(1)};
  }
};

void check_float_like(const char* name, const Tensor& tensor, const Tensor& context) {
  check_same_device(name, tensor, "context", context);
  check_same_dtype(name, tensor, "context", context);
}

void check_shapes(const Tensor& context, const Tensor& mediators, const Tensor& attention, const Tensor& weight,
                  const Tensor& bias, bool logits) {
  const char* attention_name = logits ? "attention_logits" : "attention";
  check_dim("context", context, 2);
  check_float("context", context);
  check_dim("mediators", mediators, 3);
  check_float_like("mediators", mediators, context);
  const int64_t h = context.size(1);
  if (mediators.size(2) != h)
    value_error("mediators must have as many columns as context, ", h, ", got shape ", shape_of(mediators));
  check_float_like(attention_name, attention, context);
  check_shape(attention_name, attention, {mediators.size(0), mediators.size(1)});
  check_float_like("weight of head", weight, context);
  check_shape("weight of head", weight, {h});
  check_float_like("bias of head", bias, context);
  check_shape("bias of head", bias, {1});
}

Tensor workspace(const Tensor& like, int64_t numbers) {
  return torch::stable::new_empty(like, {numbers}, ScalarType::Long);
}

// int64, in range; the kernels compare these numbers with samples and never use them as positions.
std::optional<Tensor> checked_index(const std::optional<Tensor>& index, const Tensor& context, int64_t n_samples,
                                    bool exclude_self, bool validate) {
  if (!index) {
    if (exclude_self && context.size(0) != n_samples)
      value_error("context must have one row for each of the ", n_samples,
                  " samples when exclude_self is True and there is no context_index, got shape ", shape_of(context));
    return std::nullopt;
  }
  if (!exclude_self) value_error("context_index is of use with exclude_self=True only, got exclude_self=False");
  check_same_device("context_index", *index, "context", context);
  check_index("context_index", *index);
  check_shape("context_index", *index, {context.size(0)});
  const Tensor wide = torch::stable::contiguous(torch::stable::to(*index, ScalarType::Long));
  if (validate || !runs_cuda_kernels(wide)) check_table_indices("context_index", wide, n_samples);
  return wide;
}

Inputs checked(const Tensor& context, const Tensor& mediators, const Tensor& attention, const Tensor& weight,
               const Tensor& bias, bool logits, bool exclude_self, const std::optional<Tensor>& context_index,
               bool validate) {
  check_shapes(context, mediators, attention, weight, bias, logits);
  return {torch::stable::contiguous(context),
          torch::stable::contiguous(mediators),
          torch::stable::contiguous(attention),
          torch::stable::contiguous(weight),
          torch::stable::contiguous(bias),
          checked_index(context_index, context, mediators.size(0), exclude_self, validate),
          logits,
          exclude_self};
}

// Half types keep their means in float32.
ScalarType mean_type(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

std::tuple<Tensor, Tensor> frontdoor_aggregate(const Tensor& context, const Tensor& mediators, const Tensor& attention,
                                               const Tensor& weight, const Tensor& bias, bool logits, bool exclude_self,
                                               const std::optional<Tensor>& context_index, bool validate) {
  const Inputs in = checked(context, mediators, attention, weight, bias, logits, exclude_self, context_index, validate);
  const Tensor out = torch::stable::new_empty(in.context, {mediators.size(0)});
  const Tensor means = torch::stable::new_empty(in.context, {mediators.size(0), mediators.size(1)}, mean_type(context));
  on_device_of(
      out,
      [&] {
        dispatch_float(out.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cpu::frontdoor_aggregate(in.args<T>(), output<T>(out), output<T>(means));
        });
      },
      [&](void* stream) {
        dispatch_storage(out.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = in.args<T>();
          const Tensor space = workspace(in.context, cuda::frontdoor_workspace(args, false));
          cuda::frontdoor_aggregate(args, output<T>(out), output<accumulator_t<T>>(means), output<int64_t>(space),
                                    stream);
        });
      });
  return {out, means};
}

// Bits of `needs`, in the order of the differentiable arguments.
enum Need { kContext = 1, kMediators = 2, kAttention = 4, kWeight = 8, kBias = 16 };

using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Gradients frontdoor_aggregate_backward(const Tensor& grad, const Tensor& means, const Tensor& context,
                                       const Tensor& mediators, const Tensor& attention, const Tensor& weight,
                                       const Tensor& bias, bool logits, bool exclude_self,
                                       const std::optional<Tensor>& context_index, int64_t needs) {
  // The forward validated the indices; the CPU looks again, since this operator can be called by itself.
  const Inputs in = checked(context, mediators, attention, weight, bias, logits, exclude_self, context_index, false);
  check_float_like("grad", grad, context);
  check_shape("grad", grad, {mediators.size(0)});
  check_same_device("means", means, "context", context);
  check_shape("means", means, {mediators.size(0), mediators.size(1)});
  if (means.scalar_type() != mean_type(context))
    value_error("means must be ", dtype_name(mean_type(context)), ", got ", dtype_name(means.scalar_type()));
  const Tensor g = torch::stable::contiguous(grad), mean = torch::stable::contiguous(means);
  const Gradients out{empty_if(needs & kContext, in.context), empty_if(needs & kMediators, in.mediators),
                      empty_if(needs & kAttention, in.attention), empty_if(needs & kWeight, in.weight),
                      empty_if(needs & kBias, in.bias)};
  const auto gradients = [&](auto type) {
    using T = typename decltype(type)::type;
    return FrontdoorGradients<T>{output<T>(std::get<0>(out)), output<T>(std::get<1>(out)), output<T>(std::get<2>(out)),
                                 output<T>(std::get<3>(out)), output<T>(std::get<4>(out))};
  };
  on_device_of(
      g,
      [&] {
        dispatch_float(g.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cpu::frontdoor_backward(in.args<T>(), pointer<T>(g), pointer<T>(mean), gradients(type));
        });
      },
      [&](void* stream) {
        dispatch_storage(g.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = in.args<T>();
          const Tensor space = workspace(in.context, cuda::frontdoor_workspace(args, true));
          cuda::frontdoor_backward(args, pointer<T>(g), pointer<accumulator_t<T>>(mean), gradients(type),
                                   output<int64_t>(space), stream);
        });
      });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "frontdoor_aggregate(Tensor context, Tensor mediators, Tensor attention, Tensor weight, Tensor bias, "
      "bool logits, bool exclude_self, Tensor? context_index, bool validate) -> (Tensor out, Tensor means)");
  m.def(
      "frontdoor_aggregate_backward(Tensor grad, Tensor means, Tensor context, Tensor mediators, Tensor attention, "
      "Tensor weight, Tensor bias, bool logits, bool exclude_self, Tensor? context_index, int needs) "
      "-> (Tensor grad_context, Tensor grad_mediators, Tensor grad_attention, Tensor grad_weight, Tensor grad_bias)");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("frontdoor_aggregate", TORCH_BOX(&debias::frontdoor_aggregate));
  m.impl("frontdoor_aggregate_backward", TORCH_BOX(&debias::frontdoor_aggregate_backward));
}
