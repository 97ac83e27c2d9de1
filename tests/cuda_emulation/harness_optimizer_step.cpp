#include "harness.h"

#include "optimizer_step/optimizer_step_kernels.h"

using namespace harness;
using debias::OptimizerKind;
using debias::to_float;

namespace {

// Two steps of a table of n rows; with rows, the gradient has theirs alone.
template <class T>
void check(OptimizerKind kind, int64_t n, int64_t d, const std::vector<int64_t>& rows, double decay, double tolerance) {
  using A = debias::accumulator_t<T>;
  const auto touched = static_cast<int64_t>(rows.size());
  auto table = stored<T>(uniform(n * d, -1, 1, 1));
  const auto gradient = stored<T>(uniform((rows.empty() ? n : touched) * d, -1, 1, 2));
  std::vector<A> first(n * d), second(n * d);
  std::vector<double> p(n * d), m(n * d), v(n * d);
  for (size_t k = 0; k < p.size(); ++k) p[k] = static_cast<double>(to_float(table[k]));
  for (int64_t step = 1; step <= 2; ++step) {
    const debias::TableRule rule{{kind, 0.05, 0.9, 0.999, 1e-8, step}, decay};
    const bool every_row = kind == OptimizerKind::adam || decay != 0;
    debias::cuda::optimizer_step<T>({table.data(), first.data(), second.data(), gradient.data(), rows.data(), n, d,
                                     touched, !rows.empty(), every_row},
                                    rule, nullptr);
    const auto values = debias::step_rule<double>(rule.optimizer);
    for (int64_t row = 0; row < n; ++row) {
      int64_t from = rows.empty() ? row : -1;
      for (int64_t j = 0; j < touched; ++j)
        if (rows[j] == row) from = j;
      if (from < 0 && !every_row) continue;
      for (int64_t at = row * d; at < (row + 1) * d; ++at) {
        const double given = from < 0 ? 0.0 : static_cast<double>(to_float(gradient[from * d + at - row * d]));
        debias::with_rule(
            kind, [&](auto one) { p[at] = decltype(one)::step(p[at], given + decay * p[at], m[at], v[at], values); });
      }
    }
  }
  for (size_t k = 0; k < p.size(); ++k) expect_close("table", static_cast<double>(to_float(table[k])), p[k], tolerance);
}

}  // namespace

HARNESS_CASE(dense_and_sparse_steps_match_loops) {
  for (const auto kind : {OptimizerKind::sgd, OptimizerKind::adagrad, OptimizerKind::adam})
    for (const double decay : {0.0, 0.1})
      for (const auto& rows : {std::vector<int64_t>{}, std::vector<int64_t>{0, 4, 5, 36}}) {
        check<float>(kind, 37, 9, rows, decay, 1e-5);
        check<double>(kind, 37, 1, rows, decay, 1e-12);
        check<debias::Half>(kind, 37, 3, rows, decay, 4e-3);
        check<debias::BFloat16>(kind, 37, 3, rows, decay, 3e-2);
      }
}

HARNESS_CASE(rows_out_of_range_or_order_are_left_out) {
  std::vector<float> table(3, 1.0f);
  const std::vector<float> gradient(4, 1.0f);
  const std::vector<int64_t> rows{-1, 1, 1, 7};
  debias::cuda::optimizer_step<float>(
      {table.data(), nullptr, nullptr, gradient.data(), rows.data(), 3, 1, 4, true, false},
      {{OptimizerKind::sgd, 0.5, 0.9, 0.999, 0.0, 1}, 0.0}, nullptr);
  expect(table[0] == 1.0f && table[1] == 0.5f && table[2] == 1.0f, "only row 1 is updated, once");
}
