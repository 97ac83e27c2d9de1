// The second-order term of a factorisation machine (Rendle 2010).
#include <torch/csrc/stable/library.h>

#include "common/dispatch.h"
#include "fm_interaction/fm_kernels.h"

namespace debias {
namespace {

template <class T>
FMArgs<T> args_of(const Tensor& fields) {
  return {pointer<T>(fields), fields.size(0), fields.size(1), fields.size(2)};
}

void check_fields(const Tensor& fields) {
  check_dim("fields", fields, 3);
  check_float("fields", fields);
}

Tensor fm_interaction(const Tensor& fields) {
  check_fields(fields);
  const Tensor e = torch::stable::contiguous(fields), out = torch::stable::new_empty(e, {fields.size(0)});
  on_device_of(
      out,
      [&] {
        dispatch_float(e.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cpu::fm_interaction(args_of<T>(e), output<T>(out));
        });
      },
      [&](void* stream) {
        dispatch_storage(e.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::fm_interaction(args_of<T>(e), output<T>(out), stream);
        });
      });
  return out;
}

Tensor fm_interaction_backward(const Tensor& grad, const Tensor& fields) {
  check_fields(fields);
  check_same_device("grad", grad, "fields", fields);
  check_same_dtype("grad", grad, "fields", fields);
  check_shape("grad", grad, {fields.size(0)});
  const Tensor e = torch::stable::contiguous(fields), g = torch::stable::contiguous(grad), out = empty_if(true, e);
  on_device_of(
      out,
      [&] {
        dispatch_float(e.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cpu::fm_interaction_backward(args_of<T>(e), pointer<T>(g), output<T>(out));
        });
      },
      [&](void* stream) {
        dispatch_storage(e.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::fm_interaction_backward(args_of<T>(e), pointer<T>(g), output<T>(out), stream);
        });
      });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def("fm_interaction(Tensor fields) -> Tensor");
  m.def("fm_interaction_backward(Tensor grad, Tensor fields) -> Tensor");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("fm_interaction", TORCH_BOX(&debias::fm_interaction));
  m.impl("fm_interaction_backward", TORCH_BOX(&debias::fm_interaction_backward));
}
