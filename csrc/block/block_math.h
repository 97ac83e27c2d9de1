// Terms of the block losses, pair by pair: s the score, x and y the scores of the other tables at the same pair (an
// imputation model, or two teachers), t the rated target and w the rated weight.
#pragma once

#include "interd/interd_math.h"

namespace debias {

template <class T>
struct PairTerm {
  T value, slope;  // the slope in s
};

template <class T>
struct RatedTerm {
  T value, slope, to_target, to_weight;
};

// w (s - t)^2
template <class T>
DEBIAS_HD RatedTerm<T> weighted_square(T s, T t, T w) {
  const T error = s - t, slope = T(2) * w * error;
  return {w * error * error, slope, -slope, error * error};
}

// What the all-pairs term A B (s - c)^2 loses at a rated pair, and what the pair gets in its place: w (s - t)^2.
template <class T>
struct Replacement {
  RatedTerm<T> own;
  T value, slope, to_user_weight, to_item_weight, to_value;
};

template <class T>
DEBIAS_HD Replacement<T> replacement(T s, T c, T user_weight, T item_weight, T t, T w) {
  const RatedTerm<T> own = weighted_square(s, t, w);
  const RatedTerm<T> lost = weighted_square(s, c, user_weight * item_weight);
  return {own,
          own.value - lost.value,
          own.slope - lost.slope,
          -item_weight * lost.to_weight,
          -user_weight * lost.to_weight,
          -lost.to_target};
}

// Doubly robust, residual form: g^2 + w ((s - t)^2 - g^2) with g ~ t - s and pseudo target stop(s) + g. The slope of
// g^2 is -2g: bilinear, and summed over all pairs elsewhere; this is what a rated pair adds.
template <class T>
DEBIAS_HD RatedTerm<T> residual_imputation(T s, T g, T t, T w) {
  const T error = s - t;
  const T change = error * error - g * g;
  return {w * change, T(2) * w * (error + g), T(-2) * w * error, change};
}

// Doubly robust, label form: ell(s, z) = softplus(s) - z s with pseudo labels z = sigmoid(x), and for rated pairs
// w (ell(s, t) - ell(s, z)) on top.
template <class T>
struct LabelImputation {
  static constexpr int kTables = 1;         // beside the student's
  static constexpr bool kReplaces = false;  // whether rated pairs have no missing term

  DEBIAS_HD PairTerm<T> missing(T s, T x, T) const {
    const Logistic<T> p = logistic(s);
    const T pseudo = logistic(x).sigmoid;
    return {p.softplus - pseudo * s, p.sigmoid - pseudo};
  }
  DEBIAS_HD RatedTerm<T> rated(T s, T x, T, T t, T w) const {
    const T change = logistic(x).sigmoid - t;
    return {w * change * s, w * change, -w * s, change * s};
  }
};

// InterD: beta (s - r*)^2 for pairs that are not rated, the coefficients of r* seen from the score itself or, with
// from_zero, from 0; w (s - t)^2 for rated ones.
template <class T, InterDTargetKind kind, bool from_zero>
struct InterDImputation {
  static constexpr int kTables = 2;
  static constexpr bool kReplaces = true;
  T gamma, beta, epsilon;

  DEBIAS_HD PairTerm<T> missing(T s, T biased, T debiased) const {
    const InterDRow<T> row = interd_row<kind>(s, biased, debiased, from_zero ? T(0) : s, T(1), gamma, epsilon);
    return {beta * row.value, beta * row.slope};
  }
  DEBIAS_HD RatedTerm<T> rated(T s, T, T, T t, T w) const { return weighted_square(s, t, w); }
};

}  // namespace debias
