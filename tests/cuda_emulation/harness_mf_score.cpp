#include "harness.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "common/half.h"
#include "mf_score/mf_score_kernels.h"

using namespace harness;
using debias::MFScoreArgs;
using debias::RowGradientArgs;

namespace {

constexpr int64_t kUsers = 7, kItems = 9;

template <class T, class Index>
struct Problem {
  Problem(int64_t n, int64_t d)
      : batch(n),
        factors(d),
        p(stored<T>(uniform(kUsers * d, -1, 1, 1))),
        q(stored<T>(uniform(kItems * d, -1, 1, 2))),
        a(stored<T>(uniform(kUsers, -1, 1, 3))),
        b(stored<T>(uniform(kItems, -1, 1, 4))),
        grad(stored<T>(uniform(n, -1, 1, 5))),
        users(indices<Index>(n, kUsers, 6)),
        items(indices<Index>(n, kItems, 7)) {}

  std::vector<T> scores(bool with_bias) const {
    std::vector<T> result(batch), offset(1, debias::from_float<T>(0.25f));
    const MFScoreArgs<T, Index> args{p.data(),
                                     q.data(),
                                     users.data(),
                                     items.data(),
                                     with_bias ? a.data() : nullptr,
                                     with_bias ? b.data() : nullptr,
                                     with_bias ? offset.data() : nullptr,
                                     3.0,
                                     result.data(),
                                     batch,
                                     factors,
                                     kUsers,
                                     kItems};
    debias::cuda::mf_score(args, nullptr);
    return result;
  }

  double expected_score(int64_t k, bool with_bias) const {
    double sum = 3.0;
    for (int64_t f = 0; f < factors; ++f)
      sum += static_cast<double>(debias::to_float(p[users[k] * factors + f])) *
             static_cast<double>(debias::to_float(q[items[k] * factors + f]));
    if (with_bias) sum += 0.25 + debias::to_float(a[users[k]]) + debias::to_float(b[items[k]]);
    return sum;
  }

  std::vector<int64_t> order_by_user() const {
    std::vector<int64_t> order(batch);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return users[x] < users[y]; });
    return order;
  }

  int64_t batch, factors;
  std::vector<T> p, q, a, b, grad;
  std::vector<Index> users, items;
};

template <class T, class Index>
void check_scores(int64_t n, int64_t d, bool with_bias, double tolerance) {
  const Problem<T, Index> problem(n, d);
  const std::vector<T> scores = problem.scores(with_bias);
  for (int64_t k = 0; k < n; ++k)
    expect_close("score", debias::to_float(scores[k]), problem.expected_score(k, with_bias), tolerance);
}

// Row gradients of the user side, into the whole table or, compact, into one row per user that occurs.
template <class T, class Index>
void check_row_gradient(int64_t n, int64_t d, bool compact, double tolerance) {
  const Problem<T, Index> problem(n, d);
  const std::vector<int64_t> order = problem.order_by_user();
  std::vector<Index> sorted;
  for (int64_t k : order) sorted.push_back(problem.users[k]);
  std::vector<int64_t> heads(n), slots(n);
  debias::cuda::segment_heads(sorted.data(), n, heads.data(), nullptr);
  std::partial_sum(heads.begin(), heads.end(), slots.begin());
  const int64_t rows_out = compact ? debias::cuda::read_last(slots.data(), n, nullptr) : kUsers;
  std::vector<T> rows(rows_out * d, T{}), bias(rows_out, T{});
  std::vector<int64_t> row_of(rows_out);
  std::iota(row_of.begin(), row_of.end(), int64_t{0});
  const RowGradientArgs<T, Index> args{problem.grad.data(), problem.q.data(), problem.items.data(), d, kItems,
                                       rows.data(),         bias.data()};
  if (compact)
    debias::cuda::compact_row_gradient(args, sorted.data(), order.data(), slots.data(), n, kUsers, row_of.data(),
                                       nullptr);
  else
    debias::cuda::row_gradient(args, sorted.data(), order.data(), n, kUsers, nullptr);
  for (int64_t j = 0; j < rows_out; ++j)
    for (int64_t f = -1; f < d; ++f) {
      double expected = 0;
      for (int64_t k = 0; k < n; ++k)
        if (problem.users[k] == row_of[j])
          expected += static_cast<double>(debias::to_float(problem.grad[k])) *
                      (f < 0 ? 1.0 : static_cast<double>(debias::to_float(problem.q[problem.items[k] * d + f])));
      expect_close("row gradient", debias::to_float(f < 0 ? bias[j] : rows[j * d + f]), expected, tolerance);
    }
}

}  // namespace

HARNESS_CASE(scores_match_a_loop) {
  check_scores<float, int64_t>(40, 20, true, 1e-5);
  check_scores<float, int32_t>(33, 5, false, 1e-5);
  check_scores<double, int64_t>(1, 16, true, 1e-12);
  check_scores<debias::Half, int32_t>(40, 17, true, 2e-3);
  check_scores<debias::BFloat16, int64_t>(40, 3, true, 1e-2);
  check_scores<float, int64_t>(0, 4, true, 1e-5);
}

HARNESS_CASE(an_index_out_of_range_scores_nan_and_reads_nothing) {
  Problem<float, int64_t> problem(40, 4);
  problem.users[3] = kUsers;
  problem.items[17] = -1;
  const std::vector<float> scores = problem.scores(true);
  for (int64_t k = 0; k < 40; ++k) expect(std::isnan(scores[k]) == (k == 3 || k == 17), "score " + std::to_string(k));
}

HARNESS_CASE(row_gradients_match_a_loop) {
  check_row_gradient<float, int64_t>(40, 20, false, 1e-5);
  check_row_gradient<float, int32_t>(40, 20, true, 1e-5);
  check_row_gradient<double, int64_t>(1, 5, true, 1e-12);
  check_row_gradient<debias::Half, int64_t>(40, 3, false, 2e-3);
  check_row_gradient<debias::BFloat16, int32_t>(40, 3, true, 2e-2);
}

HARNESS_CASE(ordered_sum_adds_everything) {
  const std::vector<float> values = uniform(1003, -1, 1, 8);
  std::vector<float> sum(1);
  debias::cuda::ordered_sum(values.data(), values.size(), sum.data(), nullptr);
  expect_close("sum", sum[0], std::accumulate(values.begin(), values.end(), 0.0), 1e-6);
}

HARNESS_CASE(the_first_index_out_of_range_is_found) {
  std::vector<int32_t> users(600, 2);
  std::vector<int64_t> workspace(1);
  const auto first = [&] {
    return debias::cuda::first_out_of_range(users.data(), users.size(), kUsers, workspace.data(), nullptr);
  };
  expect(first() == -1, "all in range");
  users[599] = -1;
  users[301] = kUsers;
  expect(first() == 301, "first of two");
}
