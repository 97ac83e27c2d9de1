#include <vector>

#include "common/parallel.h"
#include "common/simd.h"
#include "mf_loss/mf_loss_kernels.h"
#include "mf_score/score_block.h"
#include "pointwise_loss/row_blocks.h"

namespace debias {
namespace {

using row_blocks::rows_or_scratch;

struct BlockSum {
  double loss;
  int invalid;
};

template <class Loss, class T>
struct LossBlock {
  static DEBIAS_HD void run(const LossRows<T>* rows, const T* __restrict scores, int64_t begin, int64_t end,
                            BlockSum* sum) {
    alignas(64) T scratch[5][kPairBlock];
    alignas(64) T ones[kPairBlock];
    const int64_t n = end - begin;
    if (!rows->weights)
      for (int64_t k = 0; k < n; ++k) ones[k] = T(1);
    const T* __restrict weights = rows->weights ? rows->weights + begin : ones;
    const T* __restrict targets = rows->targets + begin;
    const T* __restrict source = Loss::reads_source ? rows->source + begin : scores;
    const T* __restrict pseudo_targets = Loss::reads_pseudo_target ? rows->pseudo_targets + begin : scores;
    T* __restrict grad_scores = rows_or_scratch(rows->grad_scores, begin, scratch[0]);
    T* __restrict grad_targets = rows_or_scratch(rows->grad_targets, begin, scratch[1]);
    T* __restrict grad_weights = rows_or_scratch(rows->grad_weights, begin, scratch[2]);
    T* __restrict grad_source = rows_or_scratch(rows->grad_source, begin, scratch[3]);
    T* __restrict grad_pseudo = rows_or_scratch(rows->grad_pseudo_targets, begin, scratch[4]);
    const T coefficient = static_cast<T>(rows->coefficient);
    double loss = 0;
    int invalid = 0;
#pragma omp simd reduction(+ : loss) reduction(| : invalid)
    for (int64_t k = 0; k < n; ++k) {
      const RowSlope<T> row = Loss::at(scores[k], targets[k], weights[k], source[k], pseudo_targets[k]);
      grad_scores[k] = coefficient * row.score;
      grad_targets[k] = coefficient * row.target;
      grad_weights[k] = coefficient * row.weight;
      if constexpr (Loss::reads_source) grad_source[k] = coefficient * row.source;
      if constexpr (Loss::reads_pseudo_target) grad_pseudo[k] = coefficient * row.pseudo_target;
      loss += static_cast<double>(row.value);
      invalid |= !row.valid;
    }
    *sum = {loss, invalid};
  }
};

// Partial sums of fixed blocks, added in order: the same bits for every thread count.
template <class Loss, class T, class Index>
RowSums run_blocks(const MFScoreArgs<T, Index>& score, const LossRows<T>& rows) {
  std::vector<BlockSum> partial(static_cast<size_t>(block_count(score.batch, kPairBlock)));
  parallel_blocks(score.batch, kPairBlock, serial_below(score.factors), [&](int64_t block, int64_t begin, int64_t end) {
    alignas(64) T scores[kPairBlock];
    score_block(score, begin, end, scores);
    simd_run<LossBlock<Loss, T>>(&rows, scores, begin, end, &partial[static_cast<size_t>(block)]);
  });
  RowSums sums;
  for (const BlockSum& block : partial) {
    sums.loss += block.loss;
    sums.valid &= !block.invalid;
  }
  return sums;
}

}  // namespace

namespace cpu {

template <class T, class Index>
RowSums mf_loss(const RowLossChoice& loss, const MFScoreArgs<T, Index>& score, const LossRows<T>& rows) {
  return with_row_loss(loss.kind, loss.pseudo_targets,
                       [&](auto row_loss) { return run_blocks<decltype(row_loss)>(score, rows); });
}

#define DEBIAS_INSTANTIATE(T, Index) \
  template RowSums mf_loss(const RowLossChoice&, const MFScoreArgs<T, Index>&, const LossRows<T>&);
DEBIAS_INSTANTIATE(float, int32_t)
DEBIAS_INSTANTIATE(float, int64_t)
DEBIAS_INSTANTIATE(double, int32_t)
DEBIAS_INSTANTIATE(double, int64_t)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
