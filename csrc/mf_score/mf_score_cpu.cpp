#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "common/simd.h"
#include "mf_score/score_block.h"

namespace debias {
namespace {

constexpr int64_t kSumBlock = 4096;

template <class T, class Index, int D>
struct GradientBlock {
  static DEBIAS_HD void run(const RowGradientArgs<T, Index>* args, const Segments* segments, bool compact,
                            int64_t first, int64_t last) {
    const int64_t d = D ? D : args->factors;
    const int64_t* order = segments->order.data();
    const int64_t end_of_all = segments->offsets[static_cast<size_t>(last)];
    const T* grad = args->grad;
    const T* other_factors = args->other_factors;
    const Index* other = args->other;
    for (int64_t j = first; j < last; ++j) {
      const int64_t row = compact ? j : segments->rows[static_cast<size_t>(j)];
      T* __restrict out = args->grad_rows ? args->grad_rows + row * d : nullptr;
      T bias = 0;
      const int64_t first_sample = segments->offsets[static_cast<size_t>(j)];
      for (int64_t p = first_sample; p < segments->offsets[static_cast<size_t>(j) + 1]; ++p) {
        const int64_t k = order[p];
        const T g = grad[k];
        bias += g;
        if (!out) continue;
        if (p + kPrefetch < end_of_all) prefetch_row(other_factors + other[order[p + kPrefetch]] * d, d);
        const T* __restrict source = other_factors + other[k] * d;
        if (p == first_sample) {
#pragma omp simd
          for (int64_t f = 0; f < d; ++f) out[f] = g * source[f];
        } else {
#pragma omp simd
          for (int64_t f = 0; f < d; ++f) out[f] += g * source[f];
        }
      }
      if (args->grad_bias) args->grad_bias[row] = bias;
    }
  }
};

template <class T>
struct SumBlock {
  static DEBIAS_HD void run(const T* values, int64_t begin, int64_t end, double* result) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = begin; k < end; ++k) sum += static_cast<double>(values[k]);
    *result = sum;
  }
};

}  // namespace

namespace cpu {

template <class T, class Index>
void mf_score(const MFScoreArgs<T, Index>& args) {
  parallel_blocks(args.batch, kPairBlock, serial_below(args.factors),
                  [&](int64_t, int64_t begin, int64_t end) { score_block(args, begin, end, args.scores + begin); });
}

template <class T, class Index>
void row_gradient(const RowGradientArgs<T, Index>& args, const Segments& segments, bool compact) {
  const int64_t batch = static_cast<int64_t>(segments.order.size());
  const auto& offsets = segments.offsets;
  // Tasks of about equal samples: a task owns the segments that begin in its share.
  const auto first_from = [&](int64_t position) {
    return static_cast<int64_t>(std::lower_bound(offsets.begin(), offsets.end() - 1, position) - offsets.begin());
  };
  parallel_blocks(batch, kPairBlock, serial_below(args.factors), [&](int64_t, int64_t begin, int64_t end) {
    const int64_t first = first_from(begin), last = first_from(end);
    if (first == last) return;
    with_width(args.factors, [&](auto d) {
      simd_run<GradientBlock<T, Index, decltype(d)::value>>(&args, &segments, compact, first, last);
    });
  });
}

template <class T>
double ordered_sum(const T* values, int64_t n) {
  std::vector<double> partial(static_cast<size_t>(block_count(n, kSumBlock)));
  parallel_blocks(n, kSumBlock, 16 * kSumBlock, [&](int64_t block, int64_t begin, int64_t end) {
    simd_run<SumBlock<T>>(values, begin, end, &partial[static_cast<size_t>(block)]);
  });
  double sum = 0;
  for (double part : partial) sum += part;
  return sum;
}

template void mf_score(const MFScoreArgs<float, int32_t>&);
template void mf_score(const MFScoreArgs<float, int64_t>&);
template void mf_score(const MFScoreArgs<double, int32_t>&);
template void mf_score(const MFScoreArgs<double, int64_t>&);
template void row_gradient(const RowGradientArgs<float, int32_t>&, const Segments&, bool);
template void row_gradient(const RowGradientArgs<float, int64_t>&, const Segments&, bool);
template void row_gradient(const RowGradientArgs<double, int32_t>&, const Segments&, bool);
template void row_gradient(const RowGradientArgs<double, int64_t>&, const Segments&, bool);
template double ordered_sum(const float*, int64_t);
template double ordered_sum(const double*, int64_t);

}  // namespace cpu
}  // namespace debias
