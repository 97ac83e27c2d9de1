// Grid-stride loops over rows.
#pragma once

#include "common/device.cuh"
#include "common/reduce.cuh"
#include "ranking/group_ranking_kernels.h"

namespace debias {

constexpr int kThreads = kReduceThreads;

inline cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }
inline unsigned row_blocks(int64_t n) { return grid_size(n, kThreads); }

}  // namespace debias
