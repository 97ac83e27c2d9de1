#include <type_traits>

#include "common/parallel.h"
#include "common/simd.h"
#include "common/vectors.h"
#include "fm_interaction/fm_kernels.h"

namespace debias {
namespace {

constexpr int64_t kBlockValues = 1 << 14, kSerialBelowValues = 1 << 15;

// visit(component, a vector to work in) for the components [i, width), in vectors of `Bytes` and of ever fewer.
template <class T, int Bytes, class F>
DEBIAS_HD void in_vectors(int64_t i, int64_t width, const F& visit) {
  using V = typename Vector<T, Bytes>::type;
  for (; i + Vector<T, Bytes>::lanes <= width; i += Vector<T, Bytes>::lanes) {
    V v;
    visit(i, v);
  }
  if constexpr (Bytes > static_cast<int>(sizeof(T))) in_vectors<T, Bytes / 2>(i, width, visit);
}

template <class T, int Bytes>
struct Interactions {
  static DEBIAS_HD void run(const FMArgs<T>* args, int64_t begin, int64_t end, T* out) {
    const int64_t n_fields = args->n_fields, width = args->width;
    for (int64_t b = begin; b < end; ++b) {
      const T* sample = args->fields + b * n_fields * width;
      T sum = 0;
      in_vectors<T, Bytes>(0, width, [&](int64_t i, auto& total) {
        fm::pairs(n_fields, [&](int64_t f, auto& value) { load(value, sample + f * width + i); }, total);
        sum += lanes_sum<T>(total);
      });
      out[b] = sum;
    }
  }
};

template <class T, int Bytes>
struct Slopes {
  static DEBIAS_HD void run(const FMArgs<T>* args, int64_t begin, int64_t end, const T* grad, T* to_fields) {
    const int64_t n_fields = args->n_fields, width = args->width;
    for (int64_t b = begin; b < end; ++b) {
      const T* sample = args->fields + b * n_fields * width;
      T* out = to_fields + b * n_fields * width;
      const T g = grad[b];
      in_vectors<T, Bytes>(0, width, [&](int64_t i, auto& v) {
        fm::slopes<std::decay_t<decltype(v)>>(
            n_fields, g, [&](int64_t f, auto& value) { load(value, sample + f * width + i); },
            [&](int64_t f, const auto& slope) { store(out + f * width + i, slope); });
      });
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
  sample_blocks(args, [&](int64_t begin, int64_t end) { simd_run_vectors<Interactions, T>(&args, begin, end, out); });
}

template <class T>
void fm_interaction_backward(const FMArgs<T>& args, const T* grad, T* to_fields) {
  sample_blocks(args,
                [&](int64_t begin, int64_t end) { simd_run_vectors<Slopes, T>(&args, begin, end, grad, to_fields); });
}

#define DEBIAS_INSTANTIATE(T)                         \
  template void fm_interaction(const FMArgs<T>&, T*); \
  template void fm_interaction_backward(const FMArgs<T>&, const T*, T*);
DEBIAS_INSTANTIATE(float)
DEBIAS_INSTANTIATE(double)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
