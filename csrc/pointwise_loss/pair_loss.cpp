// w softplus(-(f_i - f_j)): BPR, its unbiased form through the weights, and popularity-adjusted pairs (PDA).
#include <torch/csrc/stable/library.h>

#include "pointwise_loss/pair_loss_kernels.h"
#include "pointwise_loss/weighted_loss.h"

namespace debias {
namespace {

struct Inputs {
  Tensor positive, negative;
  std::optional<Tensor> weights, positive_popularity, negative_popularity;
};

PairKind parse_kind(const std::string& kind) {
  if (kind == "bpr") return PairKind::bpr;
  if (kind == "pda") return PairKind::pda;
  value_error("kind must be 'bpr' or 'pda', got '", kind, "'");
}

void check_popularity(PairKind kind, const std::optional<Tensor>& positive, const std::optional<Tensor>& negative,
                      double gamma) {
  if (!(gamma >= 0) || !std::isfinite(gamma)) value_error("gamma must be finite and at least 0, got ", gamma);
  if (kind == PairKind::bpr) {
    if (positive || negative)
      value_error(positive ? "positive_popularity" : "negative_popularity", " is for kind 'pda' only");
    if (gamma != 0) value_error("gamma must be 0 for kind 'bpr', got ", gamma);
  }
  if (positive.has_value() != negative.has_value())
    value_error(positive ? "negative" : "positive", "_popularity must be given together with ",
                positive ? "positive" : "negative", "_popularity");
  if (!positive && gamma != 0) value_error("gamma must be 0 without popularities, got ", gamma);
}

Inputs checked(const Tensor& positive, const Tensor& negative, const std::optional<Tensor>& weights,
               const std::optional<Tensor>& positive_popularity, const std::optional<Tensor>& negative_popularity) {
  check_float("positive_scores", positive);
  const auto check = [&](const char* name, const Tensor& tensor) {
    check_like(name, tensor, "positive_scores", positive);
  };
  check("negative_scores", negative);
  if (weights) check("weights", *weights);
  if (positive_popularity) check("positive_popularity", *positive_popularity);
  if (negative_popularity) check("negative_popularity", *negative_popularity);
  return {torch::stable::contiguous(positive), torch::stable::contiguous(negative), contiguous(weights),
          contiguous(positive_popularity), contiguous(negative_popularity)};
}

template <class T>
PairLossArgs<T> arguments(const Inputs& in, const LossAndGradients& out, bool rows, double scale, double gamma) {
  return {pointer<T>(in.positive),
          pointer<T>(in.negative),
          pointer<T>(in.weights),
          pointer<T>(in.positive_popularity),
          pointer<T>(in.negative_popularity),
          rows ? output<T>(std::get<0>(out)) : nullptr,
          output<T>(std::get<1>(out)),
          output<T>(std::get<2>(out)),
          output<T>(std::get<3>(out)),
          in.positive.numel(),
          scale,
          gamma};
}

// Names the first row that broke the contract.
template <class T>
void check_values(const char* name, const T* popularity, int64_t n) {
  int64_t first = -1, count = 0;
  for (int64_t k = 0; k < n; ++k) {
    if (popularity[k] >= T(0) && popularity[k] <= T(1)) continue;
    if (count++ == 0) first = k;
  }
  if (count == 0) return;
  value_error(name, " must be in [0, 1], got ", popularity[first], " at row ", first,
              count > 1 ? message(" (", count, " such rows)") : "");
}

void check_on_cuda(const RowSums& sums) {
  if (sums.weight > 0) value_error("positive_popularity must be in [0, 1], got other values");
  if (!sums.valid) value_error("negative_popularity must be in [0, 1], got other values");
}

LossAndGradients pair_loss(const Tensor& positive, const Tensor& negative, const std::optional<Tensor>& weights,
                           const std::optional<Tensor>& positive_popularity,
                           const std::optional<Tensor>& negative_popularity, double gamma, const std::string& kind,
                           const std::string& reduction, bool validate, int64_t needs) {
  const PairKind pair = parse_kind(kind);
  const Inputs in = checked(positive, negative, weights, positive_popularity, negative_popularity);
  check_popularity(pair, positive_popularity, negative_popularity, gamma);
  const Reduction reduced = parse_reduction(reduction);
  const bool rows = reduced == Reduction::none;
  const double scale = reduction_scale(reduced, in.positive.numel());
  const LossAndGradients out = make_outputs(in.positive, reduced, needs);
  on_device_of(
      in.positive,
      [&] {
        dispatch_float(in.positive.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = arguments<T>(in, out, rows, scale, gamma);
          const RowSums sums = cpu::pair_loss<T>(pair, args);
          if (!sums.valid) {
            check_values("positive_popularity", args.positive_popularity, args.n);
            check_values("negative_popularity", args.negative_popularity, args.n);
          }
          if (!rows) write_scalar<T>(std::get<0>(out), scale * sums.loss);
        });
      },
      [&](void* stream) {
        const Tensor workspace =
            torch::stable::new_empty(in.positive, {cuda::row_loss_workspace(in.positive.numel())}, ScalarType::Double);
        double* sums = output<double>(workspace);
        dispatch_storage(in.positive.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::pair_loss<T>(pair, arguments<T>(in, out, rows, scale, gamma), sums, stream);
          if (validate && pair == PairKind::pda) check_on_cuda(cuda::read_sums(sums, stream));
          if (!rows) cuda::write_loss<T>(sums, scale, false, output<T>(std::get<0>(out)), stream);
        });
      });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "pair_loss(Tensor positive_scores, Tensor negative_scores, Tensor? weights, Tensor? positive_popularity, "
      "Tensor? negative_popularity, float gamma, str kind, str reduction, bool validate, int needs) "
      "-> (Tensor loss, Tensor grad_positive_scores, Tensor grad_negative_scores, Tensor grad_weights)");
}

DEBIAS_IMPLEMENT(m) { m.impl("pair_loss", TORCH_BOX(&debias::pair_loss)); }
