#include "interd/interd_kernels.h"
#include "pointwise_loss/row_sums.cuh"

namespace debias {
namespace {

template <InterDTargetKind kind, class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1) interd_loss_kernel(InterDArgs<Storage> args, double* partial) {
  using T = accumulator_t<Storage>;
  const T coefficient = static_cast<T>(args.coefficient);
  const T gamma = static_cast<T>(args.gamma), epsilon = static_cast<T>(args.epsilon);
  double loss = 0, invalid = 0;
  for (int64_t k = first_thread(); k < args.n; k += thread_stride()) {
    const T known = args.known ? static_cast<T>(to_float(args.known[k])) : T(0);
    const T weight = args.weights ? static_cast<T>(to_float(args.weights[k])) : T(1);
    const InterDRow<T> row =
        interd_row<kind>(static_cast<T>(to_float(args.scores[k])), static_cast<T>(to_float(args.biased[k])),
                         static_cast<T>(to_float(args.debiased[k])), known, weight, gamma, epsilon);
    write_row(args.values, k, row.value);
    write_row(args.grad_scores, k, coefficient * row.slope);
    loss += static_cast<double>(row.value);
    invalid += row.valid ? 0.0 : 1.0;
  }
  write_partial(partial, loss, 0.0, invalid);
}

template <InterDTargetKind kind, class Storage>
void run(const InterDArgs<Storage>& args, double* workspace, cudaStream_t stream) {
  const unsigned blocks = reduce_blocks(args.n);
  launch(interd_loss_kernel<kind, Storage>, blocks, kReduceThreads, 0, stream, args, workspace + kSums);
  finish_row_sums(workspace, blocks, stream);
}

}  // namespace

namespace cuda {

template <class Storage>
void interd_loss(InterDTargetKind kind, const InterDArgs<Storage>& args, double* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  switch (kind) {
    case InterDTargetKind::hard: return run<InterDTargetKind::hard>(args, workspace, on);
    case InterDTargetKind::attached: return run<InterDTargetKind::attached>(args, workspace, on);
    case InterDTargetKind::soft: break;
  }
  run<InterDTargetKind::soft>(args, workspace, on);
}

template void interd_loss(InterDTargetKind, const InterDArgs<float>&, double*, void*);
template void interd_loss(InterDTargetKind, const InterDArgs<double>&, double*, void*);
template void interd_loss(InterDTargetKind, const InterDArgs<Half>&, double*, void*);
template void interd_loss(InterDTargetKind, const InterDArgs<BFloat16>&, double*, void*);

}  // namespace cuda
}  // namespace debias
