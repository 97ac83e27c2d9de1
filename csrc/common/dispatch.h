// From run-time dtypes and devices to typed kernels.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include "common/check.h"
#include "common/half.h"

// The emulated build registers the CUDA kernels for CPU tensors under a namespace of its own.
#ifdef DEBIAS_CUDA_EMULATION
#define DEBIAS_NAMESPACE debias_emulated
#else
#define DEBIAS_NAMESPACE debias_ext
#endif

// DEBIAS_IMPLEMENT(m) { m.impl(...); }: one implementation for the CPU and the CUDA key. It is registered for CUDA in
// a build without CUDA as well, so that on_device_of() can say what is missing.
#ifdef DEBIAS_CUDA_EMULATION
#define DEBIAS_IMPLEMENT(m) STABLE_TORCH_LIBRARY_IMPL(DEBIAS_NAMESPACE, CPU, m)
#else
#define DEBIAS_IMPLEMENT(m)                                                     \
  static void debias_implement(torch::stable::detail::StableLibrary&);          \
  STABLE_TORCH_LIBRARY_IMPL(DEBIAS_NAMESPACE, CPU, m) { debias_implement(m); }  \
  STABLE_TORCH_LIBRARY_IMPL(DEBIAS_NAMESPACE, CUDA, m) { debias_implement(m); } \
  static void debias_implement(torch::stable::detail::StableLibrary& m)
#endif

namespace debias {

template <class T>
struct Type {
  using type = T;
};

template <class F>
void dispatch_float(ScalarType scalar_type, F&& f) {
  if (scalar_type == ScalarType::Double) return f(Type<double>{});
  return f(Type<float>{});
}

// CUDA kernels: half types are storage, arithmetic is float32.
template <class F>
void dispatch_storage(ScalarType scalar_type, F&& f) {
  if (scalar_type == ScalarType::Half) return f(Type<Half>{});
  if (scalar_type == ScalarType::BFloat16) return f(Type<BFloat16>{});
  return dispatch_float(scalar_type, f);
}

template <class F>
void dispatch_index(ScalarType scalar_type, F&& f) {
  if (scalar_type == ScalarType::Int) return f(Type<int32_t>{});
  return f(Type<int64_t>{});
}

// Calls on_cpu() or on_cuda(stream) under a guard for the tensor's device.
template <class OnCpu, class OnCuda>
void on_device_of(const Tensor& tensor, OnCpu&& on_cpu, OnCuda&& on_cuda) {
#if defined(DEBIAS_CUDA_EMULATION)
  (void)tensor;
  (void)on_cpu;
  on_cuda(static_cast<void*>(nullptr));
#else
  if (!tensor.is_cuda()) return on_cpu();
#if defined(DEBIAS_WITH_CUDA)
  const auto index = tensor.get_device_index();
  torch::stable::accelerator::DeviceGuard guard(index);
  on_cuda(torch::stable::accelerator::getCurrentStream(index).nativeHandle());
#else
  (void)on_cuda;
  value_error("tensors on cuda were given, but this debias_ext was built without CUDA (", DEBIAS_NO_CUDA_REASON,
              "); rebuild with DEBIAS_CUDA=1, or move the tensors to the CPU");
#endif
#endif
}

}  // namespace debias
