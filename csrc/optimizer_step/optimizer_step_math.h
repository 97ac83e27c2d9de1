// What an optimiser does to one parameter, given its gradient: written once for the CPU and CUDA kernels.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/hostdevice.h"

namespace debias {

enum class OptimizerKind { sgd, adagrad, rowwise_adagrad, lazy_adam, adam };

// `rate` and `eps` carry the bias correction of Adam, see step_rule(). The gains are 1 - beta: in float32 that
// difference would lose digits of a beta close to 1.
template <class T>
struct StepRule {
  T rate, gain1, gain2, eps;
};

template <class T>
DEBIAS_HD T square_root(T x) {
  return sqrt(x);
}
template <>
DEBIAS_HD float square_root<float>(float x) {
  return sqrtf(x);
}

// p -= rate g
struct SGDRule {
  static constexpr bool has_first = false, has_second = false, by_row = false;
  template <class T>
  static DEBIAS_HD T step(T p, T g, T&, T&, const StepRule<T>& rule) {
    return p - rule.rate * g;
  }
};

// v += g^2, p -= rate g / (sqrt(v) + eps)
struct AdagradRule {
  static constexpr bool has_first = false, has_second = true, by_row = false;
  template <class T>
  static DEBIAS_HD T step(T p, T g, T&, T& second, const StepRule<T>& rule) {
    second += g * g;
    return p - rule.rate * g / (square_root(second) + rule.eps);
  }
};

// One v a row: v += mean over the row of g^2, then as Adagrad. A bias is a row of one.
struct RowwiseAdagradRule : AdagradRule {
  static constexpr bool by_row = true;
};

// m += (1 - beta1) (g - m), v += (1 - beta2) (g^2 - v), p -= rate m / (sqrt(v) + eps)
struct AdamRule {
  static constexpr bool has_first = true, has_second = true, by_row = false;
  template <class T>
  static DEBIAS_HD T step(T p, T g, T& first, T& second, const StepRule<T>& rule) {
    first += rule.gain1 * (g - first);
    second += rule.gain2 * (g * g - second);
    return p - rule.rate * first / (square_root(second) + rule.eps);
  }
};

struct OptimizerOptions {
  OptimizerKind kind;
  double lr, beta1, beta2, eps;
  int64_t step;  // 1 in the first step
};

// With c_j = 1 - beta_j^step:
// torch.optim.Adam        p -= lr / c_1 m / (sqrt(v / c_2) + eps)   = lr sqrt(c_2) / c_1 m / (sqrt(v) + eps sqrt(c_2))
// torch.optim.SparseAdam  p -= lr sqrt(c_2) / c_1 m / (sqrt(v) + eps)
template <class T>
StepRule<T> step_rule(const OptimizerOptions& options) {
  double rate = options.lr, eps = options.eps;
  if (options.kind == OptimizerKind::lazy_adam || options.kind == OptimizerKind::adam) {
    const double steps = static_cast<double>(options.step);
    const double root = std::sqrt(1.0 - std::pow(options.beta2, steps));
    rate *= root / (1.0 - std::pow(options.beta1, steps));
    if (options.kind == OptimizerKind::adam) eps *= root;
  }
  return {static_cast<T>(rate), static_cast<T>(1.0 - options.beta1), static_cast<T>(1.0 - options.beta2),
          static_cast<T>(eps)};
}

// f(rule struct): the exact and the lazy Adam differ in the rows they visit, not in the formula.
template <class F>
void with_rule(OptimizerKind kind, F&& f) {
  switch (kind) {
    case OptimizerKind::sgd: return f(SGDRule{});
    case OptimizerKind::adagrad: return f(AdagradRule{});
    case OptimizerKind::rowwise_adagrad: return f(RowwiseAdagradRule{});
    case OptimizerKind::lazy_adam:
    case OptimizerKind::adam: break;
  }
  f(AdamRule{});
}

}  // namespace debias
