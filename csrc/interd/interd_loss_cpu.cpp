#include <vector>

#include "common/parallel.h"
#include "common/simd.h"
#include "interd/interd_kernels.h"

namespace debias {
namespace {

constexpr int64_t kBlock = 2048;        // rows of one partial sum
constexpr int64_t kSerialBelow = 8192;  // rows that a second thread does not pay for

struct BlockSums {
  double loss;
  int invalid;
};

template <class T>
struct Block {
  const T *scores, *biased, *debiased, *known, *weights;
  T *values, *grad_scores;
  int64_t n;
  T coefficient, gamma, epsilon;
};

template <InterDTargetKind kind, bool weighted, class T>
struct InterDBlock {
  static DEBIAS_HD void run(const Block<T>* block, BlockSums* sums) {
    alignas(64) T scratch[2][kBlock];  // outputs nobody asked for
    const T* __restrict scores = block->scores;
    const T* __restrict biased = block->biased;
    const T* __restrict debiased = block->debiased;
    const T* __restrict known = block->known;
    const T* __restrict weights = block->weights;
    T* __restrict values = block->values ? block->values : scratch[0];
    T* __restrict grad_scores = block->grad_scores ? block->grad_scores : scratch[1];
    const T coefficient = block->coefficient, gamma = block->gamma, epsilon = block->epsilon;
    const int64_t n = block->n;
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
    *sums = {loss, invalid};
  }
};

// Partial sums of fixed blocks, added in order: the same bits for every thread count.
template <InterDTargetKind kind, bool weighted, class T>
RowSums run(const InterDArgs<T>& args) {
  alignas(64) static const T zeros[kBlock]{};  // for `known`, where it is not given: the loop stays free of branches
  std::vector<BlockSums> partial(static_cast<size_t>(block_count(args.n, kBlock)));
  parallel_blocks(args.n, kBlock, kSerialBelow, [&](int64_t index, int64_t begin, int64_t end) {
    const Block<T> block{args.scores + begin,
                         args.biased + begin,
                         args.debiased + begin,
                         args.known ? args.known + begin : zeros,
                         weighted ? args.weights + begin : nullptr,
                         args.values ? args.values + begin : nullptr,
                         args.grad_scores ? args.grad_scores + begin : nullptr,
                         end - begin,
                         static_cast<T>(args.coefficient),
                         static_cast<T>(args.gamma),
                         static_cast<T>(args.epsilon)};
    simd_run<InterDBlock<kind, weighted, T>>(&block, &partial[static_cast<size_t>(index)]);
  });
  RowSums sums;
  for (const BlockSums& block : partial) {
    sums.loss += block.loss;
    sums.valid &= !block.invalid;
  }
  return sums;
}

template <InterDTargetKind kind, class T>
RowSums run(const InterDArgs<T>& args) {
  return args.weights ? run<kind, true>(args) : run<kind, false>(args);
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
