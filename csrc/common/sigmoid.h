// The logistic function and its slope, host and device.
#pragma once

#include "common/math.h"

namespace debias {

// p = sigmoid(z), and p (1 - p). |z| is held below 87 (708 in double), where p is as good as 0 or 1 and both stay
// normal numbers; NaN stays NaN.
template <class T>
struct SigmoidSlope {
  T value, slope;
};

template <class T>
DEBIAS_HD SigmoidSlope<T> sigmoid_slope(T z) {
  using C = MathConstants<T>;
  z = z < C::logit_min ? C::logit_min : z;
  z = z > -C::logit_min ? -C::logit_min : z;
  const T e = exp_within(-z);
  const T value = T(1) / (T(1) + e);
  return {value, e * value * value};
}

}  // namespace debias
