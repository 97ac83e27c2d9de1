// lookahead_loss, with and without a block, on the emulated device against a plain loop, on exact-size heap blocks.
#include "lookahead_problem.h"

using namespace harness;

namespace {

template <class Index>
float run(Problem<Index>& problem, bool adam) {
  const LookaheadArgs<float, Index> args = problem.arguments(adam);
  Device<Index> device(args, problem.upper_users, problem.upper_items);
  device.users.sort_lower(device.users.keys);
  device.items.sort_lower(device.items.keys);
  debias::cuda::lookahead_loss(args, device.workspace(adam), device.loss.data(), nullptr);
  return device.loss[0];
}

double slope_of(const std::function<double(double)>& value) { return (value(1e-4) - value(-1e-4)) / 2e-4; }

// One side of a block of all rows of the table, the last one first.
template <class Index>
struct BlockSide {
  BlockSide(int64_t count, int64_t n, int64_t m, int64_t d)
      : rows(count),
        order(count),
        slots(count),
        slot_rows(n),
        local(m),
        factors(count * d),
        gradient(factors.size()),
        direction(factors.size()),
        bias(count),
        weight(count),
        value(1),
        gradient_bias(count),
        direction_bias(count),
        contraction(count),
        pair_weight(m),
        gram((d + 2) * debias::gram_width(d)),
        cross(gram.size()) {
    for (int64_t r = 0; r < count; ++r) rows[r] = static_cast<Index>(count - 1 - r);
  }

  debias::LookaheadBlockSide<float> pointers(bool is_user) {
    Side<Index>::sort(rows, sorted, order);
    return {static_cast<int64_t>(rows.size()),
            order.data(),
            slots.data(),
            slot_rows.data(),
            local.data(),
            factors.data(),
            bias.data(),
            weight.data(),
            is_user ? nullptr : value.data(),
            gradient.data(),
            gradient_bias.data(),
            direction.data(),
            direction_bias.data(),
            contraction.data(),
            pair_weight.data(),
            gram.data(),
            cross.data()};
  }

  std::vector<Index> rows, sorted;
  std::vector<int64_t> order, slots, slot_rows, local;
  std::vector<float> factors, gradient, direction;
  std::vector<float> bias, weight, value, gradient_bias, direction_bias, contraction, pair_weight;
  std::vector<double> gram, cross;
};

// The block's weights and value, the rated pairs' own weights and targets, and the gradients to all of these.
template <class Index>
struct Block {
  explicit Block(Problem<Index>& of)
      : problem(of),
        users(kUsers, of.n, of.m, of.d),
        items(kItems, of.n, of.m, of.d),
        inputs{uniform(kUsers, 0, 1, 14),
               uniform(kItems, 0, 1, 15),
               {0.3f},
               uniform(of.m, 0, 1, 16),
               uniform(of.m, -1, 1, 17)} {
    for (const std::vector<float>& input : inputs) gradients.emplace_back(input.size());
    args.pairs = of.arguments(false);
    args.user_weight = inputs[0].data(), args.grad_user_weight = gradients[0].data();
    args.item_weight = inputs[1].data(), args.grad_item_weight = gradients[1].data();
    args.value = inputs[2].data(), args.grad_value = gradients[2].data();
    args.weights = inputs[3].data(), args.grad_weights = gradients[3].data();
    args.imputations = inputs[4].data(), args.grad_imputations = gradients[4].data();
  }

  float run() {
    args.users = users.rows.data(), args.m = static_cast<int64_t>(users.rows.size());
    args.items = items.rows.data(), args.n = static_cast<int64_t>(items.rows.size());
    Device<Index> device(args.pairs, problem.upper_users, problem.upper_items);
    LookaheadWorkspace<float> work = device.workspace(false);
    std::vector<float> pair_value(problem.m);
    std::vector<double> shares(debias::cuda::gram_products_workspace(kUsers, problem.d, problem.d));
    std::vector<int64_t> found(4);
    const debias::LookaheadBlockWorkspace<float> block{
        {users.pointers(true), items.pointers(false)}, pair_value.data(), shares.data(), found.data()};
    debias::cuda::lookahead_block_match(args, work, block, users.sorted.data(), items.sorted.data(), nullptr);
    faults = debias::cuda::read_faults(found.data(), nullptr);
    device.users.sort_lower(users.local);
    device.items.sort_lower(items.local);
    for (int which = 0; which < 2; ++which) {
      work.sides[which].block_rows = block.sides[which].slot_rows;
      work.sides[which].block_gradient = block.sides[which].gradient;
      work.sides[which].block_gradient_bias = block.sides[which].gradient_bias;
    }
    debias::cuda::lookahead_block_loss(args, work, block, device.loss.data(), nullptr);
    return device.loss[0];
  }

  // Number k of input `which` moved.
  double expected(size_t which, size_t k, double move) const {
    std::vector<std::vector<double>> at;
    for (const std::vector<float>& input : inputs) at.emplace_back(input.begin(), input.end());
    if (k < at[which].size()) at[which][k] += move;
    std::vector<Slope> slopes = problem.slopes();
    const auto of_all = [&](int64_t u, int64_t i) {  // rows of the block stand in reverse
      const double s = problem.score(problem.p, problem.q, problem.a, problem.b, u, i);
      return 2 * at[0][kUsers - 1 - u] * at[1][kItems - 1 - i] * (s - at[2][0]);
    };
    for (size_t j = 0; j < problem.lower_users.size(); ++j) {
      Slope& to = slopes[j];
      const double s = problem.score(problem.p, problem.q, problem.a, problem.b, to.user, to.item);
      to.slope += 2 * at[3][j] * (s - at[4][j]) - of_all(to.user, to.item);
    }
    for (int64_t u = 0; u < kUsers; ++u)
      for (int64_t i = 0; i < kItems; ++i) slopes.push_back({u, i, of_all(u, i)});
    return problem.expected(slopes);
  }

  Problem<Index>& problem;
  debias::LookaheadBlockArgs<float, Index> args{};
  BlockSide<Index> users, items;
  std::vector<std::vector<float>> inputs, gradients;
  debias::BlockFaults faults{};
};

template <class Index>
void check(int64_t n, int64_t m, int64_t d) {
  Problem<Index> problem(n, m, d);
  expect_close("loss", run(problem, false), problem.expected(problem.slopes()), 1e-4);
  for (int64_t k = 0; k < m; ++k) {
    const double wanted = slope_of([&](double move) { return problem.expected(problem.slopes(k, move)); });
    expect_close("weight " + std::to_string(k), problem.grad_weights[k], wanted, 1e-3);
  }
}

template <class Index>
void check_block(int64_t n, int64_t m, int64_t d) {
  Problem<Index> problem(n, m, d);
  problem.lr = 0.01;
  Block<Index> block(problem);
  expect_close("loss", block.run(), block.expected(0, 0, 0), 1e-4);
  for (size_t which = 0; which < block.inputs.size(); ++which)
    for (size_t k = 0; k < block.inputs[which].size(); ++k)
      expect_close("input " + std::to_string(which) + ", " + std::to_string(k), block.gradients[which][k],
                   slope_of([&](double move) { return block.expected(which, k, move); }), 1e-3);
}

}  // namespace

HARNESS_CASE(loss_and_hypergradients_match_a_loop) {
  check<int64_t>(6, 12, 5);
  check<int32_t>(20, 30, 17);
  check<int64_t>(1, 1, 1);
}

HARNESS_CASE(empty_batches_do_nothing) {
  check<int64_t>(0, 5, 3);
  check<int64_t>(5, 0, 3);
  check<int32_t>(0, 0, 3);
}

HARNESS_CASE(adam_reads_its_moments_within_bounds) {
  Problem<int64_t> problem(8, 11, 4);
  expect(std::isfinite(run(problem, true)), "a finite loss");
  for (const float gradient : problem.grad_weights) expect(std::isfinite(gradient), "a finite gradient");
}

HARNESS_CASE(indices_out_of_range_are_not_read) {
  Problem<int64_t> lower(6, 12, 5), upper(6, 12, 5);
  lower.lower_users[3] = kUsers;
  lower.lower_items[4] = -1;
  expect(std::isfinite(run(lower, false)), "a lower row outside the tables is left out");
  expect(lower.grad_weights[3] == 0 && lower.grad_weights[4] == 0, "and has no gradient");
  upper.upper_items[2] = int64_t{1} << 40;
  expect(std::isnan(run(upper, false)), "an upper row outside the tables makes the loss NaN");
}

HARNESS_CASE(the_first_invalid_row_is_found) {
  std::vector<float> targets(40, 0.5f), propensities(40, 0.5f);
  std::vector<int64_t> workspace(1);
  debias::LookaheadRowsArgs<float, int64_t> rows{};
  rows.targets = targets.data();
  rows.source = propensities.data();
  rows.n = rows.n_rated = 40;
  rows.kind = {debias::LookaheadLoss::mse, debias::LookaheadSource::propensities, 0, 0, INFINITY};
  expect(debias::cuda::first_invalid_row(rows, workspace.data(), nullptr).row == -1, "all valid");
  propensities[31] = 0;
  propensities[17] = 2;
  expect(debias::cuda::first_invalid_row(rows, workspace.data(), nullptr).row == 17, "first of two");
}

HARNESS_CASE(a_block_matches_a_loop_over_its_pairs) {
  check_block<int64_t>(6, 12, 5);
  check_block<int32_t>(20, 30, 17);
  check_block<int64_t>(0, 5, 3);
  check_block<int64_t>(5, 0, 3);
}

HARNESS_CASE(faults_of_a_block_are_found_and_not_read) {
  Problem<int64_t> problem(6, 12, 5);
  Block<int64_t> sound(problem);
  sound.run();
  expect(sound.faults.twice[0] == -1 && sound.faults.outside[1] == -1, "all is well");
  Block<int64_t> faulty(problem);
  faulty.users.rows[4] = faulty.users.rows[2];
  faulty.items.rows[3] = int64_t{1} << 40;
  problem.lower_items[7] = -1;
  faulty.run();
  expect(faulty.faults.twice[0] == 4 && faulty.faults.twice[1] == -1, "a user that comes twice");
  expect(faulty.faults.outside[1] >= 0 && faulty.faults.outside[1] <= 7, "an item outside the block");
}
