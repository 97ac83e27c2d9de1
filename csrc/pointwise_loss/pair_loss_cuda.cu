#include "pointwise_loss/pair_loss_kernels.h"
#include "pointwise_loss/pair_math.h"
#include "pointwise_loss/row_sums.cuh"

namespace debias {
namespace {

template <class Storage>
__device__ __forceinline__ accumulator_t<Storage> row_or_one(const Storage* rows, int64_t k) {
  using T = accumulator_t<Storage>;
  return rows ? static_cast<T>(to_float(rows[k])) : T(1);
}

template <class Score, class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1) pair_loss_kernel(PairLossArgs<Storage> args, double* partial) {
  using T = accumulator_t<Storage>;
  const T coefficient = static_cast<T>(args.coefficient), gamma = static_cast<T>(args.gamma);
  double loss = 0, bad_positive = 0, bad_negative = 0;
  for (int64_t k = first_thread(); k < args.n; k += thread_stride()) {
    const T m_positive = Score::with_popularity ? row_or_one(args.positive_popularity, k) : T(1);
    const T m_negative = Score::with_popularity ? row_or_one(args.negative_popularity, k) : T(1);
    const PairRow<T> row = Score::at(static_cast<T>(to_float(args.positive[k])),
                                     static_cast<T>(to_float(args.negative[k])), m_positive, m_negative, gamma);
    const T weight = row_or_one(args.weights, k), value = weight * row.value;
    write_row(args.values, k, value);
    write_row(args.grad_positive, k, coefficient * weight * row.positive);
    write_row(args.grad_negative, k, coefficient * weight * row.negative);
    write_row(args.grad_weights, k, coefficient * row.value);
    loss += static_cast<double>(value);
    bad_positive += is_popularity(m_positive) ? 0.0 : 1.0;
    bad_negative += is_popularity(m_negative) ? 0.0 : 1.0;
  }
  write_partial(partial, loss, bad_positive, bad_negative);
}

template <class Score, class Storage>
void run(const PairLossArgs<Storage>& args, double* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned blocks = reduce_blocks(args.n);
  launch(pair_loss_kernel<Score, Storage>, blocks, kReduceThreads, 0, on, args, workspace + kSums);
  finish_row_sums(workspace, blocks, on);
}

}  // namespace

namespace cuda {

template <class Storage>
void pair_loss(PairKind kind, const PairLossArgs<Storage>& args, double* workspace, void* stream) {
  if (kind == PairKind::pda) return run<PopularityScore>(args, workspace, stream);
  run<BprScore>(args, workspace, stream);
}

template void pair_loss(PairKind, const PairLossArgs<float>&, double*, void*);
template void pair_loss(PairKind, const PairLossArgs<double>&, double*, void*);
template void pair_loss(PairKind, const PairLossArgs<Half>&, double*, void*);
template void pair_loss(PairKind, const PairLossArgs<BFloat16>&, double*, void*);

}  // namespace cuda
}  // namespace debias
