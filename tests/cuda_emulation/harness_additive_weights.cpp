#include "harness.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "additive_weights/additive_weights_kernels.h"
#include "common/half.h"

using namespace harness;
using debias::AdditiveGradientArgs;
using debias::AdditiveSide;
using debias::AdditiveWeightsArgs;

namespace {

constexpr double kInverseTemperature = 0.25;

template <class T, class Index>
struct Inputs {
  std::vector<T> tables[3];
  std::vector<Index> indices[3];
  std::vector<T> weights;

  Inputs(int64_t n, const int64_t (&rows)[3], bool labels) : weights(n) {
    for (unsigned side = 0; side < (labels ? 3u : 2u); ++side) {
      tables[side] = stored<T>(uniform(rows[side], -2, 2, side + 1));
      indices[side] = harness::indices<Index>(n, rows[side], side + 11);
    }
  }
  AdditiveWeightsArgs<T, Index> args() {
    AdditiveWeightsArgs<T, Index> a{{}, weights.data(), static_cast<int64_t>(weights.size()), kInverseTemperature};
    for (int s = 0; s < 3; ++s)
      if (!tables[s].empty())
        a.tables[s] = {tables[s].data(), indices[s].data(), static_cast<int64_t>(tables[s].size())};
    return a;
  }
};

template <class T, class Index>
void check_weights(int64_t n, bool labels, double tolerance) {
  const int64_t rows[3] = {7, 40, 2};
  Inputs<T, Index> in(n, rows, labels);
  debias::cuda::additive_weights(in.args(), nullptr);
  for (int64_t k = 0; k < n; ++k) {
    double sum = 0;
    for (int s = 0; s < (labels ? 3 : 2); ++s) sum += debias::to_float(in.tables[s][in.indices[s][k]]);
    expect_close("weight", debias::to_float(in.weights[k]), std::exp(sum * kInverseTemperature), tolerance);
  }
}

template <class T, class Index>
void check_gradient(int64_t n, int64_t rows, bool sorted, double tolerance) {
  const auto grad = stored<T>(uniform(n, -1, 1, 1)), weights = stored<T>(uniform(n, 0.5f, 2, 2));
  const auto indices = harness::indices<Index>(n, rows, 3);
  std::vector<T> sums(rows, debias::from_float<T>(0.0f));
  AdditiveGradientArgs<T, Index> args{};
  args.grad = grad.data(), args.weights = weights.data(), args.batch = n;
  args.inverse_temperature = kInverseTemperature;
  args.indices[1] = indices.data(), args.sums[1] = sums.data(), args.rows[1] = rows;
  if (sorted) {
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return indices[a] < indices[b]; });
    std::vector<Index> keys(n);
    for (int64_t p = 0; p < n; ++p) keys[p] = indices[order[p]];
    debias::cuda::additive_gradient(args, debias::kItemSide, keys.data(), order.data(), nullptr);
  } else {
    std::vector<double> workspace(debias::cuda::counted_workspace(rows, n));
    debias::cuda::counted_gradient(args, debias::kItemSide, workspace.data(), nullptr);
  }
  std::vector<double> expected(rows, 0.0);
  for (int64_t k = 0; k < n; ++k)
    expected[indices[k]] += static_cast<double>(debias::to_float(grad[k])) * debias::to_float(weights[k]);
  for (int64_t row = 0; row < rows; ++row)
    expect_close("sum", debias::to_float(sums[row]), expected[row] * kInverseTemperature, tolerance);
}

}  // namespace

HARNESS_CASE(weights_match_their_formula) {
  check_weights<float, int64_t>(300, true, 1e-5);
  check_weights<float, int32_t>(300, false, 1e-5);
  check_weights<double, int64_t>(70, true, 1e-12);
  check_weights<debias::Half, int32_t>(70, true, 2e-3);
  check_weights<debias::BFloat16, int64_t>(1, true, 1e-2);
  check_weights<float, int64_t>(0, true, 1e-5);
}

HARNESS_CASE(an_index_out_of_range_weighs_nan) {
  const int64_t rows[3] = {7, 40, 2};
  Inputs<float, int64_t> in(50, rows, true);
  in.indices[0][3] = 7, in.indices[1][4] = -1, in.indices[2][5] = int64_t{1} << 40;
  debias::cuda::additive_weights(in.args(), nullptr);
  for (int k = 0; k < 50; ++k) expect(std::isnan(in.weights[k]) == (k >= 3 && k <= 5), "row " + std::to_string(k));
}

HARNESS_CASE(segment_sums_match_a_loop) {
  for (int64_t rows : {1, 5, 60, 1000}) check_gradient<float, int64_t>(400, rows, true, 1e-5);
  check_gradient<debias::Half, int32_t>(100, 9, true, 2e-3);
  check_gradient<double, int32_t>(1, 3, true, 1e-12);
}

HARNESS_CASE(counted_sums_match_a_loop) {
  for (int64_t rows : {1, 2, 32}) check_gradient<float, int64_t>(400, rows, false, 1e-5);
  check_gradient<debias::BFloat16, int64_t>(100, 3, false, 1e-2);
  check_gradient<double, int32_t>(1, 2, false, 1e-12);
}
