// The inner loops of the CPU kernel: kTileRows rows of mediators against a tile of kTile context rows.
//
// v relu(a + c) = v max(a, -c) + v c: with the sum of the last terms in the row's start value a hidden unit costs one
// maximum and one multiply-add, which go to different ports. The gate a + c > 0 is the comparison a > -c.
#pragma once

#include "common/vectors.h"
#include "frontdoor/frontdoor_math.h"

namespace debias {
namespace frontdoor {

constexpr int64_t kTile = 128;    // context rows: 16 hidden units of them are 8 KB, and so is their gradient
constexpr int64_t kTileRows = 4;  // rows of mediators that share one read of the tile

// The larger one; NaN where a is NaN.
template <class V, class T>
DEBIAS_HD void larger(V& out, const V& a, T n) {
  const V negated = n - V{};
  out = negated > a ? negated : a;
}

// z += weight max(a, n), in two vectors of one row
template <class V, class T>
DEBIAS_HD void unit_row(V& first, V& second, const V& a, const V& b, T n, T weight) {
  V x, y;
  larger(x, a, n);
  larger(y, b, n);
  first += weight * x;
  second += weight * y;
}

template <class V>
struct RowVectors {
  V a0, b0, a1, b1, a2, b2, a3, b3;
};

// z[r][j], the logits of kTileRows rows; tile: [h][kTile], negated: [kTileRows][h]
template <class T, int Bytes>
DEBIAS_HD void tile_logits(const T* tile, const T* negated, const T* start, const T* weight, int64_t h, T* z) {
  using V = typename Vector<T, Bytes>::type;
  constexpr int64_t lanes = Vector<T, Bytes>::lanes;
  const V zero{};
  for (int64_t j = 0; j < kTile; j += 2 * lanes) {
    RowVectors<V> sum{start[0] + zero, start[0] + zero, start[1] + zero, start[1] + zero,
                      start[2] + zero, start[2] + zero, start[3] + zero, start[3] + zero};
    for (int64_t u = 0; u < h; ++u) {
      V a, b;
      load(a, tile + u * kTile + j);
      load(b, tile + u * kTile + j + lanes);
      unit_row(sum.a0, sum.b0, a, b, negated[u], weight[u]);
      unit_row(sum.a1, sum.b1, a, b, negated[h + u], weight[u]);
      unit_row(sum.a2, sum.b2, a, b, negated[2 * h + u], weight[u]);
      unit_row(sum.a3, sum.b3, a, b, negated[3 * h + u], weight[u]);
    }
    T* out = z + j;
    store(out, sum.a0), store(out + lanes, sum.b0);
    store(out + kTile, sum.a1), store(out + kTile + lanes, sum.b1);
    store(out + 2 * kTile, sum.a2), store(out + 2 * kTile + lanes, sum.b2);
    store(out + 3 * kTile, sum.a3), store(out + 3 * kTile + lanes, sum.b3);
  }
}

// What passes the gate of one row, added to the context's gradient and to the row's; a closed gate stops NaN too.
template <class V, class T>
DEBIAS_HD void gate(V& context, V& row, const V& a, const T* slope, T n) {
  V s;
  load(s, slope);
  const V open = a <= n - V{} ? V{} : s;
  context += open;
  row += open;
}

// context_sums[u][j] += sum_r gate slope[r][j];  row_sums[r][u][lane] += sum_j gate slope[r][j]
template <class T, int Bytes>
DEBIAS_HD void tile_gates(const T* tile, const T* negated, const T* slope, int64_t h, T* context_sums, T* row_sums) {
  using V = typename Vector<T, Bytes>::type;
  constexpr int64_t lanes = Vector<T, Bytes>::lanes;
  for (int64_t u = 0; u < h; ++u) {
    const T n0 = negated[u], n1 = negated[h + u], n2 = negated[2 * h + u], n3 = negated[3 * h + u];
    V r0, r1, r2, r3;
    load(r0, row_sums + u * lanes);
    load(r1, row_sums + (h + u) * lanes);
    load(r2, row_sums + (2 * h + u) * lanes);
    load(r3, row_sums + (3 * h + u) * lanes);
    for (int64_t j = 0; j < kTile; j += lanes) {
      V a, sum;
      load(a, tile + u * kTile + j);
      load(sum, context_sums + u * kTile + j);
      gate(sum, r0, a, slope + j, n0);
      gate(sum, r1, a, slope + kTile + j, n1);
      gate(sum, r2, a, slope + 2 * kTile + j, n2);
      gate(sum, r3, a, slope + 3 * kTile + j, n3);
      store(context_sums + u * kTile + j, sum);
    }
    store(row_sums + u * lanes, r0);
    store(row_sums + (h + u) * lanes, r1);
    store(row_sums + (2 * h + u) * lanes, r2);
    store(row_sums + (3 * h + u) * lanes, r3);
  }
}

// In place: logits become probabilities. Returns their sum.
template <class T>
DEBIAS_HD T probabilities(T* z) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < kTile; ++j) {
    z[j] = sigmoid_slope(z[j]).value;
    sum += z[j];
  }
  return sum;
}

// In place: logits become slopes times the row's coefficient. Returns their sum.
template <class T>
DEBIAS_HD T slopes(T* z, T coefficient) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < kTile; ++j) {
    z[j] = coefficient * sigmoid_slope(z[j]).slope;
    sum += z[j];
  }
  return sum;
}

constexpr int32_t kNoSample = -1, kPastTheEnd = -2;

// Leaves out of row z the context rows that are sample `sample`, and those past the end. Returns the sum of the rest.
template <class T>
DEBIAS_HD T leave_out(T* z, const int32_t* samples, int32_t sample) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < kTile; ++j) {
    z[j] = (samples[j] == sample) | (samples[j] == kPastTheEnd) ? T(0) : z[j];
    sum += z[j];
  }
  return sum;
}

template <int64_t n, class T>
DEBIAS_HD T sum_of(const T* values) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += values[j];
  return sum;
}

}  // namespace frontdoor
}  // namespace debias
