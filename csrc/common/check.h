// Input contracts. A failed check throws before anything is written:
// std::invalid_argument becomes ValueError in Python, std::out_of_range IndexError.
// Never throw inside parallel_for: record the first bad position and throw after the join.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>

namespace debias {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}

template <class... Parts>
[[noreturn]] void value_error(const Parts&... parts) {
  throw std::invalid_argument(message(parts...));
}

template <class... Parts>
[[noreturn]] void index_error(const Parts&... parts) {
  throw std::out_of_range(message(parts...));
}

inline void check_finite(const char* name, double value) {
  if (!std::isfinite(value)) value_error(name, " must be finite, got ", value);
}

inline const char* dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    case ScalarType::Short: return "int16";
    case ScalarType::Char: return "int8";
    case ScalarType::Byte: return "uint8";
    case ScalarType::Bool: return "bool";
    default: return "another dtype";
  }
}

inline std::string shape_of(const Tensor& tensor) {
  std::ostringstream stream;
  stream << '[';
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) stream << (axis ? ", " : "") << tensor.size(axis);
  stream << ']';
  return stream.str();
}

inline bool same_shape(const Tensor& a, const Tensor& b) {
  if (a.dim() != b.dim()) return false;
  for (int64_t axis = 0; axis < a.dim(); ++axis)
    if (a.size(axis) != b.size(axis)) return false;
  return true;
}

inline void check_dim(const char* name, const Tensor& tensor, int64_t dim) {
  if (tensor.dim() != dim) value_error(name, " must have ", dim, " dimension(s), got shape ", shape_of(tensor));
}

inline void check_shape(const char* name, const Tensor& tensor, std::initializer_list<int64_t> expected) {
  bool equal = tensor.dim() == static_cast<int64_t>(expected.size());
  int64_t axis = 0;
  std::ostringstream wanted;
  for (int64_t size : expected) {
    wanted << (axis ? ", " : "") << size;
    if (equal && tensor.size(axis) != size) equal = false;
    ++axis;
  }
  if (!equal) value_error(name, " must have shape [", wanted.str(), "], got ", shape_of(tensor));
}

inline void check_same_shape(const char* name, const Tensor& tensor, const char* like_name, const Tensor& like) {
  if (!same_shape(tensor, like))
    value_error(name, " must have the shape of ", like_name, ", ", shape_of(like), ", got ", shape_of(tensor));
}

inline bool runs_cuda_kernels(const Tensor& tensor) {
#ifdef DEBIAS_CUDA_EMULATION
  (void)tensor;
  return true;
#else
  return tensor.is_cuda();
#endif
}

// CPU kernels take float32 and float64, CUDA kernels the half types as well.
inline void check_float(const char* name, const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  if (type == ScalarType::Float || type == ScalarType::Double) return;
  const bool half = type == ScalarType::Half || type == ScalarType::BFloat16;
  if (half && runs_cuda_kernels(tensor)) return;
  value_error(name, " must be float32", runs_cuda_kernels(tensor) ? ", float64, float16 or bfloat16" : " or float64",
              ", got ", dtype_name(type));
}

inline void check_same_dtype(const char* name, const Tensor& tensor, const char* like_name, const Tensor& like) {
  if (tensor.scalar_type() != like.scalar_type())
    value_error(name, " must have the dtype of ", like_name, ", ", dtype_name(like.scalar_type()), ", got ",
                dtype_name(tensor.scalar_type()));
}

inline void check_same_device(const char* name, const Tensor& tensor, const char* like_name, const Tensor& like) {
  if (tensor.is_cuda() != like.is_cuda() || tensor.get_device_index() != like.get_device_index())
    value_error(name, " must be on the device of ", like_name, ", ", like.is_cuda() ? "cuda" : "cpu", ", got ",
                tensor.is_cuda() ? "cuda" : "cpu", tensor.is_cuda() ? message(":", tensor.get_device_index()) : "");
}

inline void check_index(const char* name, const Tensor& tensor) {
  const ScalarType type = tensor.scalar_type();
  if (type != ScalarType::Int && type != ScalarType::Long)
    value_error(name, " must be int32 or int64, got ", dtype_name(type));
}

// A float argument that goes row by row with `like`: same shape, dtype and device.
inline void check_like(const char* name, const Tensor& tensor, const char* like_name, const Tensor& like) {
  check_same_device(name, tensor, like_name, like);
  check_same_dtype(name, tensor, like_name, like);
  check_same_shape(name, tensor, like_name, like);
}

inline std::optional<Tensor> contiguous(const std::optional<Tensor>& tensor) {
  if (!tensor) return std::nullopt;
  return torch::stable::contiguous(*tensor);
}

template <class T>
const T* pointer(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <class T>
const T* pointer(const std::optional<Tensor>& tensor) {
  return tensor ? pointer<T>(*tensor) : nullptr;
}

// Null for the empty tensor that stands for an output nobody asked for.
template <class T>
T* output(const Tensor& tensor) {
  return tensor.numel() == 0 ? nullptr : static_cast<T*>(tensor.mutable_data_ptr());
}

// Outputs that were not asked for come back with no elements.
inline Tensor empty_if(bool wanted, const Tensor& like) {
  if (wanted) return torch::stable::new_empty(like, like.sizes());
  return torch::stable::new_empty(like, {0});
}

}  // namespace debias
