// What both passes of the CPU kernels share: blocks of samples, and indices that are checked block by block.
#pragma once

#include <algorithm>
#include <atomic>
#include <limits>

#include "additive_weights/additive_weights_kernels.h"
#include "common/index_check.h"

namespace debias {

constexpr int64_t kAdditiveBlock = 4096;         // samples of one task
constexpr int64_t kAdditiveSerialBelow = 16384;  // samples that a second thread does not pay for

// Vectorised; and exactly, where a table has more rows than the index type has numbers.
template <class Index>
bool any_out_of_range(const Index* indices, int64_t rows, int64_t begin, int64_t end) {
  int outside = 0;
  const auto limit = static_cast<Index>(std::min<int64_t>(rows, std::numeric_limits<Index>::max()));
  simd_run<OutOfRange<Index>>(indices, begin, end, limit, &outside);
  return outside && std::any_of(indices + begin, indices + end,
                                [rows](Index index) { return index < 0 || static_cast<int64_t>(index) >= rows; });
}

// The first side that a task found an index out of range in; tasks may ask at the same time.
class BadSide {
 public:
  void found(int side) {
    int seen = side_.load();
    while (side < seen && !side_.compare_exchange_weak(seen, side)) {
    }
  }
  int get() const { return side_ == kAdditiveSides ? -1 : side_.load(); }

 private:
  std::atomic<int> side_{kAdditiveSides};
};

}  // namespace debias
