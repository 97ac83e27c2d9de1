#include "harness.h"

#include "attention/attention_kernels.h"

using namespace harness;
using debias::accumulator_t;
using debias::AttentionActivation;
using debias::AttentionArgs;
using debias::AttentionGradients;
using debias::to_float;

namespace {

struct Shape {
  int64_t batch, steps, width;
  std::vector<int64_t> units;  // of the hidden layers
  AttentionActivation activation;
  bool batch_statistics;
};

// Arguments and what the kernels write, every block of its exact size.
template <class T>
struct Problem {
  using A = accumulator_t<T>;

  explicit Problem(const Shape& of) : shape(of) {
    const bool dice = shape.activation == AttentionActivation::dice;
    int64_t n_parameters = 0, n_hidden = 0, n_statistics = 0, in = 4 * shape.width;
    for (int64_t out : shape.units) {
      n_parameters += out * (in + 1 + (dice ? 1 : 0));
      n_hidden += shape.batch * shape.steps * debias::attention_stride(out);
      n_statistics += dice ? 2 * out : 0;
      in = out;
    }
    n_parameters += in + 1;
    queries = stored<T>(uniform(shape.batch * shape.width, -1, 1, 1));
    keys = stored<T>(uniform(shape.batch * shape.steps * shape.width, -1, 1, 2));
    parameters = stored<T>(uniform(n_parameters, -0.5, 0.5, 3));
    grad = stored<T>(uniform(shape.batch * shape.width, -1, 1, 4));
    for (int64_t b = 0; b < shape.batch; ++b) lengths.push_back((b * 5 + 3) % (shape.steps + 1));
    hidden.resize(n_hidden), scores.resize(shape.batch * shape.steps);
    for (float value : uniform(n_statistics, 0.1f, 1, 5)) statistics.push_back(value);
  }

  AttentionArgs<T> args() {
    AttentionArgs<T> args{};
    args.queries = queries.data(), args.keys = keys.data(), args.parameters = parameters.data();
    args.lengths = lengths.data(), args.hidden = hidden.data(), args.scores = scores.data();
    args.statistics = statistics.data();
    args.batch = shape.batch, args.steps = shape.steps, args.width = shape.width;
    for (int64_t out : shape.units) args.units[args.layers++] = out;
    args.units[args.layers++] = 1;
    args.activation = shape.activation, args.batch_statistics = shape.batch_statistics, args.epsilon = 1e-8;
    return args;
  }

  // sum of grad times the pooled histories
  double value() {
    std::vector<T> out(queries.size());
    std::vector<int64_t> space((debias::cuda::attention_workspace(args()) + 7) / 8);
    debias::cuda::attention_pooling(args(), out.data(), space.data(), nullptr);
    double sum = 0;
    for (size_t k = 0; k < out.size(); ++k)
      sum += static_cast<double>(to_float(out[k])) * static_cast<double>(to_float(grad[k]));
    return sum;
  }

  // Gradients of queries, keys and parameters, one after the other.
  std::vector<double> gradients() {
    value();
    std::vector<T> to_queries(queries.size()), to_keys(keys.size()), to_parameters(parameters.size());
    std::vector<A> between(hidden.size());
    std::vector<int64_t> space((debias::cuda::attention_workspace(args()) + 7) / 8);
    debias::cuda::attention_pooling_backward(
        args(),
        AttentionGradients<T>{grad.data(), between.data(), to_queries.data(), to_keys.data(), to_parameters.data()},
        space.data(), nullptr);
    std::vector<double> all;
    for (const auto* part : {&to_queries, &to_keys, &to_parameters})
      for (const T& number : *part) all.push_back(static_cast<double>(to_float(number)));
    return all;
  }

  Shape shape;
  std::vector<T> queries, keys, parameters, grad;
  std::vector<int64_t> lengths;
  std::vector<A> hidden, scores, statistics;
};

// The gradient along a direction is a central difference of the value.
void check_gradients(const Shape& shape) {
  Problem<double> problem(shape);
  const std::vector<double> gradients = problem.gradients();
  const auto direction = uniform(gradients.size(), -1, 1, 6);
  double slope = 0;
  for (size_t k = 0; k < gradients.size(); ++k) slope += gradients[k] * static_cast<double>(direction[k]);
  constexpr double step = 1e-6;
  const auto moved = [&](double by) {
    Problem<double> other(shape);
    size_t k = 0;
    for (auto* part : {&other.queries, &other.keys, &other.parameters})
      for (double& number : *part) number += by * static_cast<double>(direction[k++]);
    return other.value();
  };
  expect_close("slope", slope, (moved(step) - moved(-step)) / (2 * step), 1e-6);
}

template <class T>
void check_like_double(const Shape& shape, double tolerance) {
  Problem<T> problem(shape);
  Problem<double> wide(shape);
  const std::vector<double> got = problem.gradients(), expected = wide.gradients();
  for (size_t k = 0; k < got.size(); ++k) expect_close("gradient", got[k], expected[k], tolerance);
  expect_close("value", problem.value(), wide.value(), tolerance);
}

constexpr auto kRelu = AttentionActivation::relu, kSigmoid = AttentionActivation::sigmoid,
               kDice = AttentionActivation::dice;

}  // namespace

HARNESS_CASE(gradients_are_slopes_of_the_value) {
  check_gradients({3, 5, 2, {3, 2}, kSigmoid, false});
  check_gradients({3, 5, 2, {3, 2}, kDice, false});
  check_gradients({4, 5, 2, {3, 2}, kDice, true});
}

HARNESS_CASE(float_is_like_double) {
  check_like_double<float>({2, 34, 3, {5}, kRelu, false}, 1e-4);
  check_like_double<float>({3, 4, 2, {3, 2}, kDice, true}, 1e-4);
}

HARNESS_CASE(half_types_are_computed_in_float32) {
  check_like_double<debias::Half>({3, 4, 2, {3}, kSigmoid, false}, 1e-2);
  check_like_double<debias::BFloat16>({3, 4, 2, {3}, kSigmoid, false}, 6e-2);
}

HARNESS_CASE(a_tile_too_large_for_shared_memory) { check_like_double<float>({1, 3, 1, {150}, kRelu, false}, 1e-4); }

HARNESS_CASE(nothing_to_do) { check_like_double<float>({0, 3, 2, {3}, kDice, true}, 1e-4); }
