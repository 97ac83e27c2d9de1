#include "interd/interd_kernels.h"
#include "pointwise_loss/row_blocks.h"

namespace debias {
namespace {

using namespace row_blocks;

template <InterDTargetKind kind, bool weighted, class T>
struct InterDBlock {
  static DEBIAS_HD void run(const InterDArgs<T>* args, int64_t begin, int64_t end, BlockSums* sums) {
    alignas(64) T scratch[3][kBlock];
    const T* __restrict scores = args->scores + begin;
    const T* __restrict biased = args->biased + begin;
    const T* __restrict debiased = args->debiased + begin;
    const T* __restrict known = args->known ? args->known + begin : scratch[2];
    const T* __restrict weights = weighted ? args->weights + begin : nullptr;
    T* __restrict values = rows_or_scratch(args->values, begin, scratch[0]);
    T* __restrict grad_scores = rows_or_scratch(args->grad_scores, begin, scratch[1]);
    const T coefficient = static_cast<T>(args->coefficient), gamma = static_cast<T>(args->gamma);
    const T epsilon = static_cast<T>(args->epsilon);
    const int64_t n = end - begin;
    if (!args->known)
      for (int64_t k = 0; k < n; ++k) scratch[2][k] = T(0);
    double loss = 0;
    int invalid = 0;
#pragma omp simd reduction(+ : loss) reduction(| : invalid)
    for (int64_t k = 0; k < n; ++k) {
      const T weight = weighted ? weights[k] : T(1);
      const InterDRow<T> row = interd_row<kind>(scores[k], biased[k], debiased[k], known[k], weight, gamma, epsilon);
      values[k] = row.value;
      grad_scores[k] = coefficient * row.slope;
      loss += static_cast<double>(row.value);
      invalid |= !row.valid;
    }
    *sums = {loss, 0.0, invalid};
  }
};

template <InterDTargetKind kind, class T>
RowSums run(const InterDArgs<T>& args) {
  if (args.weights) return run_blocks<InterDBlock<kind, true, T>>(args);
  return run_blocks<InterDBlock<kind, false, T>>(args);
}

}  // namespace

namespace cpu {

template <class T>
RowSums interd_loss(InterDTargetKind kind, const InterDArgs<T>& args) {
  switch (kind) {
    case InterDTargetKind::hard: return run<InterDTargetKind::hard>(args);
    case InterDTargetKind::attached: return run<InterDTargetKind::attached>(args);
    case InterDTargetKind::soft: break;
  }
  return run<InterDTargetKind::soft>(args);
}

template RowSums interd_loss<float>(InterDTargetKind, const InterDArgs<float>&);
template RowSums interd_loss<double>(InterDTargetKind, const InterDArgs<double>&);

}  // namespace cpu
}  // namespace debias
