// Device memory that lives as long as the object: the workspaces of one call, from torch.
#pragma once

#include <vector>

#include "common/arena.h"
#include "common/check.h"

namespace debias {

class DeviceMemory {
 public:
  explicit DeviceMemory(const Tensor& like) : like_(like) {}

  // What place(arena) takes, uninitialised: it is called to count the bytes, and again over so many.
  template <class F>
  void carve(const F& place) {
    Arena counted(nullptr);
    place(counted);
    Arena arena(output<char>(hold(torch::stable::new_empty(like_, {counted.used()}, ScalarType::Byte))));
    place(arena);
  }
  template <class V>
  V* zeros(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(V));
    return output<V>(hold(torch::stable::new_zeros(like_, {bytes}, ScalarType::Byte)));
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
  Tensor like_;
  std::vector<Tensor> held_;
};

}  // namespace debias
