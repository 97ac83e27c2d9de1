// Row losses, their slopes, and the weights that multiply them: written once for the CPU and CUDA kernels.
#pragma once

#include "common/math.h"

namespace debias {

// ell(s, t) with its slopes in the score s and the target t
template <class T>
struct Slopes {
  T value, score, target;
};

// ell(s, t) - ell(s, p) and its slope in s, in a form that keeps the digits that the two losses have in common
template <class T>
struct Gap {
  T value, score;
};

struct SquaredError {  // (s - t)^2
  template <class T>
  static DEBIAS_HD Slopes<T> at(T s, T t) {
    const T difference = s - t;
    return {difference * difference, T(2) * difference, T(-2) * difference};
  }
  template <class T>
  static DEBIAS_HD Gap<T> gap(T s, T t, T p) {
    return {(p - t) * ((s - t) + (s - p)), T(2) * (p - t)};
  }
};

struct AbsoluteError {  // |s - t|, slope 0 at the kink
  template <class T>
  static DEBIAS_HD Slopes<T> at(T s, T t) {
    const T slope = sign(s - t);
    return {absolute(s - t), slope, -slope};
  }
  template <class T>
  static DEBIAS_HD Gap<T> gap(T s, T t, T p) {
    const T slope_t = sign(s - t), slope_p = sign(s - p);
    const T sum = (s - t) + (s - p), slope = slope_t - slope_p;  // slope is 0 on one side of both targets
    return {T(0.5) * ((slope_t + slope_p) * (p - t) + slope * sum), slope};
  }
};

struct BinaryCrossEntropy {  // softplus(s) - t s: the cross-entropy of sigmoid(s) to the soft target t
  template <class T>
  static DEBIAS_HD Slopes<T> at(T s, T t) {
    const Logistic<T> l = logistic(s);
    return {l.softplus - t * s, l.sigmoid - t, -s};
  }
  template <class T>
  static DEBIAS_HD Gap<T> gap(T s, T t, T p) {
    return {(p - t) * s, p - t};
  }
};

// The weight of a row, and its slope in the quantity it is made of
template <class T>
struct Weight {
  T value, slope;
  int valid;
};

// Options of the propensity weights: q' = floor + (1 - floor) q, then 1 / max(q', clip)
template <class T>
struct PropensityBounds {
  T floor, largest_weight;  // largest_weight = 1 / clip, infinity without clipping
};

struct UnitWeight {
  static constexpr bool given = false;
  template <class T>
  static DEBIAS_HD Weight<T> at(T, PropensityBounds<T>) {
    return {T(1), T(0), true};
  }
};

struct GivenWeight {
  static constexpr bool given = true;
  template <class T>
  static DEBIAS_HD Weight<T> at(T weight, PropensityBounds<T>) {
    return {weight, T(1), true};
  }
};

template <class T>
DEBIAS_HD Weight<T> clipped(T weight, T slope, int valid, T largest) {
  const bool inside = !(weight > largest);
  return {inside ? weight : largest, inside ? slope : T(0), valid};
}

struct InversePropensity {  // w = 1 / q', dw/dq = -(1 - floor) w^2
  static constexpr bool given = true;
  template <class T>
  static DEBIAS_HD Weight<T> at(T q, PropensityBounds<T> bounds) {
    const T weight = T(1) / (bounds.floor + (T(1) - bounds.floor) * q);
    return clipped(weight, -(T(1) - bounds.floor) * weight * weight, q > T(0) && q <= T(1), bounds.largest_weight);
  }
};

// q = sigmoid(t), E = e^-t: w = (1 + E) / (1 + floor E), dw/dt = -E (1 - floor) / (1 + floor E)^2.
// Without a floor that is 1 + e^-t, which keeps all digits where 1 / sigmoid(t) has lost them.
struct InversePropensityLogit {
  static constexpr bool given = true;
  template <class T>
  static DEBIAS_HD Weight<T> at(T logit, PropensityBounds<T> bounds) {
    const bool inside = !(logit < MathConstants<T>::logit_min);
    const T e = exp(-(inside ? logit : MathConstants<T>::logit_min));
    const T reciprocal = T(1) / (T(1) + bounds.floor * e);
    const T slope = inside ? -(e * reciprocal) * ((T(1) - bounds.floor) * reciprocal) : T(0);
    return clipped((T(1) + e) * reciprocal, slope, logit == logit, bounds.largest_weight);
  }
};

// Doubly robust row: e(s, p) + (o / q) (e(s, t) - e(s, p)), with its slopes (Wang et al. 2019, eq. 6)
template <class T>
struct DoublyRobust {
  T value, score, target, pseudo_target, propensity;
  int valid;
};

// `indicator` is 1 or 0 as a T: comparing in T keeps the masks of the vectorised loop in one type.
template <class Loss, class T>
DEBIAS_HD DoublyRobust<T> doubly_robust(T s, T target, T pseudo_target, T propensity, T indicator) {
  const bool observed = indicator > T(0);
  const T t = observed ? target : pseudo_target;
  const T q = observed ? propensity : T(1);
  const Slopes<T> imputed = Loss::at(s, pseudo_target);
  const Gap<T> gap = Loss::gap(s, t, pseudo_target);
  const T weight = observed ? T(1) / q : T(0);
  const T correction = weight * gap.value;
  return {imputed.value + correction,     imputed.score + weight * gap.score,
          weight * Loss::at(s, t).target, (T(1) - weight) * imputed.target,
          -weight * correction,           q > T(0) && q <= T(1)};
}

}  // namespace debias
