// Explicit vectors of the CPU kernels; simd_run_vectors() gives their length.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/hostdevice.h"

namespace debias {

template <class T, int Bytes>
struct Vector {
  typedef T type __attribute__((vector_size(Bytes)));
  static constexpr int64_t lanes = Bytes / static_cast<int64_t>(sizeof(T));
};

template <class V, class T>
DEBIAS_HD void load(V& v, const T* from) {
  memcpy(&v, from, sizeof v);
}

template <class V, class T>
DEBIAS_HD void store(T* to, const V& v) {
  memcpy(to, &v, sizeof v);
}

// The sum of the lanes, halves first.
template <class T, class V>
DEBIAS_HD T lanes_sum(const V& v) {
  if constexpr (sizeof(V) == sizeof(T)) {
    return v[0];
  } else {
    using Half = typename Vector<T, sizeof(V) / 2>::type;
    Half halves[2];
    memcpy(&halves, &v, sizeof v);
    halves[0] += halves[1];
    return lanes_sum<T>(halves[0]);
  }
}

}  // namespace debias
