#include "pointwise_loss/click_loss_kernels.h"
#include "pointwise_loss/exposure_math.h"
#include "pointwise_loss/relmf_math.h"
#include "pointwise_loss/row_blocks.h"

namespace debias {
namespace {

using namespace row_blocks;

// The sets of outputs that training asks for have loops of their own.
enum class Outputs { scores, scores_and_source, all };

template <class T>
DEBIAS_HD bool all_binary(const T* __restrict clicks, int64_t n) {
  int binary = 1;
#pragma omp simd reduction(& : binary)
  for (int64_t k = 0; k < n; ++k) binary &= is_binary(clicks[k]);
  return binary;
}

template <class Loss, Outputs outputs, class T>
struct ClickLossBlock {
  const T *scores, *clicks, *source;
  T *values, *grad_scores, *grad_clicks, *grad_source;
  T coefficient, clip;

  template <bool binary, Outputs written>
  static DEBIAS_HD void rows(const ClickLossBlock block, int64_t n, BlockSums* sums) {
    constexpr bool all = written == Outputs::all, with_source = written != Outputs::scores;
    const T* __restrict scores = block.scores;
    const T* __restrict clicks = block.clicks;
    const T* __restrict source = block.source;
    T* __restrict values = block.values;
    T* __restrict grad_scores = block.grad_scores;
    T* __restrict grad_clicks = block.grad_clicks;
    T* __restrict grad_source = block.grad_source;
    const T coefficient = block.coefficient, clip = block.clip;
    double loss = 0;
    int invalid = 0;
#pragma omp simd reduction(+ : loss) reduction(| : invalid)
    for (int64_t k = 0; k < n; ++k) {
      const T click = clicks[k];
      const Row<T> row = click_row<Loss, binary>(scores[k], click, source[k], clip);
      grad_scores[k] = coefficient * row.score;
      if constexpr (with_source) grad_source[k] = coefficient * row.source;
      if constexpr (all) {
        values[k] = row.value;
        grad_clicks[k] = coefficient * row.click;
      }
      loss += static_cast<double>(row.value);
      invalid |= !row.valid;
      if constexpr (!binary) invalid |= !is_click(click);
    }
    *sums = {loss, 0.0, invalid};
  }

  static DEBIAS_HD void run(const ClickLossArgs<T>* args, int64_t begin, int64_t end, BlockSums* sums) {
    alignas(64) T scratch[4][kBlock];
    const int64_t n = end - begin;
    const ClickLossBlock block{args->scores + begin,
                               args->clicks + begin,
                               args->source + begin,
                               rows_or_scratch(args->values, begin, scratch[0]),
                               rows_or_scratch(args->grad_scores, begin, scratch[1]),
                               rows_or_scratch(args->grad_clicks, begin, scratch[2]),
                               rows_or_scratch(args->grad_source, begin, scratch[3]),
                               static_cast<T>(args->coefficient),
                               static_cast<T>(args->clip)};
    if constexpr (!Loss::binary_form) {
      rows<false, outputs>(block, n, sums);
    } else if (!args->grad_clicks && all_binary(block.clicks, n)) {
      rows<true, outputs>(block, n, sums);
    } else {
      rows<false, Outputs::all>(block, n, sums);
    }
  }
};

template <class Loss, class T>
RowSums click_loss_of(const ClickLossArgs<T>& args) {
  if (args.values || args.grad_clicks) return run_blocks<ClickLossBlock<Loss, Outputs::all, T>>(args);
  if (args.grad_source) return run_blocks<ClickLossBlock<Loss, Outputs::scores_and_source, T>>(args);
  return run_blocks<ClickLossBlock<Loss, Outputs::scores, T>>(args);
}

}  // namespace

namespace cpu {

template <class T>
RowSums click_loss(ClickLoss loss, const ClickLossArgs<T>& args) {
  switch (loss) {
    case ClickLoss::exposure_logit: return click_loss_of<ExposureLogit>(args);
    case ClickLoss::relmf_square: return click_loss_of<RelmfSquare>(args);
    case ClickLoss::relmf_log: return click_loss_of<RelmfLog>(args);
    case ClickLoss::exposure: break;
  }
  return click_loss_of<GivenExposure>(args);
}

template RowSums click_loss<float>(ClickLoss, const ClickLossArgs<float>&);
template RowSums click_loss<double>(ClickLoss, const ClickLossArgs<double>&);

}  // namespace cpu
}  // namespace debias
