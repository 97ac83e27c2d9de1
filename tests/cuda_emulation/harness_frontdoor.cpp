#include "harness.h"

#include <algorithm>
#include <cstdint>

#include "common/half.h"
#include "frontdoor/frontdoor_kernels.h"

using namespace harness;
using debias::accumulator_t;
using debias::FrontdoorArgs;
using debias::FrontdoorGradients;
using debias::to_float;

namespace {

template <class T>
std::vector<double> wide(const std::vector<T>& values) {
  std::vector<double> result;
  for (T value : values) result.push_back(static_cast<double>(to_float(value)));
  return result;
}

// Loops over every (sample, teacher, context row), in double.
struct Expected {
  std::vector<double> out, context, mediators, attention, weight, bias;
};

template <class T>
struct Problem {
  Problem(int64_t samples, int64_t teachers, int64_t rows, int64_t hidden, bool with_logits, bool exclude)
      : n(samples),
        k(teachers),
        m(rows),
        h(hidden),
        context(stored<T>(uniform(m * h, -1, 1, 1))),
        mediators(stored<T>(uniform(n * k * h, -1, 1, 2))),
        attention(stored<T>(uniform(n * k, 0, 1, 3))),
        weight(stored<T>(uniform(h, -1, 1, 4))),
        bias(stored<T>({0.25f})),
        grad(stored<T>(uniform(n, -1, 1, 5))),
        index(m),
        logits(with_logits),
        excluding(exclude) {
    std::mt19937 generator(6);
    for (int64_t& sample : index) sample = static_cast<int64_t>(generator() % n);
  }

  FrontdoorArgs<T> args() const {
    return {context.data(),
            mediators.data(),
            attention.data(),
            weight.data(),
            bias.data(),
            excluding ? index.data() : nullptr,
            logits,
            excluding,
            m,
            n,
            k,
            h};
  }

  Expected expected() const {
    const auto a = wide(context), c = wide(mediators), l = wide(attention), v = wide(weight), g = wide(grad);
    Expected e{std::vector<double>(n),     std::vector<double>(m * h), std::vector<double>(n * k * h),
               std::vector<double>(n * k), std::vector<double>(h),     std::vector<double>(1)};
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t t = 0; t < k; ++t) sum += std::exp(l[i * k + t]);
      std::vector<double> alpha(k), means(k);
      const int64_t count = m - (excluding ? std::count(index.begin(), index.end(), i) : 0);
      for (int64_t t = 0; t < k; ++t) {
        alpha[t] = logits ? std::exp(l[i * k + t]) / sum : l[i * k + t];
        for (int64_t j = 0; j < m; ++j) {
          if (excluding && index[j] == i) continue;
          const double* x = &c[(i * k + t) * h];
          double z = wide(bias)[0];
          for (int64_t u = 0; u < h; ++u) z += v[u] * std::fmax(0.0, a[j * h + u] + x[u]);
          const double p = 1 / (1 + std::exp(-z)), slope = g[i] * alpha[t] * p * (1 - p) / static_cast<double>(count);
          means[t] += p / static_cast<double>(count);
          e.bias[0] += slope;
          for (int64_t u = 0; u < h; ++u) {
            const double hidden = a[j * h + u] + x[u];
            if (hidden <= 0) continue;
            e.weight[u] += slope * hidden;
            e.context[j * h + u] += slope * v[u];
            e.mediators[(i * k + t) * h + u] += slope * v[u];
          }
        }
        e.out[i] += alpha[t] * means[t];
      }
      for (int64_t t = 0; t < k; ++t)
        e.attention[i * k + t] = g[i] * (logits ? alpha[t] * (means[t] - e.out[i]) : means[t]);
    }
    return e;
  }

  void check(double tolerance) const {
    using A = accumulator_t<T>;
    std::vector<T> out(n), to_context(m * h), to_mediators(n * k * h), to_attention(n * k), to_weight(h), to_bias(1);
    std::vector<A> means(n * k);
    std::vector<int64_t> space(debias::cuda::frontdoor_workspace(args(), false));
    debias::cuda::frontdoor_aggregate(args(), out.data(), means.data(), space.data(), nullptr);
    std::vector<int64_t> more(debias::cuda::frontdoor_workspace(args(), true));
    const FrontdoorGradients<T> gradients{to_context.data(), to_mediators.data(), to_attention.data(), to_weight.data(),
                                          to_bias.data()};
    debias::cuda::frontdoor_backward(args(), grad.data(), means.data(), gradients, more.data(), nullptr);
    const Expected e = expected();
    const auto compare = [&](const char* name, const std::vector<T>& got, const std::vector<double>& wanted) {
      for (size_t at = 0; at < wanted.size(); ++at)
        expect_close(name, static_cast<double>(to_float(got[at])), wanted[at], tolerance);
    };
    compare("out", out, e.out);
    compare("context", to_context, e.context);
    compare("mediators", to_mediators, e.mediators);
    compare("attention", to_attention, e.attention);
    compare("weight", to_weight, e.weight);
    compare("bias", to_bias, e.bias);
  }

  int64_t n, k, m, h;
  std::vector<T> context, mediators, attention, weight, bias, grad;
  std::vector<int64_t> index;
  bool logits, excluding;
};

}  // namespace

HARNESS_CASE(values_and_gradients_match_loops) {
  Problem<float>(3, 2, 20, 5, false, false).check(1e-5);
  Problem<float>(70, 2, 17, 3, true, true).check(1e-5);
  Problem<double>(2, 3, 70, 4, true, false).check(1e-12);
  Problem<float>(1, 1, 1, 1, false, false).check(1e-5);
}

HARNESS_CASE(half_types_are_summed_in_float32) {
  Problem<debias::Half>(3, 2, 20, 5, true, false).check(2e-3);
  Problem<debias::BFloat16>(3, 2, 20, 5, false, true).check(1e-2);
}

HARNESS_CASE(rows_too_long_for_a_block_of_128_threads) { Problem<float>(2, 1, 18, 90, false, false).check(1e-5); }

HARNESS_CASE(rows_too_long_for_shared_memory) { Problem<double>(2, 1, 18, 125, false, true).check(1e-12); }

HARNESS_CASE(gradients_that_nobody_wants_are_not_written) {
  const Problem<float> problem(3, 2, 20, 5, false, false);
  std::vector<float> out(3), means(6), bias(1);
  std::vector<int64_t> space(debias::cuda::frontdoor_workspace(problem.args(), true));
  debias::cuda::frontdoor_aggregate(problem.args(), out.data(), means.data(), space.data(), nullptr);
  debias::cuda::frontdoor_backward(problem.args(), problem.grad.data(), means.data(),
                                   {nullptr, nullptr, nullptr, nullptr, bias.data()}, space.data(), nullptr);
  expect_close("bias", bias[0], problem.expected().bias[0], 1e-5);
}
