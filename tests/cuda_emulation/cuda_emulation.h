// CUDA C++ as far as the kernels of this project use it, in plain C++: a .cu file that includes common/launch.cuh
// compiles against this header and runs on the CPU. The run time is in cuda_emulation.cpp; it must be compiled without
// sanitizers.
#pragma once

#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "cuda_types.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

// Where a call stands: the last two arguments of the functions that may fail.
#define DEBIAS_CALL_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace debias_emulation {

// Constant while a thread runs its kernel.
[[gnu::const]] uint3 thread_index();
[[gnu::const]] uint3 block_index();
[[gnu::const]] dim3 block_size();
[[gnu::const]] dim3 grid_size();

void run_kernel(dim3 grid, dim3 block, size_t dynamic_shared_bytes, const char* file, int line, void (*call)(void*),
                void* closure);

// Runs body() once per thread of the grid. A fault surfaces as std::runtime_error; blocks that ran stay done.
template <class Body>
void run(dim3 grid, dim3 block, size_t dynamic_shared_bytes, const char* file, int line, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  run_kernel(
      grid, block, dynamic_shared_bytes, file, line, [](void* closure) { (*static_cast<Plain*>(closure))(); }, &body);
}

// One heap block of exactly that size per block and key, filled with NaN bytes.
void* shared_storage(const void* key, size_t bytes);
void* dynamic_shared();

template <class T, size_t N>
T (&shared_array(const void* key))
[N] { return *static_cast<T(*)[N]>(shared_storage(key, sizeof(T) * N)); }

void check_aligned(const void* pointer, size_t alignment, const char* file, int line);
void barrier(const char* file, int line);
void fence();

enum class Collective { exchange, ballot, synchronise };
constexpr unsigned kOwnValue = 32;  // as source lane: a source beyond the segment, the lane keeps its value

// Each lane named in `mask` hands in a value; exchange returns the value of `source_lane`, ballot the set of lanes with
// a value that is not zero. The value of a lane outside the mask reads as NaN bytes.
uint64_t collective(Collective kind, const char* name, unsigned mask, uint64_t value, unsigned source_lane,
                    const char* file, int line);

inline unsigned lane() {
  const uint3 t = thread_index();
  const dim3 d = block_size();
  return (t.x + d.x * (t.y + d.y * t.z)) % 32u;
}

template <class T>
T exchange(const char* name, unsigned mask, T value, unsigned source_lane, const char* file, int line) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "shuffles move at most 8 bytes");
  uint64_t carried = 0;
  std::memcpy(&carried, &value, sizeof(T));
  carried = collective(Collective::exchange, name, mask, carried, source_lane, file, line);
  std::memcpy(&value, &carried, sizeof(T));
  return value;
}

}  // namespace debias_emulation

#define threadIdx (::debias_emulation::thread_index())
#define blockIdx (::debias_emulation::block_index())
#define blockDim (::debias_emulation::block_size())
#define gridDim (::debias_emulation::grid_size())
constexpr int warpSize = 32;

inline void __syncthreads(DEBIAS_CALL_SITE) { ::debias_emulation::barrier(file, line); }
inline void __threadfence() { ::debias_emulation::fence(); }
inline void __threadfence_block() { ::debias_emulation::fence(); }

inline void __syncwarp(unsigned mask = 0xffffffffu, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  collective(Collective::synchronise, "__syncwarp", mask, 0, kOwnValue, file, line);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  const unsigned segment = lane() & ~static_cast<unsigned>(width - 1);
  const unsigned from = segment + (static_cast<unsigned>(source) & static_cast<unsigned>(width - 1));
  return exchange("__shfl_sync", mask, value, from, file, line);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  const bool inside = (lane() & static_cast<unsigned>(width - 1)) >= delta;
  return exchange("__shfl_up_sync", mask, value, inside ? lane() - delta : kOwnValue, file, line);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  const bool inside = (lane() & static_cast<unsigned>(width - 1)) + delta < static_cast<unsigned>(width);
  return exchange("__shfl_down_sync", mask, value, inside ? lane() + delta : kOwnValue, file, line);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  const unsigned from = lane() ^ static_cast<unsigned>(lane_mask);
  const unsigned end = (lane() | static_cast<unsigned>(width - 1)) + 1;  // lower segments may be read, later ones not
  return exchange("__shfl_xor_sync", mask, value, from < end ? from : kOwnValue, file, line);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  return static_cast<unsigned>(
      collective(Collective::ballot, "__ballot_sync", mask, predicate != 0, kOwnValue, file, line));
}
inline int __any_sync(unsigned mask, int predicate, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  return collective(Collective::ballot, "__any_sync", mask, predicate != 0, kOwnValue, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, DEBIAS_CALL_SITE) {
  using namespace debias_emulation;
  return collective(Collective::ballot, "__all_sync", mask, predicate != 0, kOwnValue, file, line) == mask;
}

// Atomics order nothing but their own location, as on the device.
#define DEBIAS_INTEGER_ATOMICS(T)                                                                           \
  inline T atomicAdd(T* address, T value) { return __atomic_fetch_add(address, value, __ATOMIC_RELAXED); }  \
  inline T atomicCAS(T* address, T expected, T desired) {                                                   \
    __atomic_compare_exchange_n(address, &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);    \
    return expected;                                                                                        \
  }                                                                                                         \
  inline T atomicMax(T* address, T value) {                                                                 \
    T old = __atomic_load_n(address, __ATOMIC_RELAXED);                                                     \
    while (old < value &&                                                                                   \
           !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { \
    }                                                                                                       \
    return old;                                                                                             \
  }                                                                                                         \
  inline T atomicMin(T* address, T value) {                                                                 \
    T old = __atomic_load_n(address, __ATOMIC_RELAXED);                                                     \
    while (value < old &&                                                                                   \
           !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { \
    }                                                                                                       \
    return old;                                                                                             \
  }
DEBIAS_INTEGER_ATOMICS(int)
DEBIAS_INTEGER_ATOMICS(unsigned)
DEBIAS_INTEGER_ATOMICS(unsigned long long)
#undef DEBIAS_INTEGER_ATOMICS

inline float atomicAdd(float* address, float value) {
  int* const cell = reinterpret_cast<int*>(address);
  int seen = __atomic_load_n(cell, __ATOMIC_RELAXED);
  for (;;) {
    const int expected = seen;
    float old;
    std::memcpy(&old, &expected, sizeof old);
    const float sum = old + value;
    int desired;
    std::memcpy(&desired, &sum, sizeof desired);
    seen = atomicCAS(cell, expected, desired);
    if (seen == expected) return old;
  }
}

template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }

#define DEBIAS_MIN_MAX(T)                             \
  constexpr T min(T a, T b) { return b < a ? b : a; } \
  constexpr T max(T a, T b) { return a < b ? b : a; }
DEBIAS_MIN_MAX(int)
DEBIAS_MIN_MAX(unsigned)
DEBIAS_MIN_MAX(long)
DEBIAS_MIN_MAX(unsigned long)
DEBIAS_MIN_MAX(long long)
DEBIAS_MIN_MAX(unsigned long long)
#undef DEBIAS_MIN_MAX
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
