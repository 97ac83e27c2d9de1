#include "harness.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "common/half.h"
#include "mf_step/mf_step_kernels.h"

using namespace harness;
using debias::OptimizerKind;

namespace {

constexpr int64_t kUsers = 7, kItems = 9;
constexpr double kRate = 0.05, kL2 = 0.1;

template <class T>
struct Side {
  using A = debias::accumulator_t<T>;
  std::vector<T> rows, bias;
  std::vector<A> first, second, bias_first, bias_second;
  std::vector<int64_t> sorted, order;

  Side(int64_t n, int64_t d, bool by_row, unsigned seed)
      : rows(stored<T>(uniform(n * d, -1, 1, seed))),
        bias(stored<T>(uniform(n, -1, 1, seed + 1))),
        first(n * d, A(0)),
        second(by_row ? n : n * d, A(0.1)),
        bias_first(n, A(0)),
        bias_second(n, A(0.1)) {}

  void sort(const std::vector<int64_t>& indices) {
    order.resize(indices.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return indices[x] < indices[y]; });
    for (int64_t k : order) sorted.push_back(indices[k]);
  }

  debias::SideTables<T, A> tables(int64_t n) {
    return {rows.data(), first.data(), second.data(), bias.data(), bias_first.data(), bias_second.data(), n};
  }
};

template <class T>
struct Problem {
  using A = debias::accumulator_t<T>;
  int64_t n, d;
  OptimizerKind kind;
  Side<T> users, items;
  std::vector<int64_t> user_of, item_of;
  std::vector<T> targets;

  Problem(int64_t samples, int64_t factors, OptimizerKind optimizer)
      : n(samples),
        d(factors),
        kind(optimizer),
        users(kUsers, factors, optimizer == OptimizerKind::rowwise_adagrad, 1),
        items(kItems, factors, optimizer == OptimizerKind::rowwise_adagrad, 3),
        targets(stored<T>(uniform(samples, -1, 1, 5))) {
    const std::vector<int32_t> u = indices(kUsers, 6), i = indices(kItems, 7);
    user_of.resize(n), item_of.resize(n);
    debias::cuda::gather_indices(u.data(), static_cast<const int64_t*>(nullptr), 0, n, n, kUsers, user_of.data(),
                                 nullptr);
    debias::cuda::gather_indices(i.data(), static_cast<const int64_t*>(nullptr), 0, n, n, kItems, item_of.data(),
                                 nullptr);
    users.sort(user_of);
    items.sort(item_of);
  }

  std::vector<int32_t> indices(int64_t rows, unsigned seed) const {
    std::mt19937 generator(seed);
    std::vector<int32_t> result(n);
    for (int32_t& index : result) index = static_cast<int32_t>(generator() % rows);
    if (n > 4) result[seed % 4] = -1;  // left out
    return result;
  }

  double step(bool all_rows) {
    std::vector<A> slopes(n), losses(n);
    std::vector<T> saved(n * d);
    std::vector<int64_t> saved_row(n);
    std::vector<double> total(1, 7.0);
    debias::cuda::set_zero(total.data(), nullptr);
    const debias::StepOptions options{
        {kind, kRate, 0.9, 0.999, 1e-8, 1}, debias::RowLossKind::mse, kL2, kL2, 0.25, all_rows, false};
    const debias::cuda::DeviceBatch<T> batch{n,
                                             user_of.data(),
                                             item_of.data(),
                                             targets.data(),
                                             nullptr,
                                             nullptr,
                                             nullptr,
                                             users.sorted.data(),
                                             users.order.data(),
                                             items.sorted.data(),
                                             items.order.data(),
                                             slopes.data(),
                                             losses.data(),
                                             saved.data(),
                                             saved_row.data(),
                                             total.data()};
    debias::cuda::mf_step(debias::Model<T, A>{users.tables(kUsers), items.tables(kItems), d}, batch, options, nullptr);
    return total[0];
  }
};

// The gradient of factor f (or of the bias, f = -1) of a row, from the parameters before the step.
template <class T>
double gradient(const Problem<T>& p, bool of_user, int64_t row, int64_t f, double* loss) {
  double sum = 0;
  *loss = 0;
  for (int64_t k = 0; k < p.n; ++k) {
    const int64_t u = p.user_of[k], i = p.item_of[k];
    if (u < 0 || i < 0) continue;
    double score = 0.25 + debias::to_float(p.users.bias[u]) + debias::to_float(p.items.bias[i]);
    for (int64_t g = 0; g < p.d; ++g)
      score += static_cast<double>(debias::to_float(p.users.rows[u * p.d + g])) *
               static_cast<double>(debias::to_float(p.items.rows[i * p.d + g]));
    const double off = score - debias::to_float(p.targets[k]);
    *loss += off * off;
    if ((of_user ? u : i) != row) continue;
    const double source =
        f < 0 ? 1.0 : debias::to_float(of_user ? p.items.rows[i * p.d + f] : p.users.rows[u * p.d + f]);
    sum += 2 * off * source;
  }
  return sum;
}

template <class T>
void check_sgd(int64_t n, int64_t d, bool all_rows, double tolerance) {
  const Problem<T> before(n, d, OptimizerKind::sgd);
  Problem<T> after(n, d, OptimizerKind::sgd);
  const double total = after.step(all_rows);
  for (bool of_user : {true, false}) {
    const auto& touched = of_user ? before.user_of : before.item_of;
    const auto& old = of_user ? before.users : before.items;
    const auto& now = of_user ? after.users : after.items;
    for (int64_t row = 0; row < (of_user ? kUsers : kItems); ++row)
      for (int64_t f = -1; f < d; ++f) {
        double loss = 0;
        const double sum = gradient(before, of_user, row, f, &loss);
        const double p = debias::to_float(f < 0 ? old.bias[row] : old.rows[row * d + f]);
        const bool visited = all_rows || std::count(touched.begin(), touched.end(), row) > 0;
        const double expected = visited ? p - kRate * (sum + kL2 * p) : p;
        expect_close("parameter", debias::to_float(f < 0 ? now.bias[row] : now.rows[row * d + f]), expected, tolerance);
        expect_close("loss", total, loss, tolerance);
      }
  }
}

// The moments of two numbers of factors differ, the rest of the table does not matter: all kinds run under the
// sanitizers, and touch the moments of visited rows alone.
template <class T>
void check_moments(OptimizerKind kind) {
  Problem<T> problem(23, 5, kind);
  problem.step(false);
  const bool by_row = kind == OptimizerKind::rowwise_adagrad;
  for (int64_t row = 0; row < kUsers; ++row) {
    const bool touched = std::count(problem.user_of.begin(), problem.user_of.end(), row) > 0;
    const bool visited = touched || kind == OptimizerKind::adam;
    const float second = static_cast<float>(problem.users.second[by_row ? row : row * 5]);
    expect((second != 0.1f) == visited, "second moment of row " + std::to_string(row));
  }
}

}  // namespace

HARNESS_CASE(sgd_matches_a_loop) {
  check_sgd<float>(40, 20, false, 1e-5);
  check_sgd<double>(33, 5, true, 1e-12);
  check_sgd<debias::Half>(40, 17, true, 3e-2);
  check_sgd<debias::BFloat16>(20, 3, false, 3e-1);
  check_sgd<float>(0, 4, true, 1e-5);
  check_sgd<float>(1, 1, false, 1e-5);
}

HARNESS_CASE(every_optimizer_visits_its_rows) {
  for (OptimizerKind kind :
       {OptimizerKind::adagrad, OptimizerKind::rowwise_adagrad, OptimizerKind::lazy_adam, OptimizerKind::adam}) {
    check_moments<float>(kind);
    check_moments<debias::Half>(kind);
  }
}

HARNESS_CASE(columns_are_gathered_in_order) {
  const std::vector<float> column = uniform(600, -1, 1, 8);
  std::vector<int64_t> order(600);
  for (int64_t k = 0; k < 600; ++k) order[k] = (k * 7 + 3) % 600;
  std::vector<float> values(90);
  debias::cuda::gather_values(column.data(), order.data(), 510, 90, 600, values.data(), nullptr);
  for (int64_t k = 0; k < 90; ++k) expect(values[k] == column[order[510 + k]], "value " + std::to_string(k));
}
