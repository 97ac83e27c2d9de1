// The CPU kernels over blocks of users and items, and of the look-ahead step, on plain threads.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "block/block_kernels.h"
#include "lookahead/lookahead_block_kernels.h"
#include "sanitizers/cpu_threads.h"

using namespace harness;

namespace {

struct Model {
  Model(int64_t m, int64_t n, int64_t factors, unsigned seed)
      : d(factors),
        p(uniform(m * d, -1, 1, seed)),
        q(uniform(n * d, -1, 1, seed + 1)),
        a(uniform(m, -1, 1, seed + 2)),
        b(uniform(n, -1, 1, seed + 3)) {}
  debias::FactorTables<float> tables() const { return {p.data(), q.data(), a.data(), b.data(), d}; }
  debias::LookaheadTableArgs<float> users() const { return table(p, a); }
  debias::LookaheadTableArgs<float> items() const { return table(q, b); }
  int64_t d;
  std::vector<float> p, q, a, b;

 private:
  static debias::LookaheadTableArgs<float> table(const std::vector<float>& rows, const std::vector<float>& bias) {
    debias::LookaheadTableArgs<float> args{};
    args.factors = rows.data(), args.bias = bias.data(), args.rows = static_cast<int64_t>(bias.size());
    return args;
  }
};

// The loss of a block, its gradients, and what run(args, result) adds to them.
void check_block(const std::function<void(const debias::BlockArgs<float>&, std::vector<double>&)>& run) {
  constexpr int64_t m = 700, n = 300, d = 10, pairs = 12000;
  const Model student(m, n, d, 1);
  const auto targets = uniform(pairs, -1, 1, 5), weights = uniform(pairs, 0.5f, 1, 6);
  const auto rows = indices<int32_t>(pairs, m, 7), columns = indices<int32_t>(pairs, n, 8);
  check_threads([&] {
    const debias::RatedOrder order = debias::cpu::sort_rated(rows.data(), columns.data(), pairs, m, n);
    std::vector<float> p(m * d), q(n * d), a(m), b(n), to_targets(pairs), to_weights(pairs);
    const debias::BlockArgs<float> args{
        student.tables(),
        m,
        n,
        {targets.data(), weights.data(), order.offsets.get(), order.columns.get(), order.positions.get(), pairs},
        1.0,
        1.0,
        {p.data(), q.data(), a.data(), b.data(), to_targets.data(), to_weights.data()}};
    std::vector<double> result;
    run(args, result);
    append(result, p, q, a, b, to_targets, to_weights);
    return result;
  });
}

constexpr debias::LookaheadKind kWeighted{debias::LookaheadLoss::mse, debias::LookaheadSource::weights, 0, 0, INFINITY};
constexpr debias::LookaheadKind kPlain{debias::LookaheadLoss::mse, debias::LookaheadSource::unit, 0, 0, INFINITY};

// Both sides of a look-ahead step: their inputs, and the gradients that a run writes.
struct Step {
  Step(int64_t n_users, int64_t n_items, int64_t n_lower, int64_t n_upper)
      : model(n_users, n_items, 10, 1),
        lower_users(indices<int64_t>(n_lower, n_users, 5)),
        lower_items(indices<int64_t>(n_lower, n_items, 6)),
        upper_users(indices<int64_t>(n_upper, n_users, 7)),
        upper_items(indices<int64_t>(n_upper, n_items, 8)),
        targets(uniform(n_lower, 0, 1, 9)),
        weights(uniform(n_lower, 0, 2, 10)),
        upper_targets(uniform(n_upper, 0, 1, 11)) {}

  debias::LookaheadArgs<float, int64_t> start() {
    to_targets.assign(targets.size(), 0.0f), to_weights.assign(weights.size(), 0.0f);
    to_upper_targets.assign(upper_targets.size(), 0.0f);
    debias::LookaheadArgs<float, int64_t> args{};
    args.user_table = model.users(), args.item_table = model.items();
    args.step.lr = 0.01, args.step.l2 = 0.1;
    args.factors = model.d;
    args.lower.users = lower_users.data(), args.lower.items = lower_items.data();
    args.lower.targets = targets.data(), args.lower.source = weights.data();
    args.lower.grad_targets = to_targets.data(), args.lower.grad_source = to_weights.data();
    args.lower.n = args.lower.n_rated = static_cast<int64_t>(targets.size());
    args.upper.users = upper_users.data(), args.upper.items = upper_items.data();
    args.upper.targets = upper_targets.data(), args.upper.grad_targets = to_upper_targets.data();
    args.upper.n = args.upper.n_rated = static_cast<int64_t>(upper_targets.size());
    args.lower.coefficient = args.upper.coefficient = 1;
    args.lower.kind = kWeighted, args.upper.kind = kPlain;
    return args;
  }

  Model model;
  std::vector<int64_t> lower_users, lower_items, upper_users, upper_items;
  std::vector<float> targets, weights, upper_targets, to_targets, to_weights, to_upper_targets;
};

}  // namespace

HARNESS_CASE(blocks_in_the_gram_form) {
  const auto user_weight = uniform(700, 0.5f, 1, 21), item_weight = uniform(300, 0.5f, 1, 22);
  check_block([&](const debias::BlockArgs<float>& args, std::vector<double>& result) {
    std::vector<float> to_value(1), to_users(700), to_items(300);
    debias::ConstantTargetArgs<float> target{};
    target.value_number = 0.25, target.replace = true;
    target.user_weight = user_weight.data(), target.item_weight = item_weight.data();
    target.grad_user_weight = to_users.data(), target.grad_item_weight = to_items.data();
    result.push_back(debias::cpu::block_constant(args, target));
    append(result, to_users, to_items);
  });
  const Model imputation(700, 300, 7, 31);
  check_block([&](const debias::BlockArgs<float>& args, std::vector<double>& result) {
    result.push_back(debias::cpu::block_residual(args, imputation.tables()));
  });
}

HARNESS_CASE(blocks_pair_by_pair) {
  const Model first(700, 300, 7, 31), second(700, 300, 12, 41);
  for (auto kind : {debias::TileKind::interd_soft, debias::TileKind::label})
    check_block([&](const debias::BlockArgs<float>& args, std::vector<double>& result) {
      result.push_back(debias::cpu::block_tiles(
          args, debias::TileArgs<float>{kind, {first.tables(), second.tables()}, -0.7, 0.5, 1e-8}));
    });
}

HARNESS_CASE(lookahead_of_rows) {
  Step step(3000, 500, 20000, 6000);
  check_threads([&] {
    const auto args = step.start();
    std::vector<double> result{debias::cpu::lookahead_loss(args),
                               static_cast<double>(debias::cpu::first_invalid_row(args.lower).row)};
    append(result, step.to_targets, step.to_weights, step.to_upper_targets);
    return result;
  });
}

HARNESS_CASE(lookahead_of_a_block) {
  constexpr int64_t m = 2500, n = 300;
  Step step(m, n, 20000, 6000);
  std::vector<int64_t> users(m), items(n);
  std::iota(users.begin(), users.end(), int64_t{0}), std::iota(items.begin(), items.end(), int64_t{0});
  const auto user_weight = uniform(m, 0.5f, 1, 21), item_weight = uniform(n, 0.5f, 1, 22), value = uniform(1, 0, 1, 23);
  const auto weights = uniform(20000, 0.5f, 1, 24), imputations = uniform(20000, -1, 1, 25);
  check_threads([&] {
    std::vector<float> to_users(m), to_items(n), to_value(1), to_weights(20000), to_imputations(20000);
    debias::LookaheadBlockArgs<float, int64_t> args{};
    args.pairs = step.start();
    args.users = users.data(), args.items = items.data(), args.m = m, args.n = n;
    args.user_weight = user_weight.data(), args.item_weight = item_weight.data(), args.value = value.data();
    args.grad_user_weight = to_users.data(), args.grad_item_weight = to_items.data(), args.grad_value = to_value.data();
    args.weights = weights.data(), args.imputations = imputations.data();
    args.grad_weights = to_weights.data(), args.grad_imputations = to_imputations.data();
    std::vector<double> result{debias::cpu::lookahead_block_loss(args)};
    append(result, to_users, to_items, to_value, to_weights, to_imputations, step.to_targets, step.to_weights,
           step.to_upper_targets);
    return result;
  });
}
