#include "pointwise_loss/pair_loss_kernels.h"
#include "pointwise_loss/pair_math.h"
#include "pointwise_loss/row_blocks.h"

namespace debias {
namespace {

using namespace row_blocks;

enum class Outputs { scores, all };

// Arguments nobody gave are ones, in the first-level cache.
template <class T>
DEBIAS_HD const T* rows_or_ones(const T* rows, int64_t begin, T* scratch) {
  if (rows) return rows + begin;
  for (int64_t k = 0; k < kBlock; ++k) scratch[k] = T(1);
  return scratch;
}

template <class Score, Outputs outputs, class T>
struct PairLossBlock {
  static DEBIAS_HD void run(const PairLossArgs<T>* args, int64_t begin, int64_t end, BlockSums* sums) {
    constexpr bool all = outputs == Outputs::all, popular = Score::with_popularity;
    alignas(64) T ones[popular ? 3 : 1][kBlock], scratch[all ? 4 : 2][kBlock];
    const T* __restrict positive = args->positive + begin;
    const T* __restrict negative = args->negative + begin;
    const T* __restrict weights = rows_or_ones(args->weights, begin, ones[0]);
    const T* __restrict m_positive = popular ? rows_or_ones(args->positive_popularity, begin, ones[1]) : weights;
    const T* __restrict m_negative = popular ? rows_or_ones(args->negative_popularity, begin, ones[2]) : weights;
    T* __restrict grad_positive = rows_or_scratch(args->grad_positive, begin, scratch[0]);
    T* __restrict grad_negative = rows_or_scratch(args->grad_negative, begin, scratch[1]);
    T* __restrict values = all ? rows_or_scratch(args->values, begin, scratch[2]) : nullptr;
    T* __restrict grad_weights = all ? rows_or_scratch(args->grad_weights, begin, scratch[3]) : nullptr;
    const T coefficient = static_cast<T>(args->coefficient), gamma = static_cast<T>(args->gamma);
    const int64_t n = end - begin;
    double loss = 0;
    int invalid = 0;
#pragma omp simd reduction(+ : loss) reduction(| : invalid)
    for (int64_t k = 0; k < n; ++k) {
      const PairRow<T> row = Score::at(positive[k], negative[k], m_positive[k], m_negative[k], gamma);
      const T weight = weights[k], value = weight * row.value;
      grad_positive[k] = coefficient * weight * row.positive;
      grad_negative[k] = coefficient * weight * row.negative;
      if constexpr (all) {
        values[k] = value;
        grad_weights[k] = coefficient * row.value;
      }
      loss += static_cast<double>(value);
      if constexpr (popular) invalid |= !is_popularity(m_positive[k]) | !is_popularity(m_negative[k]);
    }
    *sums = {loss, 0.0, invalid};
  }
};

template <class Score, class T>
RowSums pair_loss_of(const PairLossArgs<T>& args) {
  if (args.values || args.grad_weights) return run_blocks<PairLossBlock<Score, Outputs::all, T>>(args);
  return run_blocks<PairLossBlock<Score, Outputs::scores, T>>(args);
}

}  // namespace

namespace cpu {

template <class T>
RowSums pair_loss(PairKind kind, const PairLossArgs<T>& args) {
  return kind == PairKind::pda ? pair_loss_of<PopularityScore>(args) : pair_loss_of<BprScore>(args);
}

template RowSums pair_loss<float>(PairKind, const PairLossArgs<float>&);
template RowSums pair_loss<double>(PairKind, const PairLossArgs<double>&);

}  // namespace cpu
}  // namespace debias
