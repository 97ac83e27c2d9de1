// Device memory that lives as long as the object: the workspaces of one call, from torch.
#pragma once

#include <type_traits>
#include <vector>

#include "common/check.h"

namespace debias {

class DeviceMemory {
 public:
  explicit DeviceMemory(const Tensor& like) : like_(like) {}

  // Uninitialised; of int64_t, float or double.
  template <class V>
  V* take(int64_t count) {
    return output<V>(hold(torch::stable::new_empty(like_, {count}, scalar_type<V>())));
  }
  template <class V>
  V* zeros(int64_t count) {
    return output<V>(hold(torch::stable::new_zeros(like_, {count}, scalar_type<V>())));
  }
  const Tensor& hold(const Tensor& tensor) {
    held_.push_back(tensor);
    return held_.back();
  }
  template <class V>
  const V* keep(const Tensor& tensor) {
    return pointer<V>(hold(tensor));
  }

 private:
  template <class V>
  static ScalarType scalar_type() {
    if (std::is_same_v<V, int64_t>) return ScalarType::Long;
    return std::is_same_v<V, double> ? ScalarType::Double : ScalarType::Float;
  }

  Tensor like_;
  std::vector<Tensor> held_;
};

}  // namespace debias
