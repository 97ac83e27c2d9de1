#include "harness.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "block/block_kernels.h"
#include "block/block_math.h"

using namespace harness;
using namespace debias;

namespace {

std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

template <class T>
struct Model {
  Model(int64_t m, int64_t n, int64_t d, unsigned seed)
      : factors(d),
        p(stored<T>(uniform(m * d, -1, 1, seed))),
        q(stored<T>(uniform(n * d, -1, 1, seed + 1))),
        a(stored<T>(uniform(m, -1, 1, seed + 2))),
        b(stored<T>(uniform(n, -1, 1, seed + 3))) {}
  FactorTables<T> tables() const { return {p.data(), q.data(), a.data(), b.data(), factors}; }
  double score(int64_t u, int64_t i) const {
    double sum = static_cast<double>(to_float(a[u])) + static_cast<double>(to_float(b[i]));
    for (int64_t f = 0; f < factors; ++f)
      sum += static_cast<double>(to_float(p[u * factors + f])) * static_cast<double>(to_float(q[i * factors + f]));
    return sum;
  }
  int64_t factors;
  std::vector<T> p, q, a, b;
};

// A block with rated pairs, one of them twice, and everything that the kernels write.
template <class T>
struct Problem {
  Problem(int64_t users, int64_t items, int64_t pairs, int64_t d)
      : m(users),
        n(items),
        student(m, n, d, 1),
        first(m, n, 2, 11),
        second(m, n, d + 3, 21),
        targets(stored<T>(uniform(pairs, -1, 1, 31))),
        weights(stored<T>(uniform(pairs, 0.5f, 1, 32))),
        user_weight(stored<T>(uniform(m, 0.5f, 1, 33))),
        item_weight(stored<T>(uniform(n, 0.5f, 1, 34))),
        gp(m * d),
        gq(n * d),
        ga(m),
        gb(n),
        gt(pairs),
        gw(pairs),
        gu(m),
        gi(n),
        loss(1) {
    std::mt19937 generator(35);
    for (int64_t k = 0; k < pairs; ++k) rows.push_back(generator() % m), columns.push_back(generator() % n);
    if (pairs > 1) rows.back() = rows.front(), columns.back() = columns.front();
    sort();
  }

  // What torch does between the kernels: stable sorts.
  void sort() {
    const int64_t pairs = rows.size();
    std::vector<int64_t> keys(pairs), sorted(pairs);
    cuda::rated_keys(rows.data(), columns.data(), pairs, m, n, keys.data(), nullptr);
    positions = ascending(keys);
    for (int64_t k = 0; k < pairs; ++k) sorted[k] = keys[positions[k]];
    offsets.assign(m + 1, -1), places.assign(pairs, -1), item_offsets.assign(n + 1, -1);
    cuda::rated_places(sorted.data(), pairs, m, n, offsets.data(), places.data(), nullptr);
    item_order = ascending(places);
    for (int64_t k = 0; k < pairs; ++k) sorted[k] = places[item_order[k]];
    cuda::item_offsets(sorted.data(), pairs, n, item_offsets.data(), nullptr);
  }

  static std::vector<int64_t> ascending(const std::vector<int64_t>& keys) {
    std::vector<int64_t> order(keys.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return keys[x] < keys[y]; });
    return order;
  }

  BlockArgs<T> args() {
    return {student.tables(),
            m,
            n,
            {targets.data(), weights.data(), offsets.data(), places.data(), positions.data(),
             static_cast<int64_t>(rows.size())},
            1.0,
            1.0,
            {gp.data(), gq.data(), ga.data(), gb.data(), gt.data(), gw.data()}};
  }

  ConstantTargetArgs<T> replaced() {
    return {nullptr, 0.25,    user_weight.data(), item_weight.data(), nullptr, nullptr,
            true,    nullptr, gu.data(),          gi.data(),          nullptr, nullptr};
  }

  cuda::ItemOrder items() const { return {item_offsets.data(), item_order.data()}; }

  bool is_rated(int64_t u, int64_t i) const {
    for (size_t k = 0; k < rows.size(); ++k)
      if (rows[k] == u && columns[k] == i) return true;
    return false;
  }

  // Value and gradients from missing(u, i, s) over all pairs and rated(k, s) over those that are rated.
  template <class Missing, class Rated>
  void compare(const Missing& missing, const Rated& rated, double tolerance) const {
    const int64_t d = student.factors;
    double value = 0;
    std::vector<double> p(m * d), q(n * d), a(m), b(n);
    const auto add = [&](int64_t u, int64_t i, double slope) {
      a[u] += slope, b[i] += slope;
      for (int64_t f = 0; f < d; ++f) {
        p[u * d + f] += slope * static_cast<double>(to_float(student.q[i * d + f]));
        q[i * d + f] += slope * static_cast<double>(to_float(student.p[u * d + f]));
      }
    };
    for (int64_t u = 0; u < m; ++u)
      for (int64_t i = 0; i < n; ++i) {
        const PairTerm<double> term = missing(u, i, student.score(u, i));
        value += term.value;
        add(u, i, term.slope);
      }
    for (size_t k = 0; k < rows.size(); ++k) {
      const RatedTerm<double> term = rated(k, student.score(rows[k], columns[k]));
      value += term.value;
      add(rows[k], columns[k], term.slope);
      expect_close("to target", static_cast<double>(to_float(gt[k])), term.to_target, tolerance);
      expect_close("to weight", static_cast<double>(to_float(gw[k])), term.to_weight, tolerance);
    }
    expect_close("loss", static_cast<double>(to_float(loss[0])), value, tolerance);
    const auto same = [&](const char* what, const std::vector<T>& got, const std::vector<double>& wanted) {
      for (size_t k = 0; k < got.size(); ++k)
        expect_close(what, static_cast<double>(to_float(got[k])), wanted[k], tolerance);
    };
    same("user factors", gp, p), same("item factors", gq, q), same("user bias", ga, a), same("item bias", gb, b);
  }

  double target(size_t k) const { return static_cast<double>(to_float(targets[k])); }
  double weight(size_t k) const { return static_cast<double>(to_float(weights[k])); }

  int64_t m, n;
  Model<T> student, first, second;
  std::vector<T> targets, weights, user_weight, item_weight, gp, gq, ga, gb, gt, gw, gu, gi, loss;
  std::vector<int64_t> rows, columns, positions, offsets, places, item_offsets, item_order;
};

template <class T>
void check_constant(int64_t m, int64_t n, int64_t pairs, int64_t d, double tolerance) {
  Problem<T> problem(m, n, pairs, d);
  std::vector<char> memory(cuda::block_gram_workspace(m, n, pairs, d, 0));
  cuda::block_constant(problem.args(), problem.replaced(), problem.items(), memory.data(), problem.loss.data(),
                       nullptr);
  problem.compare(
      [&](int64_t u, int64_t i, double s) {
        const double w = static_cast<double>(to_float(problem.user_weight[u])) *
                         static_cast<double>(to_float(problem.item_weight[i]));
        const double kept = problem.is_rated(u, i) ? 0 : w;
        return PairTerm<double>{kept * (s - 0.25) * (s - 0.25), 2 * kept * (s - 0.25)};
      },
      [&](size_t k, double s) { return weighted_square(s, problem.target(k), problem.weight(k)); }, tolerance);
}

template <class T>
void check_residual(int64_t m, int64_t n, int64_t pairs, int64_t d, double tolerance) {
  Problem<T> problem(m, n, pairs, d);
  std::vector<char> memory(cuda::block_gram_workspace(m, n, pairs, d, 2));
  cuda::block_residual(problem.args(), problem.first.tables(), problem.items(), memory.data(), problem.loss.data(),
                       nullptr);
  problem.compare(
      [&](int64_t u, int64_t i, double) {
        const double g = problem.first.score(u, i);
        return PairTerm<double>{g * g, -2 * g};
      },
      [&](size_t k, double s) {
        const double g = problem.first.score(problem.rows[k], problem.columns[k]);
        return residual_imputation(s, g, problem.target(k), problem.weight(k));
      },
      tolerance);
}

template <class T, class Target>
void check_tiles(TileKind kind, const Target& target, int64_t m, int64_t n, int64_t pairs, int64_t d,
                 double tolerance) {
  Problem<T> problem(m, n, pairs, d);
  std::vector<char> memory(cuda::block_tiles_workspace(m, n, d));
  const TileArgs<T> args{kind, {problem.first.tables(), problem.second.tables()}, -0.7, 0.5, 1e-8};
  cuda::block_tiles(problem.args(), args, memory.data(), problem.loss.data(), nullptr);
  problem.compare(
      [&](int64_t u, int64_t i, double s) {
        if (Target::kReplaces && problem.is_rated(u, i)) return PairTerm<double>{0, 0};
        return target.missing(s, problem.first.score(u, i), problem.second.score(u, i));
      },
      [&](size_t k, double s) {
        return target.rated(s, problem.first.score(problem.rows[k], problem.columns[k]), 0.0, problem.target(k),
                            problem.weight(k));
      },
      tolerance);
}

}  // namespace

HARNESS_CASE(constant_targets_match_a_loop) {
  check_constant<float>(21, 18, 40, 5, 1e-4);
  check_constant<double>(3, 40, 7, 16, 1e-12);
  check_constant<Half>(9, 5, 12, 3, 3e-2);
  check_constant<BFloat16>(4, 6, 5, 2, 1e-1);
  check_constant<float>(5, 4, 0, 3, 1e-4);
}

HARNESS_CASE(residual_imputations_match_a_loop) {
  check_residual<float>(21, 18, 40, 5, 1e-4);
  check_residual<double>(40, 3, 7, 1, 1e-12);
}

HARNESS_CASE(tiles_match_a_loop) {
  const InterDImputation<double, InterDTargetKind::soft, false> soft{-0.7, 0.5, 1e-8};
  check_tiles<float>(TileKind::interd_soft, soft, 21, 18, 40, 5, 1e-3);
  check_tiles<float>(TileKind::label, LabelImputation<double>{}, 17, 35, 30, 14, 1e-4);
  check_tiles<double>(TileKind::label, LabelImputation<double>{}, 3, 16, 9, 18, 1e-11);
  check_tiles<Half>(TileKind::label, LabelImputation<double>{}, 5, 6, 7, 3, 3e-2);
}

HARNESS_CASE(pairs_out_of_range_read_nothing_and_make_the_loss_nan) {
  Problem<float> problem(5, 6, 9, 3);
  problem.rows[4] = 5, problem.columns[7] = -1;
  problem.sort();
  std::vector<char> memory(cuda::block_gram_workspace(5, 6, 9, 3, 0));
  cuda::block_constant(problem.args(), problem.replaced(), problem.items(), memory.data(), problem.loss.data(),
                       nullptr);
  expect(std::isnan(problem.loss[0]), "loss of constant targets");
  expect(std::isnan(problem.gt[4]) && std::isnan(problem.gw[7]) && !std::isnan(problem.gt[0]), "rated gradients");
  std::vector<char> tiles(cuda::block_tiles_workspace(5, 6, 3));
  const TileArgs<float> label{TileKind::label, {problem.first.tables(), {}}, 0, 0, 0};
  cuda::block_tiles(problem.args(), label, tiles.data(), problem.loss.data(), nullptr);
  expect(std::isnan(problem.loss[0]), "loss of tiles");
}

HARNESS_CASE(contractions_match_a_loop) {
  const int64_t m = 37, n = 11, d = 4;
  const Model<double> tables(m, n, d, 1), along(m, n, d, 11);
  const std::vector<double> weight = doubles(uniform(n, 0.5f, 1, 20));
  const GramRows<double> users{tables.p.data(), tables.a.data(), nullptr, nullptr, 0, m, d, 1, true};
  const GramRows<double> items{tables.q.data(), tables.b.data(), weight.data(), nullptr, 0.25, n, d, 1, false};
  const GramRows<double> user_way{along.p.data(), along.a.data(), nullptr, nullptr, 0, m, d, 0, true};
  const GramRows<double> item_way{along.q.data(), along.b.data(), nullptr, nullptr, 0, n, d, 0, false};
  std::vector<double> gram((d + 2) * gram_width(d)), cross(gram.size()), out(m);
  std::vector<double> memory(cuda::gram_products_workspace(n, d, d));
  cuda::gram_products(items, items, memory.data(), gram.data(), nullptr);
  cuda::gram_products(items, item_way, memory.data(), cross.data(), nullptr);
  cuda::gram_contractions(users, user_way, gram.data(), cross.data(), 0.5, out.data(), nullptr);
  for (int64_t u = 0; u < m; ++u) {
    double expected = 0;
    for (int64_t i = 0; i < n; ++i) {
      double change = along.a[u] + along.b[i];
      for (int64_t f = 0; f < d; ++f)
        change += along.p[u * d + f] * tables.q[i * d + f] + tables.p[u * d + f] * along.q[i * d + f];
      expected += 0.5 * weight[i] * (tables.score(u, i) - 0.25) * change;
    }
    expect_close("contraction", out[u], expected, 1e-12);
  }
}
