// InterD: squared distance to a target between a biased and a debiased teacher (Ding et al. 2022).
#include <torch/csrc/stable/library.h>

#include "interd/interd_kernels.h"
#include "pointwise_loss/row_loss.h"

namespace debias {
namespace {

using Outputs = std::tuple<Tensor, Tensor>;

constexpr double kSmallestEpsilon = 1e-30;  // still a normal float32

struct Inputs {
  Tensor scores, biased, debiased;
  std::optional<Tensor> known, weights;
};

Inputs checked(const Tensor& scores, const Tensor& biased, const Tensor& debiased, const std::optional<Tensor>& ratings,
               const std::optional<Tensor>& weights, bool measured_against_zero) {
  check_float("scores", scores);
  check_like("biased", biased, "scores", scores);
  check_like("debiased", debiased, "scores", scores);
  if (ratings) check_like("ratings", *ratings, "scores", scores);
  if (weights) check_like("debiased_weight", *weights, "scores", scores);
  if (ratings && measured_against_zero)
    value_error("variant must be 'soft' or 'hard' where ratings are given, got 'zero'");
  Inputs in{torch::stable::contiguous(scores), torch::stable::contiguous(biased), torch::stable::contiguous(debiased),
            contiguous(ratings), contiguous(weights)};
  if (!ratings && !measured_against_zero) in.known = in.scores;
  return in;
}

void check_numbers(double gamma, double epsilon) {
  if (!std::isfinite(gamma)) value_error("gamma must be finite, got ", gamma);
  if (!(epsilon >= kSmallestEpsilon && std::isfinite(epsilon)))
    value_error("epsilon must be at least ", kSmallestEpsilon, " and finite, got ", epsilon);
}

// The slope runs through the coefficients only where they see the score: in the imputed form of "soft".
InterDTargetKind parse_kind(const std::string& variant, bool observed, bool detach_target) {
  if (variant == "hard") return InterDTargetKind::hard;
  if (variant == "zero") return InterDTargetKind::soft;
  if (variant == "soft") return observed || detach_target ? InterDTargetKind::soft : InterDTargetKind::attached;
  value_error("variant must be 'soft', 'hard' or 'zero', got '", variant, "'");
}

template <class T>
InterDArgs<T> arguments(const Inputs& in, const Outputs& out, bool rows, double scale, double gamma, double epsilon) {
  return {pointer<T>(in.scores),
          pointer<T>(in.biased),
          pointer<T>(in.debiased),
          pointer<T>(in.known),
          pointer<T>(in.weights),
          rows ? output<T>(std::get<0>(out)) : nullptr,
          output<T>(std::get<1>(out)),
          in.scores.numel(),
          scale,
          gamma,
          epsilon};
}

[[noreturn]] void weight_error() { value_error("debiased_weight must be finite and not negative, got other values"); }

template <class T>
[[noreturn]] void weight_error(const T* weights, int64_t n) {
  int64_t first = n, count = 0;
  for (int64_t k = n - 1; k >= 0; --k)
    if (!(weights[k] >= T(0) && std::isfinite(weights[k]))) first = k, ++count;
  value_error("debiased_weight must be finite and not negative, got ", weights[first], " at row ", first,
              count > 1 ? message(" (", count, " such rows)") : "");
}

Outputs interd_loss(const Tensor& scores, const Tensor& biased, const Tensor& debiased,
                    const std::optional<Tensor>& ratings, const std::optional<Tensor>& debiased_weight, double gamma,
                    const std::string& variant, bool detach_target, double epsilon, const std::string& reduction,
                    bool validate, int64_t needs) {
  const InterDTargetKind kind = parse_kind(variant, ratings.has_value(), detach_target);
  const Inputs in = checked(scores, biased, debiased, ratings, debiased_weight, variant == "zero");
  check_numbers(gamma, epsilon);
  const Reduction reduce = parse_reduction(reduction);
  const double scale = reduction_scale(reduce, in.scores.numel());
  const bool rows = reduce == Reduction::none;
  const Outputs out{loss_output(in.scores, reduce), empty_if(needed(needs, 0), in.scores)};
  on_device_of(
      in.scores,
      [&] {
        dispatch_float(in.scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = arguments<T>(in, out, rows, scale, gamma, epsilon);
          const RowSums sums = cpu::interd_loss<T>(kind, args);
          if (!sums.valid) weight_error(args.weights, args.n);
          if (!rows) write_scalar<T>(std::get<0>(out), scale * sums.loss);
        });
      },
      [&](void* stream) {
        const Tensor workspace =
            torch::stable::new_empty(in.scores, {cuda::row_loss_workspace(in.scores.numel())}, ScalarType::Double);
        double* sums = output<double>(workspace);
        dispatch_storage(in.scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::interd_loss<T>(kind, arguments<T>(in, out, rows, scale, gamma, epsilon), sums, stream);
          if (validate && in.weights && !cuda::read_sums(sums, stream).valid) weight_error();
          if (!rows) cuda::write_loss<T>(sums, scale, false, output<T>(std::get<0>(out)), stream);
        });
      });
  return out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "interd_loss(Tensor scores, Tensor biased, Tensor debiased, Tensor? ratings, Tensor? debiased_weight, "
      "float gamma, str variant, bool detach_target, float epsilon, str reduction, bool validate, int needs) "
      "-> (Tensor loss, Tensor grad_scores)");
}

DEBIAS_IMPLEMENT(m) { m.impl("interd_loss", TORCH_BOX(&debias::interd_loss)); }
