// Per-sample mathematics of the front-door aggregate, host and device.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "common/hostdevice.h"
#include "common/sigmoid.h"

namespace debias {

// What one sample's attention over the teachers is made of: weights as given, or logits to be normalised.
template <class T>
struct Attention {
  T largest, sum;  // of the logits and of exp(logit - largest); not used for weights
  int logits;

  DEBIAS_HD T weight(T value) const { return logits ? exp(value - largest) / sum : value; }
};

template <class T, class Storage>
DEBIAS_HD Attention<T> attention_of(const Storage* values, int64_t teachers, int logits) {
  Attention<T> attention{T(0), T(1), logits};
  if (!logits || teachers == 0) return attention;
  attention.largest = to_float(values[0]);
  for (int64_t k = 1; k < teachers; ++k) {
    const T value = to_float(values[k]);
    attention.largest = value > attention.largest ? value : attention.largest;
  }
  attention.sum = T(0);
  for (int64_t k = 0; k < teachers; ++k) attention.sum += exp(to_float(values[k]) - attention.largest);
  return attention;
}

// sum_k weight_k mean_k
template <class T, class Storage>
DEBIAS_HD T attended(const Attention<T>& attention, const Storage* values, const T* means, int64_t teachers) {
  T sum = 0;
  for (int64_t k = 0; k < teachers; ++k) sum += attention.weight(to_float(values[k])) * means[k];
  return sum;
}

// Its derivative in a weight or a logit.
template <class T>
DEBIAS_HD T attention_slope(const Attention<T>& attention, T value, T mean, T total) {
  return attention.logits ? attention.weight(value) * (mean - total) : mean;
}

// factor times what came through the gates: where they were all closed, a factor that is not finite stays out.
template <class T>
DEBIAS_HD T gated_product(T factor, T sum) {
  return sum == T(0) ? T(0) : factor * sum;
}

}  // namespace debias
