// Scores as integers: a smaller key is a better score. -0.0 and +0.0 share a key; the largest key is no score's.
// And what values the inputs may have.
#pragma once

#include <cfloat>

#include "common/math.h"

namespace debias {

template <class T>
struct ScoreKey;
template <>
struct ScoreKey<float> {
  using type = int32_t;
};
template <>
struct ScoreKey<double> {
  using type = int64_t;
};
template <class T>
using score_key_t = typename ScoreKey<T>::type;

template <class T>
DEBIAS_HD score_key_t<T> descending_key(T score) {
  using Key = score_key_t<T>;
  constexpr Key magnitude = static_cast<Key>(~(static_cast<uint64_t>(1) << (8 * sizeof(Key) - 1)));
  const Key pattern = bits<Key>(score + T(0));  // -0.0 + 0.0 = +0.0
  return ~(pattern ^ ((pattern >> (8 * sizeof(Key) - 1)) & magnitude));
}

// True for NaN, also where the compiler assumes that there is none.
template <class T>
DEBIAS_HD bool is_nan(T score) {
  using Key = score_key_t<T>;
  constexpr Key infinity = sizeof(Key) == 4 ? static_cast<Key>(0x7f800000) : static_cast<Key>(0x7ff0000000000000);
  constexpr Key magnitude = static_cast<Key>(~(static_cast<uint64_t>(1) << (8 * sizeof(Key) - 1)));
  return (bits<Key>(score) & magnitude) > infinity;
}

// Labels are compared by their bits: `one` is the pattern of 1, `sign` the bit that a zero may carry (-0.0), else 0.
template <class Label>
DEBIAS_HD bool is_binary(Label label, Label one, Label sign) {
  return (label == one) | ((label & static_cast<Label>(~sign)) == 0);
}

DEBIAS_HD bool is_weight(double weight) { return weight >= 0 && weight <= DBL_MAX; }

}  // namespace debias
