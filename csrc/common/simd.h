// One kernel body, compiled for AVX-512, AVX2 and the baseline, chosen at run time.
// A kernel is a struct with an always-inline static run(...): no call inside it may stay a call.
#pragma once

#include "common/hostdevice.h"

namespace debias {

enum class SimdLevel { baseline = 0, avx2 = 1, avx512 = 2 };

SimdLevel detected_simd_level();
SimdLevel simd_level();
void set_simd_level(SimdLevel level);  // at most the detected one; for tests and benchmarks
const char* simd_name(SimdLevel level);

#if defined(__x86_64__) && defined(__GNUC__)
#define DEBIAS_AVX512 __attribute__((target("arch=x86-64-v4,prefer-vector-width=512")))
#define DEBIAS_AVX2 __attribute__((target("arch=x86-64-v3")))

template <class Kernel, class... Args>
DEBIAS_AVX512 void run_avx512(Args... args) {
  Kernel::run(args...);
}

template <class Kernel, class... Args>
DEBIAS_AVX2 void run_avx2(Args... args) {
  Kernel::run(args...);
}
#endif

template <class Kernel, class... Args>
void run_baseline(Args... args) {
  Kernel::run(args...);
}

template <class Kernel, class... Args>
void simd_run(Args... args) {
#if defined(__x86_64__) && defined(__GNUC__)
  switch (simd_level()) {
    case SimdLevel::avx512: return run_avx512<Kernel>(args...);
    case SimdLevel::avx2: return run_avx2<Kernel>(args...);
    case SimdLevel::baseline: break;
  }
#endif
  run_baseline<Kernel>(args...);
}

// The same for kernels of explicit vectors: Kernel<T, Bytes> with the vector length of the level.
template <template <class, int> class Kernel, class T, class... Args>
void simd_run_vectors(Args... args) {
#if defined(__x86_64__) && defined(__GNUC__)
  switch (simd_level()) {
    case SimdLevel::avx512: return run_avx512<Kernel<T, 64>>(args...);
    case SimdLevel::avx2: return run_avx2<Kernel<T, 32>>(args...);
    case SimdLevel::baseline: break;
  }
#endif
  run_baseline<Kernel<T, 16>>(args...);
}

}  // namespace debias
