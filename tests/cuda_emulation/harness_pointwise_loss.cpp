#include "harness.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "common/half.h"
#include "pointwise_loss/click_loss_kernels.h"
#include "pointwise_loss/pair_loss_kernels.h"
#include "pointwise_loss/pointwise_loss_kernels.h"

using namespace harness;
using debias::DoublyRobustArgs;
using debias::LossKind;
using debias::RowSums;
using debias::WeightedLossArgs;
using debias::WeightKind;

namespace {

constexpr LossKind kLosses[] = {LossKind::mse, LossKind::mae, LossKind::bce};
constexpr WeightKind kWeights[] = {WeightKind::unit, WeightKind::given, WeightKind::propensity,
                                   WeightKind::propensity_logit};
constexpr double kFloor = 0.01, kLargestWeight = 4.0;

struct Loss {
  double value, score, target;
};

Loss loss_at(LossKind kind, double s, double t) {
  const double difference = s - t;
  if (kind == LossKind::mse) return {difference * difference, 2 * difference, -2 * difference};
  if (kind == LossKind::mae) return {std::fabs(difference), difference < 0 ? -1.0 : 1.0, difference < 0 ? 1.0 : -1.0};
  return {std::log1p(std::exp(s)) - t * s, 1 / (1 + std::exp(-s)) - t, -s};
}

struct Weight {
  double value, slope;
};

Weight weight_at(WeightKind kind, double source) {
  if (kind == WeightKind::unit) return {1, 0};
  if (kind == WeightKind::given) return {source, 1};
  const bool logit = kind == WeightKind::propensity_logit;
  const double q = logit ? 1 / (1 + std::exp(-source)) : source;
  const double value = 1 / (kFloor + (1 - kFloor) * q);
  if (value > kLargestWeight) return {kLargestWeight, 0};
  return {value, -(1 - kFloor) * value * value * (logit ? q * (1 - q) : 1)};
}

template <class Storage>
void check_weighted_loss(LossKind loss, WeightKind weight, int64_t n, bool with_gradients, double tolerance) {
  const auto scores = stored<Storage>(uniform(n, -3, 3, 1)), targets = stored<Storage>(uniform(n, 0, 1, 2));
  const bool logit = weight == WeightKind::propensity_logit;
  const auto source = stored<Storage>(uniform(n, logit ? -3 : 0.05f, logit ? 3 : 1, 3));
  std::vector<Storage> values(n), grad_scores(n), grad_targets(n), grad_source(n);
  WeightedLossArgs<Storage> args{scores.data(),
                                 targets.data(),
                                 weight == WeightKind::unit ? nullptr : source.data(),
                                 values.data(),
                                 grad_scores.data(),
                                 nullptr,
                                 nullptr,
                                 n,
                                 0.5,
                                 0.25,
                                 kFloor,
                                 kLargestWeight};
  if (with_gradients) args.grad_targets = grad_targets.data(), args.grad_source = grad_source.data();
  std::vector<double> workspace(debias::cuda::row_loss_workspace(n));
  debias::cuda::weighted_loss(loss, weight, args, static_cast<const double*>(nullptr), workspace.data(), nullptr);

  double loss_sum = 0, weight_sum = 0;
  for (int64_t k = 0; k < n; ++k) {
    const Loss row = loss_at(loss, debias::to_float(scores[k]), debias::to_float(targets[k]));
    const Weight w = weight_at(weight, debias::to_float(source[k]));
    loss_sum += w.value * row.value;
    weight_sum += w.value;
    expect_close("value", debias::to_float(values[k]), w.value * row.value, tolerance);
    expect_close("slope in the score", debias::to_float(grad_scores[k]), 0.5 * w.value * row.score, tolerance);
    if (!with_gradients) continue;
    expect_close("slope in the target", debias::to_float(grad_targets[k]), 0.5 * w.value * row.target, tolerance);
    expect_close("slope in the weight", debias::to_float(grad_source[k]), 0.5 * (row.value - 0.25) * w.slope,
                 tolerance);
  }
  const RowSums sums = debias::cuda::read_sums(workspace.data(), nullptr);
  expect_close("sum of the losses", sums.loss, loss_sum, 1e-5);
  expect_close("sum of the weights", sums.weight, weight_sum, 1e-5);
  expect(sums.valid, "every propensity is valid");
}

}  // namespace

HARNESS_CASE(weighted_losses_match_their_formulas) {
  for (LossKind loss : kLosses)
    for (WeightKind weight : kWeights) check_weighted_loss<float>(loss, weight, 300, true, 2e-5);
}

HARNESS_CASE(every_storage_type_and_the_empty_batch) {
  check_weighted_loss<double>(LossKind::bce, WeightKind::propensity_logit, 100, true, 1e-12);
  check_weighted_loss<debias::Half>(LossKind::bce, WeightKind::propensity, 100, true, 2e-3);
  check_weighted_loss<debias::BFloat16>(LossKind::mse, WeightKind::given, 100, true, 1e-2);
  check_weighted_loss<float>(LossKind::mae, WeightKind::given, 1, false, 2e-5);
  check_weighted_loss<float>(LossKind::mse, WeightKind::unit, 0, false, 2e-5);
}

HARNESS_CASE(self_normalised_slopes_use_the_sums_of_an_earlier_pass) {
  constexpr int64_t n = 300;
  const auto scores = uniform(n, -3, 3, 1), targets = uniform(n, 0, 1, 2), propensities = uniform(n, 0.3f, 1, 3);
  std::vector<float> slopes(n), mean(1);
  WeightedLossArgs<float> args{
      scores.data(), targets.data(), propensities.data(), nullptr, nullptr, nullptr, nullptr, n, 1.0,
      0.0,           kFloor,         kLargestWeight};
  std::vector<double> first(debias::cuda::row_loss_workspace(n)), second(first.size());
  debias::cuda::weighted_loss(LossKind::mse, WeightKind::propensity, args, static_cast<const double*>(nullptr),
                              first.data(), nullptr);
  debias::cuda::write_loss(first.data(), 1.0, true, mean.data(), nullptr);
  args.grad_source = slopes.data();
  debias::cuda::weighted_loss(LossKind::mse, WeightKind::propensity, args, first.data(), second.data(), nullptr);
  const RowSums sums = debias::cuda::read_sums(first.data(), nullptr);
  expect_close("self-normalised loss", mean[0], sums.loss / sums.weight, 1e-6);
  for (int64_t k = 0; k < n; ++k) {
    const double centred = loss_at(LossKind::mse, scores[k], targets[k]).value - sums.loss / sums.weight;
    const double slope = weight_at(WeightKind::propensity, propensities[k]).slope;
    expect_close("slope in the propensity", slopes[k], centred * slope / sums.weight, 2e-5);
  }
}

HARNESS_CASE(doubly_robust_rows_match_their_formula) {
  constexpr int64_t n = 300;
  for (LossKind kind : kLosses) {
    auto targets = uniform(n, 0, 1, 2), propensities = uniform(n, 0.2f, 1, 3);
    const auto scores = uniform(n, -3, 3, 1), pseudo = uniform(n, 0, 1, 4);
    const std::unique_ptr<bool[]> observed(new bool[n]);
    for (int64_t k = 0; k < n; ++k) {
      observed[k] = k % 3 == 0;
      if (!observed[k]) targets[k] = propensities[k] = std::nanf("");  // never read
    }
    std::vector<float> values(n), d_score(n), d_target(n), d_pseudo(n), d_propensity(n);
    const DoublyRobustArgs<float> args{scores.data(),
                                       targets.data(),
                                       pseudo.data(),
                                       propensities.data(),
                                       observed.get(),
                                       values.data(),
                                       d_score.data(),
                                       d_target.data(),
                                       d_pseudo.data(),
                                       d_propensity.data(),
                                       n,
                                       2.0};
    std::vector<double> workspace(debias::cuda::row_loss_workspace(n));
    debias::cuda::doubly_robust_loss(kind, args, workspace.data(), nullptr);
    expect(debias::cuda::read_sums(workspace.data(), nullptr).valid, "unobserved propensities are not checked");
    for (int64_t k = 0; k < n; ++k) {
      const Loss imputed = loss_at(kind, scores[k], pseudo[k]);
      const Loss rated = observed[k] ? loss_at(kind, scores[k], targets[k]) : Loss{0, 0, 0};
      const double w = observed[k] ? 1 / static_cast<double>(propensities[k]) : 0;
      expect_close("value", values[k], imputed.value + w * (rated.value - imputed.value), 2e-5);
      expect_close("slope in the score", d_score[k], 2 * (imputed.score + w * (rated.score - imputed.score)), 2e-5);
      expect_close("slope in the target", d_target[k], 2 * w * rated.target, 2e-5);
      expect_close("slope in the pseudo target", d_pseudo[k], 2 * (1 - w) * imputed.target, 2e-5);
      expect_close("slope in the propensity", d_propensity[k], -2 * w * w * (rated.value - imputed.value), 2e-5);
    }
  }
}

HARNESS_CASE(a_propensity_outside_its_range_is_found) {
  const std::vector<float> scores(300, 0.5f), targets(300, 1.0f);
  for (float bad : {0.0f, -0.5f, 1.5f, std::nanf("")}) {
    std::vector<float> propensities(300, 0.5f);
    propensities[277] = bad;
    const WeightedLossArgs<float> args{
        scores.data(), targets.data(), propensities.data(), nullptr, nullptr, nullptr, nullptr, 300, 1.0,
        0.0,           kFloor,         kLargestWeight};
    std::vector<double> workspace(debias::cuda::row_loss_workspace(300));
    debias::cuda::weighted_loss(LossKind::mse, WeightKind::propensity, args, static_cast<const double*>(nullptr),
                                workspace.data(), nullptr);
    expect(!debias::cuda::read_sums(workspace.data(), nullptr).valid, "propensity " + std::to_string(bad));
  }
}

HARNESS_CASE(click_losses_match_their_formulas) {
  using debias::ClickLoss;
  constexpr int64_t n = 300;
  for (ClickLoss kind :
       {ClickLoss::exposure, ClickLoss::exposure_logit, ClickLoss::relmf_square, ClickLoss::relmf_log}) {
    for (bool soft : {true, false}) {
      const bool logit = kind == ClickLoss::exposure_logit;
      const auto s = uniform(n, -3, 3, 1), x = uniform(n, logit ? -3 : 0.05f, logit ? 3 : 1, 3);
      auto clicks = uniform(n, 0, 1, 2);
      if (!soft)
        for (float& click : clicks) click = click < 0.3f ? 1.0f : 0.0f;
      std::vector<float> values(n), d_score(n), d_click(n), d_source(n);
      const debias::ClickLossArgs<float> args{s.data(),
                                              clicks.data(),
                                              x.data(),
                                              values.data(),
                                              d_score.data(),
                                              soft ? d_click.data() : nullptr,
                                              d_source.data(),
                                              n,
                                              2.0,
                                              0.1};
      std::vector<double> workspace(debias::cuda::row_loss_workspace(n));
      debias::cuda::click_loss(kind, args, workspace.data(), nullptr);
      const RowSums sums = debias::cuda::read_sums(workspace.data(), nullptr);
      expect(sums.valid && sums.weight == 0, "clicks and exposures are in their ranges");
      for (int64_t k = 0; k < n; ++k) {
        const double p = 1 / (1 + std::exp(-s[k])), r = clicks[k];
        const double exposure = logit ? 1 / (1 + std::exp(-static_cast<double>(x[k]))) : x[k],
                     dx = exposure * (1 - exposure);
        const double c = std::fmax(exposure, 0.1), w = r / c, dw = exposure > 0.1 ? -w / c : 0, joint = exposure * p;
        double wanted[4];
        if (kind == ClickLoss::relmf_square) {
          const double form[] = {w * (1 - p) * (1 - p) + (1 - w) * p * p, 2 * p * (1 - p) * (p - w), (1 - 2 * p) / c,
                                 (1 - 2 * p) * dw};
          std::copy(form, form + 4, wanted);
        } else if (kind == ClickLoss::relmf_log) {
          const double form[] = {std::log1p(std::exp(s[k])) - w * s[k], p - w, -s[k] / c, -s[k] * dw};
          std::copy(form, form + 4, wanted);
        } else {
          const double form[] = {-r * std::log(joint) - (1 - r) * std::log1p(-joint),
                                 -r * (1 - p) + (1 - r) * joint * (1 - p) / (1 - joint),
                                 std::log1p(-joint) - std::log(joint),
                                 (-r / exposure + (1 - r) * p / (1 - joint)) * (logit ? dx : 1)};
          std::copy(form, form + 4, wanted);
        }
        expect_close("value", values[k], wanted[0], 2e-5);
        expect_close("slope in the score", d_score[k], 2 * wanted[1], 2e-5);
        if (soft) expect_close("slope in the click", d_click[k], 2 * wanted[2], 2e-5);
        expect_close("slope in the exposure", d_source[k], 2 * wanted[3], 2e-5);
      }
    }
  }
}

HARNESS_CASE(a_bad_click_and_a_bad_exposure_are_told_apart) {
  const std::vector<float> scores(300, 0.5f);
  for (int which : {0, 1}) {
    std::vector<float> clicks(300, 1.0f), exposures(300, 0.5f);
    (which == 0 ? clicks : exposures)[277] = which == 0 ? 1.5f : 0.0f;
    const debias::ClickLossArgs<float> args{
        scores.data(), clicks.data(), exposures.data(), nullptr, nullptr, nullptr, nullptr, 300, 1.0, 0.0};
    std::vector<double> workspace(debias::cuda::row_loss_workspace(300));
    debias::cuda::click_loss(debias::ClickLoss::exposure, args, workspace.data(), nullptr);
    const RowSums sums = debias::cuda::read_sums(workspace.data(), nullptr);
    expect(sums.valid == (which == 0) && sums.weight == (which == 0 ? 1 : 0), "one bad row");
  }
}

HARNESS_CASE(pair_losses_match_their_formulas) {
  using debias::PairKind;
  constexpr int64_t n = 300;
  const auto positive = uniform(n, -3, 3, 1), negative = uniform(n, -3, 3, 2), weights = uniform(n, 0, 2, 3);
  const auto m_positive = uniform(n, 0.05f, 1, 4), m_negative = uniform(n, 0.05f, 1, 5);
  for (PairKind kind : {PairKind::bpr, PairKind::pda}) {
    const bool pda = kind == PairKind::pda;
    std::vector<float> values(n), d_positive(n), d_negative(n), d_weight(n);
    const debias::PairLossArgs<float> args{positive.data(),
                                           negative.data(),
                                           pda ? weights.data() : nullptr,
                                           pda ? m_positive.data() : nullptr,
                                           pda ? m_negative.data() : nullptr,
                                           values.data(),
                                           d_positive.data(),
                                           d_negative.data(),
                                           d_weight.data(),
                                           n,
                                           2.0,
                                           0.3};
    std::vector<double> workspace(debias::cuda::row_loss_workspace(n));
    debias::cuda::pair_loss(kind, args, workspace.data(), nullptr);
    expect(debias::cuda::read_sums(workspace.data(), nullptr).valid, "popularities are in their range");
    for (int64_t k = 0; k < n; ++k) {
      const double w = pda ? weights[k] : 1, a = pda ? std::pow(m_positive[k], 0.3) : 1;
      const double b = pda ? std::pow(m_negative[k], 0.3) : 1;
      const auto raised = [&](double s) { return !pda ? s : (s > 0 ? s + 1 : std::exp(s)); };
      const auto slope = [&](double s) { return pda && s < 0 ? std::exp(s) : 1.0; };
      const double z = a * raised(positive[k]) - b * raised(negative[k]), e = -1 / (1 + std::exp(z));
      expect_close("value", values[k], w * std::log1p(std::exp(-z)), 2e-5);
      expect_close("slope in the positive score", d_positive[k], 2 * w * e * a * slope(positive[k]), 2e-5);
      expect_close("slope in the negative score", d_negative[k], -2 * w * e * b * slope(negative[k]), 2e-5);
      expect_close("slope in the weight", d_weight[k], 2 * std::log1p(std::exp(-z)), 2e-5);
    }
  }
}
