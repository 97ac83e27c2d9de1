// The scores of consecutive pairs on the CPU: what every kernel over a factor model's pairs begins with.
#pragma once

#include "common/factor_rows.h"
#include "common/simd.h"
#include "mf_score/mf_score_kernels.h"

namespace debias {

constexpr int64_t kPairBlock = 512;  // pairs of one task

// scores[0 .. end - begin) = P[u].Q[i] + a[u] + b[i] + offset of the pairs begin .. end
template <class T, class Index, int D>
struct ScoreBlock {
  static DEBIAS_HD void run(const MFScoreArgs<T, Index>* args, int64_t begin, int64_t end, T* scores) {
    const T* user_factors = args->user_factors;
    const T* item_factors = args->item_factors;
    const Index* users = args->users;
    const Index* items = args->items;
    const T* user_bias = args->user_bias;
    const T* item_bias = args->item_bias;
    const int64_t d = D ? D : args->factors, batch = args->batch;
    const T offset = static_cast<T>(args->offset_value) + (args->offset ? *args->offset : T(0));
    for (int64_t k = begin; k < end; ++k) {
      if (k + kPrefetch < batch) {
        prefetch_row(user_factors + users[k + kPrefetch] * d, d);
        prefetch_row(item_factors + items[k + kPrefetch] * d, d);
      }
      T score = dot(user_factors + users[k] * d, item_factors + items[k] * d, d);
      if (user_bias) score += user_bias[users[k]];
      if (item_bias) score += item_bias[items[k]];
      scores[k - begin] = score + offset;
    }
  }
};

template <class T, class Index>
void score_block(const MFScoreArgs<T, Index>& args, int64_t begin, int64_t end, T* scores) {
  with_width(args.factors,
             [&](auto d) { simd_run<ScoreBlock<T, Index, decltype(d)::value>>(&args, begin, end, scores); });
}

}  // namespace debias
