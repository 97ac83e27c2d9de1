#include "pointwise_loss/pointwise_loss_kernels.h"
#include "pointwise_loss/pointwise_loss_math.h"
#include "pointwise_loss/row_sums.cuh"

namespace debias {
namespace {

template <class Loss, class WeightOf, class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1)
    weighted_loss_kernel(WeightedLossArgs<Storage> args, const double* sums, double* partial) {
  using T = accumulator_t<Storage>;
  const PropensityBounds<T> bounds{static_cast<T>(args.floor), static_cast<T>(args.largest_weight)};
  const T coefficient = static_cast<T>(sums ? args.coefficient / sums[1] : args.coefficient);
  const T baseline = static_cast<T>(sums ? sums[0] / sums[1] : args.baseline);
  double loss = 0, total = 0, invalid = 0;
  for (int64_t k = first_thread(); k < args.n; k += thread_stride()) {
    const T source = WeightOf::given ? static_cast<T>(to_float(args.source[k])) : T(0);
    const Weight<T> weight = WeightOf::at(source, bounds);
    const Slopes<T> row = Loss::at(static_cast<T>(to_float(args.scores[k])), static_cast<T>(to_float(args.targets[k])));
    const T value = weight.value * row.value;
    write_row(args.values, k, value);
    write_row(args.grad_scores, k, coefficient * weight.value * row.score);
    write_row(args.grad_targets, k, coefficient * weight.value * row.target);
    write_row(args.grad_source, k, coefficient * (row.value - baseline) * weight.slope);
    loss += static_cast<double>(value);
    total += static_cast<double>(weight.value);
    invalid += weight.valid ? 0.0 : 1.0;
  }
  write_partial(partial, loss, total, invalid);
}

template <class Loss, class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1)
    doubly_robust_kernel(DoublyRobustArgs<Storage> args, double* partial) {
  using T = accumulator_t<Storage>;
  const T coefficient = static_cast<T>(args.coefficient);
  double loss = 0, invalid = 0;
  for (int64_t k = first_thread(); k < args.n; k += thread_stride()) {
    const bool observed = args.observed[k];
    const T target = observed ? static_cast<T>(to_float(args.targets[k])) : T(0);
    const T propensity = observed ? static_cast<T>(to_float(args.propensities[k])) : T(1);
    const DoublyRobust<T> row =
        doubly_robust<Loss>(static_cast<T>(to_float(args.scores[k])), target,
                            static_cast<T>(to_float(args.pseudo_targets[k])), propensity, observed ? T(1) : T(0));
    write_row(args.values, k, row.value);
    write_row(args.grad_scores, k, coefficient * row.score);
    write_row(args.grad_targets, k, coefficient * row.target);
    write_row(args.grad_pseudo_targets, k, coefficient * row.pseudo_target);
    write_row(args.grad_propensities, k, coefficient * row.propensity);
    loss += static_cast<double>(row.value);
    invalid += row.valid ? 0.0 : 1.0;
  }
  write_partial(partial, loss, 0.0, invalid);
}

template <class Storage>
__global__ void write_loss_kernel(const double* sums, double scale, bool self_normalised, Storage* loss) {
  const double value = self_normalised ? sums[0] / sums[1] : scale * sums[0];
  *loss = from_float<Storage>(static_cast<accumulator_t<Storage>>(value));
}

template <class Loss, class WeightOf, class Storage>
void run(const WeightedLossArgs<Storage>& args, const double* sums, double* workspace, cudaStream_t stream) {
  const unsigned blocks = reduce_blocks(args.n);
  launch(weighted_loss_kernel<Loss, WeightOf, Storage>, blocks, kReduceThreads, 0, stream, args, sums,
         workspace + kSums);
  finish_row_sums(workspace, blocks, stream);
}

template <class Loss, class Storage>
void run(WeightKind weight, const WeightedLossArgs<Storage>& args, const double* sums, double* workspace,
         cudaStream_t stream) {
  switch (weight) {
    case WeightKind::given: return run<Loss, GivenWeight>(args, sums, workspace, stream);
    case WeightKind::propensity: return run<Loss, InversePropensity>(args, sums, workspace, stream);
    case WeightKind::propensity_logit: return run<Loss, InversePropensityLogit>(args, sums, workspace, stream);
    case WeightKind::unit: break;
  }
  run<Loss, UnitWeight>(args, sums, workspace, stream);
}

template <class Loss, class Storage>
void run(const DoublyRobustArgs<Storage>& args, double* workspace, cudaStream_t stream) {
  const unsigned blocks = reduce_blocks(args.n);
  launch(doubly_robust_kernel<Loss, Storage>, blocks, kReduceThreads, 0, stream, args, workspace + kSums);
  finish_row_sums(workspace, blocks, stream);
}

}  // namespace

namespace cuda {

int64_t row_loss_workspace(int64_t n) { return kSums * (1 + static_cast<int64_t>(reduce_blocks(n))); }

template <class Storage>
void weighted_loss(LossKind loss, WeightKind weight, const WeightedLossArgs<Storage>& args, const double* sums,
                   double* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  switch (loss) {
    case LossKind::mae: return run<AbsoluteError>(weight, args, sums, workspace, on);
    case LossKind::bce: return run<BinaryCrossEntropy>(weight, args, sums, workspace, on);
    case LossKind::mse: break;
  }
  run<SquaredError>(weight, args, sums, workspace, on);
}

template <class Storage>
void doubly_robust_loss(LossKind loss, const DoublyRobustArgs<Storage>& args, double* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  switch (loss) {
    case LossKind::mae: return run<AbsoluteError>(args, workspace, on);
    case LossKind::bce: return run<BinaryCrossEntropy>(args, workspace, on);
    case LossKind::mse: break;
  }
  run<SquaredError>(args, workspace, on);
}

template <class Storage>
void write_loss(const double* sums, double scale, bool self_normalised, Storage* loss, void* stream) {
  launch(write_loss_kernel<Storage>, 1u, 1, 0, static_cast<cudaStream_t>(stream), sums, scale, self_normalised, loss);
}

RowSums read_sums(const double* sums, void* stream) {
  double host[kSums];
  const auto on = static_cast<cudaStream_t>(stream);
  check_cuda(cudaMemcpyAsync(host, sums, sizeof host, cudaMemcpyDeviceToHost, on));
  check_cuda(cudaStreamSynchronize(on));
  return {host[0], host[1], host[2] == 0.0};
}

#define DEBIAS_INSTANTIATE(Storage)                                                                                   \
  template void weighted_loss(LossKind, WeightKind, const WeightedLossArgs<Storage>&, const double*, double*, void*); \
  template void doubly_robust_loss(LossKind, const DoublyRobustArgs<Storage>&, double*, void*);                       \
  template void write_loss(const double*, double, bool, Storage*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
