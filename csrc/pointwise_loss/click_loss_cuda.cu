#include "pointwise_loss/click_loss_kernels.h"
#include "pointwise_loss/exposure_math.h"
#include "pointwise_loss/relmf_math.h"
#include "pointwise_loss/row_sums.cuh"

namespace debias {
namespace {

template <class Loss, class T>
__device__ __forceinline__ Row<T> row_of(T s, T click, T x, T clip, bool with_click_slope) {
  if constexpr (Loss::binary_form)
    if (!with_click_slope && is_binary(click)) return click_row<Loss, true>(s, click, x, clip);
  return click_row<Loss, false>(s, click, x, clip);
}

template <class Loss, class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1) click_loss_kernel(ClickLossArgs<Storage> args, double* partial) {
  using T = accumulator_t<Storage>;
  const T coefficient = static_cast<T>(args.coefficient), clip = static_cast<T>(args.clip);
  double loss = 0, bad_clicks = 0, bad_exposures = 0;
  for (int64_t k = first_thread(); k < args.n; k += thread_stride()) {
    const T click = static_cast<T>(to_float(args.clicks[k]));
    const Row<T> row = row_of<Loss>(static_cast<T>(to_float(args.scores[k])), click,
                                    static_cast<T>(to_float(args.source[k])), clip, args.grad_clicks != nullptr);
    write_row(args.values, k, row.value);
    write_row(args.grad_scores, k, coefficient * row.score);
    write_row(args.grad_clicks, k, coefficient * row.click);
    write_row(args.grad_source, k, coefficient * row.source);
    loss += static_cast<double>(row.value);
    bad_clicks += is_click(click) ? 0.0 : 1.0;
    bad_exposures += row.valid ? 0.0 : 1.0;
  }
  write_partial(partial, loss, bad_clicks, bad_exposures);
}

template <class Loss, class Storage>
void run(const ClickLossArgs<Storage>& args, double* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned blocks = reduce_blocks(args.n);
  launch(click_loss_kernel<Loss, Storage>, blocks, kReduceThreads, 0, on, args, workspace + kSums);
  finish_row_sums(workspace, blocks, on);
}

}  // namespace

namespace cuda {

template <class Storage>
void click_loss(ClickLoss loss, const ClickLossArgs<Storage>& args, double* workspace, void* stream) {
  switch (loss) {
    case ClickLoss::exposure_logit: return run<ExposureLogit>(args, workspace, stream);
    case ClickLoss::relmf_square: return run<RelmfSquare>(args, workspace, stream);
    case ClickLoss::relmf_log: return run<RelmfLog>(args, workspace, stream);
    case ClickLoss::exposure: break;
  }
  run<GivenExposure>(args, workspace, stream);
}

template void click_loss(ClickLoss, const ClickLossArgs<float>&, double*, void*);
template void click_loss(ClickLoss, const ClickLossArgs<double>&, double*, void*);
template void click_loss(ClickLoss, const ClickLossArgs<Half>&, double*, void*);
template void click_loss(ClickLoss, const ClickLossArgs<BFloat16>&, double*, void*);

}  // namespace cuda
}  // namespace debias
