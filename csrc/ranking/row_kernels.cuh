// Grid-stride loops over rows.
#pragma once

#include "common/reduce.cuh"
#include "ranking/group_ranking_kernels.h"

namespace debias {

constexpr int kThreads = kReduceThreads;

__device__ __forceinline__ int64_t first_item() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t item_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

inline cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }
inline unsigned row_blocks(int64_t n) { return grid_size(n, kThreads); }

}  // namespace debias
