// The assumed step theta' = theta - direction(gradient), and how theta' follows the gradient.
#pragma once

#include <cmath>

#include "common/hostdevice.h"

namespace debias {

struct AssumedStep {
  double lr = 0, l2 = 0;
  int adam = 0;  // 0: plain gradient descent
  double beta1 = 0, beta2 = 0, eps = 0;
  double correction1 = 1, correction2 = 1;  // 1 - beta^t of the step that is assumed
};

template <class T>
struct Stepped {
  T value, response;  // theta' and -d theta' / d gradient
};

// Adam: mh / (sqrt(vh) + eps) with the moments after this gradient. Its response
//   lr (c1 / (sqrt(vh) + eps) - mh c2 g / (sqrt(vh) (sqrt(vh) + eps)^2)),  c = (1 - beta) / (1 - beta^t),
// has no second term where vh = 0.
template <class T>
DEBIAS_HD Stepped<T> assumed_step(const AssumedStep& step, T theta, T gradient, T exp_avg, T exp_avg_sq) {
  const T lr = static_cast<T>(step.lr);
  if (!step.adam) return {theta - lr * gradient, lr};
  const T beta1 = static_cast<T>(step.beta1), beta2 = static_cast<T>(step.beta2);
  const T c1 = static_cast<T>((1 - step.beta1) / step.correction1);
  const T c2 = static_cast<T>((1 - step.beta2) / step.correction2);
  const T mean = beta1 * exp_avg / static_cast<T>(step.correction1) + c1 * gradient;
  const T root = std::sqrt(beta2 * exp_avg_sq / static_cast<T>(step.correction2) + c2 * gradient * gradient);
  const T reciprocal = T(1) / (root + static_cast<T>(step.eps));
  const T curvature = root > T(0) ? mean * c2 * gradient / root * reciprocal * reciprocal : T(0);
  return {theta - lr * mean * reciprocal, lr * (c1 * reciprocal - curvature)};
}

}  // namespace debias
