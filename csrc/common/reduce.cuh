// Sums that come out the same in every launch: fixed shares of the rows, added in a fixed order, no float atomics.
#pragma once

#include "common/launch.cuh"

namespace debias {

constexpr int kReduceThreads = 256;
constexpr int kReduceBlocks = 512;  // fixed, so that shares depend on n alone

// The sum over a block of kReduceThreads threads; the result is valid in thread 0. Every thread must call it.
__device__ __forceinline__ double block_sum(double value) {
  DEBIAS_SHARED_ARRAY(double, partial, kReduceThreads / 32);
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_down_sync(0xffffffffu, value, offset);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  __syncthreads();  // an earlier call may still be reading `partial`
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  double total = 0;
  if (threadIdx.x == 0)
    for (int w = 0; w < kReduceThreads / 32; ++w) total += partial[w];
  return total;
}

inline unsigned reduce_blocks(int64_t n) {
  const unsigned blocks = grid_size(n, kReduceThreads);
  return blocks < kReduceBlocks ? blocks : kReduceBlocks;
}

}  // namespace debias
