#include "harness.h"

#include <cstdint>

#include "common/half.h"
#include "interd/interd_kernels.h"

using namespace harness;
using debias::InterDArgs;
using debias::InterDTargetKind;

namespace {

constexpr double kGamma = -0.7, kEpsilon = 1e-8, kCoefficient = 0.5;
constexpr size_t kWorkspace = 3 * (1 + 512);

struct Row {
  double value, slope;
};

double residual(InterDTargetKind kind, double s, double rb, double rd, double known, double omega) {
  const double biased = (rb - known) * (rb - known), debiased = omega * (rd - known) * (rd - known);
  double w = 1 / (1 + std::exp(-kGamma * (std::log(biased + kEpsilon) - std::log(debiased + kEpsilon))));
  if (kind == InterDTargetKind::hard) w = biased == debiased ? 0.5 : (biased < debiased ? 1.0 : 0.0);
  return s - (w * rb + (1 - w) * rd);
}

Row row_at(InterDTargetKind kind, double s, double rb, double rd, double known, double omega) {
  const double r = residual(kind, s, rb, rd, known, omega);
  if (kind != InterDTargetKind::attached) return {r * r, 2 * r};
  const double step = 1e-6;  // the score moves the coefficients as well
  const double up = residual(kind, s + step, rb, rd, s + step, omega);
  const double down = residual(kind, s - step, rb, rd, s - step, omega);
  return {r * r, (up * up - down * down) / (2 * step)};
}

template <class Storage>
void check(InterDTargetKind kind, int64_t n, bool rated, bool weighted, bool with_values, double tolerance) {
  const auto s = stored<Storage>(uniform(n, -3, 3, 1)), rb = stored<Storage>(uniform(n, -1, 1, 2));
  const auto rd = stored<Storage>(uniform(n, -1, 1, 3)), ratings = stored<Storage>(uniform(n, -1, 1, 4));
  const auto omega = stored<Storage>(uniform(n, 0.2f, 2, 5));
  const bool attached = kind == InterDTargetKind::attached;
  std::vector<Storage> values(with_values ? n : 0), slopes(n);
  const Storage* known = attached ? s.data() : (rated ? ratings.data() : nullptr);
  const InterDArgs<Storage> args{s.data(),
                                 rb.data(),
                                 rd.data(),
                                 known,
                                 weighted ? omega.data() : nullptr,
                                 with_values ? values.data() : nullptr,
                                 slopes.data(),
                                 n,
                                 kCoefficient,
                                 kGamma,
                                 kEpsilon};
  std::vector<double> workspace(kWorkspace);
  debias::cuda::interd_loss(kind, args, workspace.data(), nullptr);
  double sum = 0;
  for (int64_t k = 0; k < n; ++k) {
    const double score = debias::to_float(s[k]);
    const double zero_or_rating = rated ? static_cast<double>(debias::to_float(ratings[k])) : 0.0;
    const Row row = row_at(kind, score, debias::to_float(rb[k]), debias::to_float(rd[k]),
                           attached ? score : zero_or_rating, weighted ? debias::to_float(omega[k]) : 1.0);
    if (with_values) expect_close("value", debias::to_float(values[k]), row.value, tolerance);
    expect_close("slope", debias::to_float(slopes[k]), kCoefficient * row.slope, attached ? 20 * tolerance : tolerance);
    sum += row.value;
  }
  expect_close("sum", workspace[0], sum, 1e-5);
  expect(workspace[2] == 0, "every weight is valid");
}

}  // namespace

HARNESS_CASE(every_kind_matches_its_formula) {
  for (InterDTargetKind kind : {InterDTargetKind::soft, InterDTargetKind::hard, InterDTargetKind::attached})
    for (bool rated : {true, false})
      for (bool weighted : {true, false}) check<float>(kind, 300, rated, weighted, true, 2e-5);
}

HARNESS_CASE(every_storage_type_and_the_empty_batch) {
  check<double>(InterDTargetKind::soft, 100, true, true, true, 1e-12);
  check<debias::Half>(InterDTargetKind::soft, 100, true, false, true, 2e-3);
  check<debias::BFloat16>(InterDTargetKind::hard, 100, true, true, true, 1e-2);
  check<float>(InterDTargetKind::soft, 1, false, true, false, 2e-5);
  check<float>(InterDTargetKind::soft, 0, false, false, false, 2e-5);
}

HARNESS_CASE(a_weight_outside_its_range_is_found) {
  const std::vector<float> rows(300, 0.5f);
  for (float bad : {-0.5f, INFINITY, std::nanf("")}) {
    std::vector<float> weights(300, 1.0f), slopes(300);
    weights[277] = bad;
    const InterDArgs<float> args{rows.data(),   rows.data(), rows.data(), rows.data(), weights.data(), nullptr,
                                 slopes.data(), 300,         1.0,         kGamma,      kEpsilon};
    std::vector<double> workspace(kWorkspace);
    debias::cuda::interd_loss(InterDTargetKind::soft, args, workspace.data(), nullptr);
    expect(workspace[2] == 1, "weight " + std::to_string(bad));
  }
}
