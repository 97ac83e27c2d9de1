// Memory of the CPU kernels of the block losses, and the 16 lanes that they compute in.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "block/block_kernels.h"

namespace debias {

constexpr int64_t kLanes = 16;  // one AVX-512 register of float, two of double

template <class T>
struct LanesOf {
  typedef T type __attribute__((vector_size(kLanes * sizeof(T)), aligned(alignof(T)), may_alias));
};
template <class T>
using Lanes = typename LanesOf<T>::type;

template <class T>
DEBIAS_HD const Lanes<T>& lanes(const T* at) {
  return *reinterpret_cast<const Lanes<T>*>(at);
}
template <class T>
DEBIAS_HD Lanes<T>& lanes(T* at) {
  return *reinterpret_cast<Lanes<T>*>(at);
}

DEBIAS_HD int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// On cache lines; starts uninitialised unless zeroed.
template <class T>
class Workspace {
 public:
  explicit Workspace(int64_t count) : data_(static_cast<T*>(std::malloc(bytes(count) + kAlign))) {
    if (!data_) throw std::bad_alloc();
    const auto address = reinterpret_cast<uintptr_t>(data_.get());
    begin_ = reinterpret_cast<T*>((address + kAlign - 1) / kAlign * kAlign);
  }
  Workspace(int64_t count, T value) : Workspace(count) { std::fill(begin_, begin_ + count, value); }
  T* data() const { return begin_; }

 private:
  static constexpr size_t kAlign = 64;
  static size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(T); }
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
  T* begin_;
};

// Users share the work in a fixed number of blocks, each with sums of its own for the items.
constexpr int64_t kUserBlocks = 16;

// [P[u], a[u], 1, 0 ...]
template <class T>
DEBIAS_HD void pack_user(const FactorTables<T>& tables, int64_t u, int64_t width, T* __restrict out) {
  const int64_t d = tables.d;
  const T* __restrict factors = tables.user_factors + u * d;
  for (int64_t f = 0; f < d; ++f) out[f] = factors[f];
  for (int64_t f = d; f < width; ++f) out[f] = 0;
  out[d] = tables.user_bias ? tables.user_bias[u] : T(0);
  out[d + 1] = T(1);
}

// [Q[i], 1, b[i], 0 ...]
template <class T>
DEBIAS_HD void pack_item(const FactorTables<T>& tables, int64_t i, int64_t width, int64_t stride, T* __restrict out) {
  const int64_t d = tables.d;
  const T* __restrict factors = tables.item_factors + i * d;
  for (int64_t f = 0; f < d; ++f) out[f * stride] = factors[f];
  for (int64_t f = d; f < width; ++f) out[f * stride] = 0;
  out[d * stride] = T(1);
  out[(d + 1) * stride] = tables.item_bias ? tables.item_bias[i] : T(0);
}

}  // namespace debias
