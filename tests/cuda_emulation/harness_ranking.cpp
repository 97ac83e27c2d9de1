#include "harness.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "ranking/group_ranking_kernels.h"

using namespace harness;
using debias::Metric;
using debias::RankingOptions;

namespace {

RankingOptions all_metrics(bool expected, debias::MapNorm norm) {
  RankingOptions options{};
  options.n_ks = 2;
  options.ks[0] = 1;
  options.ks[1] = 40;
  options.expected = expected;
  options.map_norm = norm;
  for (int metric = 0; metric < debias::kMetrics; ++metric) {
    const bool uncut = metric == debias::kAuc || metric == debias::kNdcg || metric == debias::kDcg;
    options.first_row[metric] = options.n_values;
    options.n_values += (uncut ? 1 : 0) + (metric == debias::kAuc ? 0 : options.n_ks);
  }
  return options;
}

std::vector<int64_t> sorted_positions(int64_t n, const std::function<bool(int64_t, int64_t)>& before) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), before);
  return order;
}

// Rows of a few groups, the first with more rows than a block has threads.
struct Problem {
  explicit Problem(int64_t rows, bool with_weights) : n(rows), weighted(with_weights) {
    std::mt19937 generator(7);
    for (int64_t row = 0; row < n; ++row) {
      groups.push_back(generator() % 2 ? -5 : static_cast<int64_t>(generator() % 6));
      scores.push_back(static_cast<float>(generator() % 50) / 8 - 3);
      labels.push_back(generator() % 3 == 0);
      weights.push_back(1 + static_cast<double>(generator() % 8) / 4);
    }
  }

  debias::RankingInputs<float, int64_t, uint8_t> inputs() const {
    return {scores.data(), labels.data(), nullptr, weighted ? weights.data() : nullptr, n, uint8_t{1}, uint8_t{0}};
  }

  // The values [n_values, G], after every kernel in the order of the operator.
  std::vector<double> values(const RankingOptions& options) {
    std::vector<int32_t> keys(n);
    std::vector<uint8_t> hits(n);
    std::vector<int64_t> bad(3);
    debias::cuda::prepare_rows(inputs(), debias::PreparedRows<float>{keys.data(), hits.data()}, bad.data(), nullptr);
    expect(!debias::cuda::read_bad_rows(bad.data(), n, nullptr).any(), "good rows were called bad");
    order = sorted_positions(
        n, [&](int64_t a, int64_t b) { return groups[a] != groups[b] ? groups[a] < groups[b] : keys[a] < keys[b]; });
    const auto in_order = [&](const auto& of) {
      std::vector<std::decay_t<decltype(of[0])>> out(n);
      debias::cuda::gather(of.data(), order.data(), n, out.data(), nullptr);
      return out;
    };
    const auto sorted_groups = in_order(groups);
    const auto sorted_keys = in_order(keys);
    const auto sorted_hits = in_order(hits);
    const auto sorted_weights = in_order(weights);
    std::vector<int64_t> slots(n), counts(sorted_hits.begin(), sorted_hits.end());
    debias::cuda::group_heads(sorted_groups.data(), n, slots.data(), nullptr);
    std::partial_sum(slots.begin(), slots.end(), slots.begin());
    std::partial_sum(counts.begin(), counts.end(), counts.begin());
    n_groups = debias::cuda::last_value(slots.data(), n, nullptr);
    starts.assign(n_groups + 1, -1);
    std::vector<int64_t> ids(n_groups), sizes(n_groups), positives(n_groups);
    debias::cuda::group_starts(sorted_groups.data(), slots.data(), n, starts.data(), ids.data(), nullptr);
    std::vector<double> discounts(n + 1), workspace(n / 256 + 1), positive_sums(n), negative_sums(n), best(n);
    debias::cuda::discount_sums(n, discounts.data(), workspace.data(), nullptr);
    debias::SortedRows<int32_t> rows{
        sorted_keys.data(), sorted_hits.data(), counts.data(), nullptr, nullptr, nullptr, nullptr,
        starts.data(),      discounts.data()};
    if (weighted) {
      debias::cuda::weight_sums(sorted_hits.data(), sorted_weights.data(), starts.data(), n_groups,
                                positive_sums.data(), negative_sums.data(), nullptr);
      debias::cuda::ideal_keys(sorted_hits.data(), sorted_weights.data(), n, best.data(), nullptr);
      const auto ideal = sorted_positions(
          n, [&](int64_t a, int64_t b) { return slots[a] != slots[b] ? slots[a] < slots[b] : best[a] < best[b]; });
      debias::cuda::gather(sorted_weights.data(), ideal.data(), n, best.data(), nullptr);
      rows.weights = sorted_weights.data();
      rows.positive_sums = positive_sums.data();
      rows.negative_sums = negative_sums.data();
      rows.ideal_weights = best.data();
    }
    std::vector<double> out(options.n_values * n_groups, -1.0);
    const debias::RankingOutputs outputs{ids.data(), out.data(), sizes.data(), positives.data()};
    debias::cuda::rank_groups(rows, options, n_groups, outputs, nullptr);
    return out;
  }

  double weight(int64_t row) const { return weighted ? weights[row] : 1.0; }

  double auc(int64_t group) const {
    double right = 0, pairs = 0;
    for (int64_t a = starts[group]; a < starts[group + 1]; ++a)
      for (int64_t b = starts[group]; b < starts[group + 1]; ++b) {
        const int64_t i = order[a], j = order[b];
        if (!labels[i] || labels[j]) continue;
        pairs += weight(i) * weight(j);
        right += weight(i) * weight(j) * (scores[i] > scores[j] ? 1.0 : scores[i] == scores[j] ? 0.5 : 0.0);
      }
    return pairs > 0 ? right / pairs : NAN;
  }

  // With ties broken by row order.
  double dcg(int64_t group, int64_t k) const {
    double sum = 0;
    for (int64_t place = 0; place < std::min(k, starts[group + 1] - starts[group]); ++place) {
      const int64_t row = order[starts[group] + place];
      if (labels[row]) sum += weight(row) / std::log2(static_cast<double>(place) + 2);
    }
    return sum;
  }

  int64_t n, n_groups = 0;
  bool weighted;
  std::vector<int64_t> groups, order, starts;
  std::vector<float> scores;
  std::vector<uint8_t> labels;
  std::vector<double> weights;
};

void check_against_loops(int64_t n, bool weighted) {
  for (const bool expected : {false, true}) {
    Problem problem(n, weighted);
    const RankingOptions options = all_metrics(expected, expected ? debias::MapNorm::hits : debias::MapNorm::min);
    const std::vector<double> values = problem.values(options);
    const auto value = [&](Metric metric, int row, int64_t group) {
      return values[(options.first_row[metric] + row) * problem.n_groups + group];
    };
    for (int64_t g = 0; g < problem.n_groups; ++g) {
      expect_close("auc", value(debias::kAuc, 0, g), problem.auc(g), 1e-12);
      expect(value(debias::kPrecision, 1, g) >= 0, "precision has a value in every group");
      if (expected || std::isnan(value(debias::kDcg, 0, g))) continue;
      expect_close("dcg", value(debias::kDcg, 0, g), problem.dcg(g, n), 1e-12);
      expect_close("dcg@40", value(debias::kDcg, 2, g), problem.dcg(g, 40), 1e-12);
    }
  }
}

}  // namespace

HARNESS_CASE(values_match_loops) {
  check_against_loops(640, false);
  check_against_loops(1, false);
}

HARNESS_CASE(weighted_values_match_loops) { check_against_loops(640, true); }

HARNESS_CASE(the_first_bad_row_is_found) {
  Problem problem(300, true);
  problem.scores[290] = problem.scores[11] = NAN;
  problem.labels[299] = 2;
  problem.weights[5] = -1;
  std::vector<int32_t> keys(problem.n);
  std::vector<uint8_t> hits(problem.n);
  std::vector<int64_t> bad(3);
  debias::cuda::prepare_rows(problem.inputs(), debias::PreparedRows<float>{keys.data(), hits.data()}, bad.data(),
                             nullptr);
  const debias::BadRows rows = debias::cuda::read_bad_rows(bad.data(), problem.n, nullptr);
  expect(rows.score == 11 && rows.label == 299 && rows.weight == 5, "another row was named");
}
