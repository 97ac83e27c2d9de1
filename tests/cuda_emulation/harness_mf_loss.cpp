#include "harness.h"

#include <cstdint>
#include <limits>

#include "common/half.h"
#include "mf_loss/mf_loss_kernels.h"

using namespace harness;
using debias::LossRows;
using debias::MFScoreArgs;
using debias::RowLossChoice;
using debias::RowLossKind;

namespace {

constexpr int64_t kUsers = 7, kItems = 9;
constexpr double kScale = 0.5;

double sigmoid(double s) { return 1 / (1 + std::exp(-s)); }

// ell(s, t, x) of one row without its weight
double error_at(RowLossKind kind, double s, double t, double x) {
  switch (kind) {
    case RowLossKind::mse: return (s - t) * (s - t);
    case RowLossKind::mae: return std::fabs(s - t);
    case RowLossKind::bce: return std::log1p(std::exp(s)) - t * s;
    case RowLossKind::exposure: return -t * std::log(x * sigmoid(s)) - (1 - t) * std::log(1 - x * sigmoid(s));
    case RowLossKind::relmf: return std::log1p(std::exp(s)) - t / x * s;
  }
  return 0;
}

template <class T, class Index>
struct Problem {
  Problem(RowLossChoice choice, int64_t n, int64_t d)
      : loss(choice),
        batch(n),
        factors(d),
        p(stored<T>(uniform(kUsers * d, -1, 1, 1))),
        q(stored<T>(uniform(kItems * d, -1, 1, 2))),
        targets(stored<T>(uniform(n, 0, 1, 3))),
        weights(stored<T>(uniform(n, 0.5f, 2, 4))),
        exposures(stored<T>(uniform(n, 0.1f, 0.9f, 5))),
        pseudo(stored<T>(uniform(n, 0, 1, 6))),
        users(indices<Index>(n, kUsers, 7)),
        items(indices<Index>(n, kItems, 8)),
        slopes(n),
        weight_slopes(n),
        workspace(3 * (1 + (n + 255) / 256)) {}

  void run() {
    const MFScoreArgs<T, Index> score{p.data(), q.data(), users.data(), items.data(), nullptr, nullptr, nullptr,
                                      0.25,     nullptr,  batch,        factors,      kUsers,  kItems};
    const bool exposed = debias::reads_exposures(loss.kind);
    const LossRows<T> rows{targets.data(),
                           weights.data(),
                           exposed ? exposures.data() : nullptr,
                           loss.pseudo_targets ? pseudo.data() : nullptr,
                           slopes.data(),
                           nullptr,
                           weight_slopes.data(),
                           nullptr,
                           nullptr,
                           kScale};
    debias::cuda::mf_loss(loss, score, rows, workspace.data(), nullptr);
  }

  double value(int64_t k, double nudge) const {
    double s = 0.25 + nudge;
    for (int64_t f = 0; f < factors; ++f)
      s += static_cast<double>(debias::to_float(p[users[k] * factors + f])) *
           static_cast<double>(debias::to_float(q[items[k] * factors + f]));
    const double x = debias::to_float(exposures[k]), w = debias::to_float(weights[k]);
    const double with_target = error_at(loss.kind, s, debias::to_float(targets[k]), x);
    if (!loss.pseudo_targets) return w * with_target;
    const double imputed = error_at(loss.kind, s, debias::to_float(pseudo[k]), x);
    return imputed + w * (with_target - imputed);
  }

  void check(double tolerance) {
    run();
    double sum = 0;
    for (int64_t k = 0; k < batch; ++k) {
      sum += value(k, 0);
      const double slope = (value(k, 1e-5) - value(k, -1e-5)) / 2e-5;
      expect_close("slope", debias::to_float(slopes[k]), kScale * slope, tolerance);
    }
    expect_close("sum of the losses", workspace[0], sum, tolerance);
    expect(workspace[2] == 0, "every row is valid");
  }

  RowLossChoice loss;
  int64_t batch, factors;
  std::vector<T> p, q, targets, weights, exposures, pseudo;
  std::vector<Index> users, items;
  std::vector<T> slopes, weight_slopes;
  std::vector<double> workspace;
};

}  // namespace

HARNESS_CASE(every_loss_matches_its_formula) {
  for (RowLossKind kind : {RowLossKind::mse, RowLossKind::bce, RowLossKind::exposure, RowLossKind::relmf})
    Problem<double, int64_t>({kind, false}, 70, 5).check(1e-7);
  for (RowLossKind kind : {RowLossKind::mse, RowLossKind::bce})
    Problem<double, int32_t>({kind, true}, 70, 5).check(1e-7);
}

HARNESS_CASE(every_storage_type_and_batches_around_a_tile) {
  Problem<float, int64_t>({RowLossKind::bce, true}, 255, 17).check(1e-4);
  Problem<float, int32_t>({RowLossKind::mse, false}, 257, 3).check(1e-4);
  Problem<debias::Half, int64_t>({RowLossKind::exposure, false}, 40, 16).check(5e-3);
  Problem<debias::BFloat16, int32_t>({RowLossKind::relmf, false}, 40, 16).check(4e-2);
  Problem<float, int64_t>({RowLossKind::mae, false}, 1, 0).check(1e-4);
  Problem<float, int64_t>({RowLossKind::mse, false}, 0, 4).check(1e-4);
}

HARNESS_CASE(an_index_out_of_range_makes_the_loss_nan_and_reads_nothing) {
  Problem<float, int64_t> problem({RowLossKind::mse, false}, 40, 4);
  problem.users[3] = kUsers;
  problem.items[17] = -1;
  problem.run();
  expect(std::isnan(problem.workspace[0]), "the loss is NaN");
  for (int64_t k = 0; k < 40; ++k)
    expect(std::isnan(problem.slopes[k]) == (k == 3 || k == 17), "slope " + std::to_string(k));
}

HARNESS_CASE(bad_clicks_and_exposures_are_counted) {
  Problem<float, int64_t> problem({RowLossKind::exposure, false}, 300, 4);
  problem.targets[5] = 1.5f;
  problem.exposures[299] = std::numeric_limits<float>::quiet_NaN();
  problem.run();
  expect(problem.workspace[1] == 1, "one target is no click");
  expect(problem.workspace[2] == 2, "two rows are not valid");
}
