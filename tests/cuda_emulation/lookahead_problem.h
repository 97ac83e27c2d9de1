// A small look-ahead step and the memory of its kernels, for the harness.
#pragma once

#include <algorithm>
#include <numeric>

#include "block/gram.h"
#include "harness.h"
#include "lookahead/lookahead_block_kernels.h"

namespace harness {

using debias::LookaheadArgs;
using debias::LookaheadWorkspace;

constexpr int64_t kUsers = 9, kItems = 7;

// One table's half of the workspace; sorts and scans, which torch gives otherwise, are done here.
template <class Index>
struct Side {
  Side(int64_t n, int64_t m, int64_t d)
      : order(n),
        slots(n),
        rows(n),
        begins(n),
        sample_slots(n),
        keys(m),
        sorted_keys(m),
        lower_order(m),
        stepped(n * d),
        stepped_bias(n),
        response(n * d),
        response_bias(n),
        gradient(n * d),
        gradient_bias(n) {}

  debias::LookaheadSlots<float> pointers(bool adam) {
    return {order.data(),
            slots.data(),
            rows.data(),
            begins.data(),
            sample_slots.data(),
            keys.data(),
            sorted_keys.data(),
            lower_order.data(),
            stepped.data(),
            stepped_bias.data(),
            adam ? response.data() : nullptr,
            adam ? response_bias.data() : nullptr,
            gradient.data(),
            gradient_bias.data(),
            nullptr,
            nullptr,
            nullptr};
  }

  void sort_upper(const std::vector<Index>& indices) {
    sort(indices, sorted, order);
    int64_t slot = 0;
    for (size_t p = 0; p < sorted.size(); ++p) slots[p] = slot += p == 0 || sorted[p] != sorted[p - 1];
  }

  void sort_lower(const std::vector<int64_t>& by) { sort(by, sorted_keys, lower_order); }

  std::vector<Index> sorted;
  std::vector<int64_t> order, slots, rows, begins, sample_slots, keys, sorted_keys, lower_order;
  std::vector<float> stepped, stepped_bias, response, response_bias, gradient, gradient_bias;

  template <class V>
  static void sort(const std::vector<V>& values, std::vector<V>& sorted_values, std::vector<int64_t>& positions) {
    std::iota(positions.begin(), positions.end(), int64_t{0});
    std::stable_sort(positions.begin(), positions.end(), [&](int64_t a, int64_t b) { return values[a] < values[b]; });
    sorted_values.clear();
    for (const int64_t k : positions) sorted_values.push_back(values[k]);
  }
};

// The workspace of one call, its upper batch sorted and matched with the lower rows.
template <class Index>
struct Device {
  Device(const LookaheadArgs<float, Index>& args, const std::vector<Index>& upper_users,
         const std::vector<Index>& upper_items)
      : users(args.upper.n, args.lower.n, args.factors),
        items(args.upper.n, args.lower.n, args.factors),
        scores(args.lower.n),
        slopes(args.lower.n),
        upper_slopes(args.upper.n),
        values(args.upper.n),
        loss(1) {
    users.sort_upper(upper_users);
    items.sort_upper(upper_items);
    debias::cuda::lookahead_match(args, workspace(args.step.adam != 0), users.sorted.data(), items.sorted.data(),
                                  nullptr);
  }

  LookaheadWorkspace<float> workspace(bool adam) {
    return {
        {users.pointers(adam), items.pointers(adam)}, scores.data(), slopes.data(), upper_slopes.data(), values.data()};
  }

  Side<Index> users, items;
  std::vector<float> scores, slopes, upper_slopes, values, loss;
};

// A pair of the lower loss, and its slope in the score.
struct Slope {
  int64_t user, item;
  double slope;
};

// Squared errors, weights on the lower rows.
template <class Index>
struct Problem {
  Problem(int64_t n_upper, int64_t n_lower, int64_t factors)
      : n(n_upper),
        m(n_lower),
        d(factors),
        p(uniform(kUsers * d, -1, 1, 1)),
        q(uniform(kItems * d, -1, 1, 2)),
        a(uniform(kUsers, -1, 1, 3)),
        b(uniform(kItems, -1, 1, 4)),
        targets(uniform(m, 0, 1, 5)),
        weights(uniform(m, 0, 2, 6)),
        upper_targets(uniform(n, 0, 1, 7)),
        grad_targets(m),
        grad_weights(m),
        grad_upper_targets(n),
        lower_users(indices<Index>(m, kUsers, 8)),
        lower_items(indices<Index>(m, kItems, 9)),
        upper_users(indices<Index>(n, kUsers, 10)),
        upper_items(indices<Index>(n, kItems, 11)) {}

  LookaheadArgs<float, Index> arguments(bool adam) {
    exp_avg = uniform(kUsers * d, -1, 1, 12);
    exp_avg_sq = uniform(kUsers * d, 0, 1, 13);
    LookaheadArgs<float, Index> args{};
    const float *first = adam ? exp_avg.data() : nullptr, *second = adam ? exp_avg_sq.data() : nullptr;
    args.user_table = {p.data(), a.data(), first, second, first, second, kUsers};
    args.item_table = {q.data(), b.data(), first, second, first, second, kItems};
    args.step.lr = lr;
    args.step.l2 = l2;
    if (adam) args.step = {lr, l2, 1, 0.9, 0.99, 1e-3, 0.5, 0.2};
    args.factors = d;
    args.lower.users = lower_users.data();
    args.lower.items = lower_items.data();
    args.lower.targets = targets.data();
    args.lower.source = weights.data();
    args.lower.grad_targets = grad_targets.data();
    args.lower.grad_source = grad_weights.data();
    args.lower.n = args.lower.n_rated = m;
    args.lower.coefficient = args.upper.coefficient = 1;
    args.lower.kind = {debias::LookaheadLoss::mse, debias::LookaheadSource::weights, 0, 0, INFINITY};
    args.upper.kind = {debias::LookaheadLoss::mse, debias::LookaheadSource::unit, 0, 0, INFINITY};
    args.upper.users = upper_users.data();
    args.upper.items = upper_items.data();
    args.upper.targets = upper_targets.data();
    args.upper.grad_targets = grad_upper_targets.data();
    args.upper.n = args.upper.n_rated = n;
    return args;
  }

  // The slopes of the lower rows, weight k moved by `move`.
  std::vector<Slope> slopes(int64_t k = -1, double move = 0) const {
    std::vector<Slope> all;
    for (int64_t j = 0; j < m; ++j) {
      const double residual = score(p, q, a, b, lower_users[j], lower_items[j]) - targets[j];
      all.push_back({lower_users[j], lower_items[j], 2 * (weights[j] + (j == k ? move : 0)) * residual});
    }
    return all;
  }

  // The upper loss after a plain step with these slopes, in double.
  double expected(const std::vector<Slope>& lower) const {
    std::vector<double> gp(p.size()), gq(q.size()), ga(a.size()), gb(b.size());
    std::vector<char> user(kUsers), item(kItems);
    for (const auto& [u, i, slope] : lower) {
      for (int64_t f = 0; f < d; ++f) {
        gp[u * d + f] += slope * q[i * d + f];
        gq[i * d + f] += slope * p[u * d + f];
      }
      ga[u] += slope;
      gb[i] += slope;
      user[u] = item[i] = 1;
    }
    std::vector<double> p2(p.begin(), p.end()), q2(q.begin(), q.end()), a2(a.begin(), a.end()), b2(b.begin(), b.end());
    for (size_t j = 0; j < p2.size(); ++j) p2[j] -= lr * (gp[j] + (user[j / d] ? l2 * p[j] : 0));
    for (size_t j = 0; j < q2.size(); ++j) q2[j] -= lr * (gq[j] + (item[j / d] ? l2 * q[j] : 0));
    for (size_t j = 0; j < a2.size(); ++j) a2[j] -= lr * ga[j];
    for (size_t j = 0; j < b2.size(); ++j) b2[j] -= lr * gb[j];
    double loss = 0;
    for (int64_t j = 0; j < n; ++j)
      loss += std::pow(score(p2, q2, a2, b2, upper_users[j], upper_items[j]) - upper_targets[j], 2);
    return loss;
  }

  template <class V>
  double score(const V& left, const V& right, const V& c, const V& e, int64_t u, int64_t i) const {
    double sum = static_cast<double>(c[u]) + e[i];
    for (int64_t f = 0; f < d; ++f) sum += static_cast<double>(left[u * d + f]) * right[i * d + f];
    return sum;
  }

  int64_t n, m, d;
  double lr = 0.1, l2 = 0.3;
  std::vector<float> p, q, a, b, targets, weights, upper_targets, grad_targets, grad_weights, grad_upper_targets;
  std::vector<float> exp_avg, exp_avg_sq;
  std::vector<Index> lower_users, lower_items, upper_users, upper_items;
};

}  // namespace harness
