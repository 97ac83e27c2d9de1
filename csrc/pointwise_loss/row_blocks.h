// What the CPU kernels of the row losses share: fixed blocks of rows, their partial sums, outputs on request.
#pragma once

#include <vector>

#include "common/parallel.h"
#include "common/simd.h"
#include "pointwise_loss/pointwise_loss_kernels.h"

namespace debias {
namespace row_blocks {

constexpr int64_t kBlock = 2048;         // rows of one partial sum
constexpr int64_t kSerialBelow = 16384;  // rows that a second thread does not pay for

// Outputs nobody asked for go to a scratch row in the first-level cache: the loop stays free of branches.
template <class T>
T* rows_or_scratch(T* output, int64_t begin, T* scratch) {
  return output ? output + begin : scratch;
}

struct BlockSums {
  double loss, weight;
  int invalid;
};

// Partial sums of fixed blocks, added in order: the same bits for every thread count.
template <class Kernel, class Args>
RowSums run_blocks(const Args& args) {
  std::vector<BlockSums> partial(static_cast<size_t>(block_count(args.n, kBlock)));
  parallel_blocks(args.n, kBlock, kSerialBelow, [&](int64_t block, int64_t begin, int64_t end) {
    simd_run<Kernel>(&args, begin, end, &partial[static_cast<size_t>(block)]);
  });
  RowSums sums;
  for (const BlockSums& block : partial) {
    sums.loss += block.loss;
    sums.weight += block.weight;
    sums.valid &= !block.invalid;
  }
  return sums;
}

}  // namespace row_blocks
}  // namespace debias
