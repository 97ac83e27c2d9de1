// Fixed blocks in torch's thread pool: what a block computes never depends on the thread that runs it,
// so results are bitwise the same for every thread count.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <vector>

namespace debias {

inline int64_t block_count(int64_t n, int64_t block) { return (n + block - 1) / block; }

// f(block, begin, end) for each block of `block` consecutive rows; small inputs stay on the calling thread.
template <class F>
void parallel_blocks(int64_t n, int64_t block, int64_t serial_below, const F& f) {
  const int64_t blocks = block_count(n, block);
  const auto run = [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) f(b, b * block, b * block + block < n ? b * block + block : n);
  };
  if (n <= serial_below || blocks <= 1) return run(0, blocks);
  torch::stable::parallel_for(0, blocks, 1, run);
}

}  // namespace debias
