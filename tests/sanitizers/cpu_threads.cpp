// The parallel CPU kernels on plain threads, for the thread sanitizer, and the same bits on one, two and four of them.
#include "sanitizers/cpu_threads.h"

#include <memory>

#include "additive_weights/additive_weights_kernels.h"
#include "fm_interaction/fm_kernels.h"
#include "interd/interd_kernels.h"
#include "mf_score/mf_score_kernels.h"
#include "pointwise_loss/pointwise_loss_kernels.h"
#include "ranking/group_ranking_kernels.h"

using namespace harness;

namespace {

void check_mf_score(int64_t batch, int64_t users, int64_t items, int64_t d) {
  const auto p = uniform(users * d, -1, 1, 1), q = uniform(items * d, -1, 1, 2), a = uniform(users, -1, 1, 3);
  const auto grad = uniform(batch, -1, 1, 4);
  const auto u = indices<int64_t>(batch, users, 5), i = indices<int64_t>(batch, items, 6);
  check_threads([&] {
    std::vector<float> scores(batch), rows(users * d), bias(users);
    debias::cpu::mf_score(debias::MFScoreArgs<float, int64_t>{p.data(), q.data(), u.data(), i.data(), a.data(), nullptr,
                                                              nullptr, 0.5, scores.data(), batch, d, users, items});
    debias::Segments sides[2];
    debias::parallel_blocks(2, 1, 0, [&](int64_t side, int64_t, int64_t) {
      sides[side] = debias::make_segments(side == 0 ? u.data() : i.data(), batch, side == 0 ? users : items);
    });
    debias::cpu::row_gradient(
        debias::RowGradientArgs<float, int64_t>{grad.data(), q.data(), i.data(), d, items, rows.data(), bias.data()},
        sides[0], false);
    std::vector<double> result{debias::cpu::ordered_sum(grad.data(), batch)};
    append(result, scores, rows, bias, sides[1].order);
    return result;
  });
}

void check_ranking(int64_t n, int64_t groups, int64_t stride, bool sorted, bool weighted, bool expected) {
  const auto scores = uniform(n, -1, 1, 1), coins = uniform(n, 0, 1, 2);
  auto ids = indices<int64_t>(n, groups, 3);
  if (sorted) std::sort(ids.begin(), ids.end());
  for (int64_t& id : ids) id *= stride;
  std::vector<uint8_t> labels(n);
  for (int64_t k = 0; k < n; ++k) labels[k] = coins[k] < 0.3f;
  const std::vector<double> weights(coins.begin(), coins.end());
  debias::RankingOptions options{};
  options.n_ks = 1, options.ks[0] = 3, options.expected = expected;
  for (int metric = 0; metric < debias::kMetrics; ++metric) {
    const bool uncut = metric == debias::kAuc || metric == debias::kNdcg || metric == debias::kDcg;
    options.first_row[metric] = options.n_values;
    options.n_values += (uncut ? 1 : 0) + (metric == debias::kAuc ? 0 : 1);
  }
  check_threads([&] {
    std::vector<int64_t> out_ids, sizes, positives;
    std::vector<double> values;
    const debias::RankingInputs<float, int64_t, uint8_t> in{
        scores.data(), labels.data(), ids.data(), weighted ? weights.data() : nullptr, n, 1, 0};
    const auto bad = debias::cpu::group_ranking(in, options, [&](int64_t count) {
      out_ids.resize(count), sizes.resize(count), positives.resize(count), values.resize(count * options.n_values);
      return debias::RankingOutputs{out_ids.data(), values.data(), sizes.data(), positives.data()};
    });
    expect(!bad.any(), "every row is valid");
    append(values, out_ids, sizes, positives);
    return values;
  });
}

}  // namespace

HARNESS_CASE(mf_score_and_its_segment_sums) {
  check_mf_score(3000, 200, 90, 33);    // by counting
  check_mf_score(3000, 30000, 90, 20);  // by radix sort
}

HARNESS_CASE(row_losses) {
  constexpr int64_t n = 40001;
  const auto s = uniform(n, -3, 3, 1), t = uniform(n, 0, 1, 2), q = uniform(n, 0.1f, 1, 3),
             pseudo = uniform(n, 0, 1, 4);
  const std::unique_ptr<bool[]> observed(new bool[n]);
  for (int64_t k = 0; k < n; ++k) observed[k] = k % 3 == 0;
  check_threads([&] {
    std::vector<float> values(n), slopes(n), others(n);
    const auto weighted = debias::cpu::weighted_loss(
        debias::LossKind::bce, debias::WeightKind::propensity,
        debias::WeightedLossArgs<float>{s.data(), t.data(), q.data(), values.data(), slopes.data(), nullptr,
                                        others.data(), n, 1.0, 0.1, 0.0, 8.0});
    std::vector<double> result{weighted.loss, weighted.weight};
    append(result, values, slopes, others);
    const auto robust = debias::cpu::doubly_robust_loss(
        debias::LossKind::mse,
        debias::DoublyRobustArgs<float>{s.data(), t.data(), pseudo.data(), q.data(), observed.get(), values.data(),
                                        slopes.data(), nullptr, others.data(), nullptr, n, 1.0});
    result.push_back(robust.loss);
    append(result, values, slopes, others);
    const auto interd = debias::cpu::interd_loss(
        debias::InterDTargetKind::soft, debias::InterDArgs<float>{s.data(), t.data(), pseudo.data(), s.data(), q.data(),
                                                                  values.data(), slopes.data(), n, 1.0, -0.7, 1e-8});
    result.push_back(interd.loss);
    append(result, values, slopes);
    return result;
  });
}

HARNESS_CASE(additive_weights_and_their_segment_sums) {
  constexpr int64_t n = 40001;
  for (const auto& [users, items] : {std::pair<int64_t, int64_t>{50, 20}, {20000, 30}, {200000, 30}}) {
    const auto a = uniform(users, -1, 1, 1), b = uniform(items, -1, 1, 2), c = uniform(2, -1, 1, 3);
    const auto u = indices<int32_t>(n, users, 4), i = indices<int32_t>(n, items, 5);
    const auto l = indices<int32_t>(n, 2, 6);
    const auto grad = uniform(n, -1, 1, 7);
    check_threads([&, users = users, items = items] {
      std::vector<float> weights(n), to_a(users), to_b(items), to_c(2);
      const debias::AdditiveWeightsArgs<float, int32_t> args{
          {{a.data(), u.data(), users}, {b.data(), i.data(), items}, {c.data(), l.data(), 2}}, weights.data(), n, 0.2};
      expect(debias::cpu::additive_weights(args) == -1, "every index is in range");
      const debias::AdditiveGradientArgs<float, int32_t> sums{grad.data(),
                                                              weights.data(),
                                                              {u.data(), i.data(), l.data()},
                                                              {to_a.data(), to_b.data(), to_c.data()},
                                                              {users, items, 2},
                                                              n,
                                                              0.2};
      expect(debias::cpu::additive_gradient(sums) == -1, "every index is in range");
      std::vector<double> result;
      append(result, weights, to_a, to_b, to_c);
      return result;
    });
  }
}

HARNESS_CASE(indices_out_of_range_on_several_threads) {
  constexpr int64_t n = 40001;
  const auto a = uniform(9, -1, 1, 1);
  auto u = indices<int64_t>(n, 9, 2), i = u;
  for (int64_t k = 0; k < n; k += 1000) i[k] = 9;
  u[39999] = -1;
  std::vector<float> weights(n);
  const debias::AdditiveWeightsArgs<float, int64_t> args{
      {{a.data(), u.data(), 9}, {a.data(), i.data(), 9}, {nullptr, nullptr, 0}}, weights.data(), n, 0.2};
  torch::stable::thread_count() = 4;
  expect(debias::cpu::additive_weights(args) == debias::kUserSide, "users come before items");
}

HARNESS_CASE(fm_interaction) {
  constexpr int64_t batch = 9001, n_fields = 3, d = 5;
  const auto fields = uniform(batch * n_fields * d, -1, 1, 1), grad = uniform(batch, -1, 1, 2);
  check_threads([&] {
    std::vector<float> out(batch), to_fields(fields.size());
    const debias::FMArgs<float> args{fields.data(), batch, n_fields, d};
    debias::cpu::fm_interaction(args, out.data());
    debias::cpu::fm_interaction_backward(args, grad.data(), to_fields.data());
    std::vector<double> result;
    append(result, out, to_fields);
    return result;
  });
}

HARNESS_CASE(group_ranking) {
  for (bool weighted : {false, true})
    for (bool expected : {false, true}) {
      check_ranking(40000, 300, 1, false, weighted, expected);
      check_ranking(40000, 300, 1, true, weighted, expected);
      check_ranking(40000, 300, int64_t{1} << 40, false, weighted, expected);  // sparse ids
      check_ranking(140000, 1, 1, false, weighted, expected);                  // a group that the threads share
    }
}
