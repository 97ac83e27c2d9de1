// Marks a function for host and device: per-sample mathematics is written once and called by both sides.
#pragma once

#ifdef __CUDACC__
#define DEBIAS_HD __host__ __device__ __forceinline__
#else
#define DEBIAS_HD inline __attribute__((always_inline))
#endif
