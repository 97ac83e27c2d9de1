#include "common/parallel.h"
#include "common/simd.h"
#include "fm_interaction/fm_kernels.h"

namespace debias {
namespace {

constexpr int64_t kBlockValues = 1 << 14, kSerialBelowValues = 1 << 15;

template <class T>
struct Interactions {
  static DEBIAS_HD void run(const FMArgs<T>* args, int64_t begin, int64_t end, T* out) {
    const int64_t n_fields = args->n_fields, width = args->width;
    for (int64_t b = begin; b < end; ++b) {
      const T* sample = args->fields + b * n_fields * width;
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < width; ++i) sum += fm::pairs(sample, n_fields, width, i);
      out[b] = sum;
    }
  }
};

template <class T>
struct Slopes {
  static DEBIAS_HD void run(const FMArgs<T>* args, int64_t begin, int64_t end, const T* grad, T* to_fields) {
    const int64_t n_fields = args->n_fields, width = args->width;
    for (int64_t b = begin; b < end; ++b) {
      const T* sample = args->fields + b * n_fields * width;
      T* out = to_fields + b * n_fields * width;
      const T g = grad[b];
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) fm::slopes(sample, n_fields, width, i, g, out);
    }
  }
};

template <class T, class F>
void sample_blocks(const FMArgs<T>& args, const F& f) {
  const int64_t values = args.n_fields * args.width + 1, block = kBlockValues / values + 1;
  parallel_blocks(args.batch, block, kSerialBelowValues / values,
                  [&](int64_t, int64_t begin, int64_t end) { f(begin, end); });
}

}  // namespace

namespace cpu {

template <class T>
void fm_interaction(const FMArgs<T>& args, T* out) {
  sample_blocks(args, [&](int64_t begin, int64_t end) { simd_run<Interactions<T>>(&args, begin, end, out); });
}

template <class T>
void fm_interaction_backward(const FMArgs<T>& args, const T* grad, T* to_fields) {
  sample_blocks(args, [&](int64_t begin, int64_t end) { simd_run<Slopes<T>>(&args, begin, end, grad, to_fields); });
}

#define DEBIAS_INSTANTIATE(T)                         \
  template void fm_interaction(const FMArgs<T>&, T*); \
  template void fm_interaction_backward(const FMArgs<T>&, const T*, T*);
DEBIAS_INSTANTIATE(float)
DEBIAS_INSTANTIATE(double)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
