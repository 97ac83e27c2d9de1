// The names that csrc/common/check.h mentions. The kernels never make a tensor.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace torch::headeronly {
enum class ScalarType { Byte, Char, Short, Int, Long, Half, Float, Double, Bool, BFloat16 };
}

namespace torch::stable {

struct Tensor {
  int64_t dim() const;
  int64_t size(int64_t axis) const;
  int64_t numel() const;
  std::vector<int64_t> sizes() const;
  bool is_cuda() const;
  int get_device_index() const;
  headeronly::ScalarType scalar_type() const;
  const void* const_data_ptr() const;
  void* mutable_data_ptr() const;
};

Tensor contiguous(const Tensor&);
Tensor new_empty(const Tensor&, std::vector<int64_t>);

}  // namespace torch::stable
