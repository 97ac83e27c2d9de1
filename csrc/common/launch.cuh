// What every .cu file includes in place of the CUDA headers. With DEBIAS_CUDA_EMULATION the same source is C++ that
// runs on the CPU, one fiber per CUDA thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#ifdef DEBIAS_CUDA_EMULATION
#include "cuda_emulation.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include "common/half.h"
#include "common/hostdevice.h"

// Inside a kernel: a static shared array, and the dynamic one (aligned to 16 bytes, one per kernel).
#ifdef DEBIAS_CUDA_EMULATION
#define DEBIAS_SHARED_ARRAY(T, name, N) \
  static char name##_shared_key;        \
  T(&name)[N] = ::debias_emulation::shared_array<T, (N)>(&name##_shared_key)
#define DEBIAS_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::debias_emulation::dynamic_shared())
#else
#define DEBIAS_SHARED_ARRAY(T, name, N) __shared__ T name[N]
#define DEBIAS_DYNAMIC_SHARED(T, name)                                         \
  extern __shared__ __align__(16) unsigned char debias_dynamic_shared_bytes[]; \
  T* const name = reinterpret_cast<T*>(debias_dynamic_shared_bytes)
#endif

namespace debias {

// A grid with the place of the launch, for the error message.
struct LaunchGrid {
  dim3 size;
  const char* file;
  int line;
  LaunchGrid(dim3 grid, const char* at_file = __builtin_FILE(), int at_line = __builtin_LINE())
      : size(grid), file(at_file), line(at_line) {}
  LaunchGrid(unsigned grid, const char* at_file = __builtin_FILE(), int at_line = __builtin_LINE())
      : size(grid), file(at_file), line(at_line) {}
};

[[noreturn]] inline void launch_failed(const LaunchGrid& grid, dim3 block, size_t dynamic_shared_bytes,
                                       const std::string& kernel, const std::string& reason) {
  const auto extent = [](dim3 d) {
    return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
  };
  throw std::runtime_error(std::string(grid.file) + ":" + std::to_string(grid.line) + ": launch of " + kernel +
                           " with grid " + extent(grid.size) + ", block " + extent(block) + " and " +
                           std::to_string(dynamic_shared_bytes) + " bytes of dynamic shared memory failed: " + reason);
}

#ifdef DEBIAS_CUDA_EMULATION
inline std::string kernel_name(const void*) { return "an emulated kernel"; }
#else
inline std::string kernel_name(const void* kernel) {
  const char* name = nullptr;
  return cudaFuncGetName(&name, kernel) == cudaSuccess && name ? name : "a kernel";
}
#endif

inline void check_cuda(cudaError_t error, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(file) + ":" + std::to_string(line) + ": " + cudaGetErrorString(error));
}

constexpr unsigned kMaxGridSize = 65535;  // also legal in y and z
// Dynamic shared memory above which launch() asks for more than the 48 KB of a block; static arrays share these.
constexpr size_t kSharedBytesWithoutOptIn = 32 * 1024;

// Blocks of a grid-stride kernel: enough for `work` items, capped. No work: no block, and launch() does nothing.
inline unsigned grid_size(int64_t work, int64_t per_block) {
  if (work <= 0) return 0;
  const int64_t blocks = (work - 1) / per_block + 1;
  return static_cast<unsigned>(blocks < kMaxGridSize ? blocks : kMaxGridSize);
}

// Launches kernel(args...) on the stream. Throws std::runtime_error where the launch is refused; a fault inside the
// kernel shows at the next synchronisation. An empty grid launches nothing.
template <class... P, class... A>
void launch(void (*kernel)(P...), LaunchGrid grid, dim3 block, size_t dynamic_shared_bytes, cudaStream_t stream,
            A... args) {
  static_assert(sizeof...(P) == sizeof...(A), "the kernel takes another number of arguments");
  const dim3 g = grid.size;
  if (g.x == 0 || g.y == 0 || g.z == 0) return;
  const auto refuse = [&](const char* reason) {
    launch_failed(grid, block, dynamic_shared_bytes, kernel_name(reinterpret_cast<const void*>(kernel)), reason);
  };
  if (g.x > 2147483647u || g.y > 65535u || g.z > 65535u) refuse("the grid is larger than (2147483647, 65535, 65535)");
  const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
  if (block.x > 1024u || block.y > 1024u || block.z > 64u || threads == 0 || threads > 1024)
    refuse("a block has 1 to 1024 threads, at most (1024, 1024, 64)");
  if (dynamic_shared_bytes > kSharedBytesWithoutOptIn) {
    const cudaError_t error =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(dynamic_shared_bytes));
    if (error != cudaSuccess) {
      (void)cudaGetLastError();
      refuse(cudaGetErrorString(error));
    }
  }
#ifdef DEBIAS_CUDA_EMULATION
  (void)stream;
  ::debias_emulation::run(g, block, dynamic_shared_bytes, grid.file, grid.line, [&] { kernel(args...); });
#else
  kernel<<<g, block, dynamic_shared_bytes, stream>>>(args...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) refuse(cudaGetErrorString(error));
#endif
}

#if defined(__CUDACC__) || defined(DEBIAS_CUDA_EMULATION)
template <class V>
__device__ __forceinline__ void check_vector_alignment(const void* pointer, const char* file, int line) {
#ifdef DEBIAS_CUDA_EMULATION
  ::debias_emulation::check_aligned(pointer, alignof(V), file, line);
#else
  (void)pointer, (void)file, (void)line;
#endif
}

// One 8- or 16-byte access, V = float4 for example. `pointer` must be aligned to alignof(V).
template <class V, class T>
__device__ __forceinline__ V load_vector(const T* pointer, const char* file = __builtin_FILE(),
                                         int line = __builtin_LINE()) {
  check_vector_alignment<V>(pointer, file, line);
  return *reinterpret_cast<const V*>(pointer);
}
#endif

}  // namespace debias
