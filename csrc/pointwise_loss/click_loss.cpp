#include "pointwise_loss/click_loss.h"

#include "pointwise_loss/exposure_math.h"

namespace debias {
namespace {

std::string range_of_exposures(const ClickLossCall& call) {
  if (call.loss == ClickLoss::exposure_logit) return " must not be NaN";
  if (call.loss == ClickLoss::exposure) return message(" must be in ", kClickedExposureDomain);
  return call.clip_min ? " must be in [0, 1]" : " must be in (0, 1]";
}

template <class T>
bool legal_exposure(const ClickLossCall& call, T click, T x) {
  if (call.loss == ClickLoss::exposure_logit) return !std::isnan(x);
  const bool above_zero = call.loss == ClickLoss::exposure ? click > T(0) : !call.clip_min;
  const T least =
      call.loss == ClickLoss::exposure ? ExposureLimits<T>::least_clicked : std::numeric_limits<T>::denorm_min();
  return x >= (above_zero ? least : T(0)) && x <= T(1);
}

// Names the first row that broke the contract.
template <class T>
void row_error(const ClickLossCall& call, const ClickLossArgs<T>& args) {
  int64_t first = -1, count = 0;
  for (int64_t k = 0; k < args.n; ++k) {
    if (args.clicks[k] >= T(0) && args.clicks[k] <= T(1)) continue;
    if (count++ == 0) first = k;
  }
  const auto fail = [&](const char* name, const std::string& range, const T* values) {
    value_error(name, range, ", got ", values[first], " at row ", first,
                count > 1 ? message(" (", count, " such rows)") : "");
  };
  if (count > 0) fail("clicks", " must be in [0, 1]", args.clicks);
  for (int64_t k = 0; k < args.n; ++k) {
    if (legal_exposure(call, args.clicks[k], args.source[k])) continue;
    if (count++ == 0) first = k;
  }
  fail(call.source_name, range_of_exposures(call), args.source);
}

template <class T>
ClickLossArgs<T> arguments(const ClickLossCall& call, const Tensor& scores, const Tensor& clicks, const Tensor& source,
                           const LossAndGradients& outputs, bool rows, double scale) {
  return {pointer<T>(scores),
          pointer<T>(clicks),
          pointer<T>(source),
          rows ? output<T>(std::get<0>(outputs)) : nullptr,
          output<T>(std::get<1>(outputs)),
          output<T>(std::get<2>(outputs)),
          output<T>(std::get<3>(outputs)),
          scores.numel(),
          scale,
          call.clip_min.value_or(0.0)};
}

void check_on_cuda(const ClickLossCall& call, const RowSums& sums) {
  if (sums.weight > 0) value_error("clicks must be in [0, 1], got other values");
  if (!sums.valid) value_error(call.source_name, range_of_exposures(call), ", got other values");
}

}  // namespace

LossAndGradients click_loss(const ClickLossCall& call, Reduction reduction, const Tensor& given_scores,
                            const Tensor& given_clicks, const Tensor& given_source, int64_t needs) {
  check_float("scores", given_scores);
  check_like("clicks", given_clicks, "scores", given_scores);
  check_like(call.source_name, given_source, "scores", given_scores);
  check_bounds(call.clip_min, std::nullopt);
  const Tensor scores = torch::stable::contiguous(given_scores), clicks = torch::stable::contiguous(given_clicks),
               source = torch::stable::contiguous(given_source);
  const LossAndGradients outputs = make_outputs(scores, reduction, needs);
  const Tensor& loss = std::get<0>(outputs);
  const bool rows = reduction == Reduction::none;
  const double scale = reduction_scale(reduction, scores.numel());
  on_device_of(
      scores,
      [&] {
        dispatch_float(scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = arguments<T>(call, scores, clicks, source, outputs, rows, scale);
          const RowSums sums = cpu::click_loss<T>(call.loss, args);
          if (!sums.valid) row_error(call, args);
          if (!rows) write_scalar<T>(loss, scale * sums.loss);
        });
      },
      [&](void* stream) {
        const Tensor workspace =
            torch::stable::new_empty(scores, {cuda::row_loss_workspace(scores.numel())}, ScalarType::Double);
        double* sums = output<double>(workspace);
        dispatch_storage(scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::click_loss<T>(call.loss, arguments<T>(call, scores, clicks, source, outputs, rows, scale), sums,
                              stream);
          if (call.validate) check_on_cuda(call, cuda::read_sums(sums, stream));
          if (!rows) cuda::write_loss<T>(sums, scale, false, output<T>(loss), stream);
        });
      });
  return outputs;
}

}  // namespace debias
