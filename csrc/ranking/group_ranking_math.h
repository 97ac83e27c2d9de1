// Ranking metrics from blocks of tied rows, for the CPU and CUDA kernels.
//
// A block of m rows with p positives begins after A better rows, H of them positive. Its rows are taken to stand in
// uniformly random order (m = 1 where ties are broken), so that place A + t holds a positive with chance p / m; given
// that, the place sees H + 1 + (t - 1) (p - 1) / (m - 1) hits so far.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/hostdevice.h"

namespace debias {

enum Metric { kAuc, kNdcg, kDcg, kMap, kRecall, kPrecision, kMrr, kMetrics };
enum class MapNorm : int { hits, min, positives };

constexpr int kMaxCuts = 64;

struct RankingOptions {
  int64_t ks[kMaxCuts];
  int n_ks;
  int first_row[kMetrics];  // of the values; -1: not wanted. NDCG and DCG begin with the uncut value
  int n_values;
  MapNorm map_norm;
  bool expected;  // false: ties are broken by row order

  DEBIAS_HD bool wants(Metric metric) const { return first_row[metric] >= 0; }
  DEBIAS_HD bool wants_full() const { return wants(kNdcg) || wants(kDcg); }
};

struct TieBlock {
  int64_t above;       // A
  int64_t size;        // m
  int64_t positives;   // p >= 1
  int64_t hits_above;  // H
  double gain;         // summed weight of the positives
};

struct GroupTotals {
  int64_t size, positives;
  double positive_weight, negative_weight;
  double auc_pairs;  // weight of the (positive, negative) pairs in the right order, ties one half
  double full_dcg, full_ideal;
};

struct CutSums {
  double dcg = 0, hits = 0, precision = 0, map = 0, mrr = 0;
  int64_t n_hits = 0;
  bool map_done = false;
};

DEBIAS_HD double not_defined() { return NAN; }

DEBIAS_HD double discount(int64_t place) { return 1.0 / log2(static_cast<double>(place) + 2.0); }

// E[1 / rank of the first positive; rank within the first `inside` places], for the first block with positives.
DEBIAS_HD double first_hit_reciprocal(const TieBlock& b, int64_t inside) {
  double chance = static_cast<double>(b.positives) / static_cast<double>(b.size), sum = 0;
  for (int64_t t = 1; t <= inside && chance > 0; ++t) {
    sum += chance / static_cast<double>(b.above + t);
    if (t < b.size) chance *= static_cast<double>(b.size - t - b.positives + 1) / static_cast<double>(b.size - t);
  }
  return sum;
}

struct PlaceSums {
  double inverse, slope;  // sums over t = 1..inside of 1 / (A + t) and of (t - 1) / (A + t)
};

DEBIAS_HD PlaceSums place_sums(int64_t above, int64_t inside) {
  PlaceSums sums{0, 0};
  for (int64_t t = 1; t <= inside; ++t) {
    const double inverse = 1.0 / static_cast<double>(above + t);
    sums.inverse += inverse;
    sums.slope += static_cast<double>(t - 1) * inverse;
  }
  return sums;
}

// E of the sum of w_j y_j Prec@j when `hits` positives lie uniformly on `places` places.
DEBIAS_HD double precision_sum(const TieBlock& b, const PlaceSums& sums, double hits, double places) {
  const double rise = places > 1 ? (hits - 1) / (places - 1) : 0;
  const double mean_weight = b.gain / static_cast<double>(b.positives);
  return mean_weight * hits / places * ((static_cast<double>(b.hits_above) + 1) * sums.inverse + rise * sums.slope);
}

// E[(before + precision sum) / (H + h)] for a block cut after `inside` of its places; the number h of hits among them
// is hypergeometric. Its chances are taken relative to the mode: none underflows that matters.
DEBIAS_HD double hits_normalised(const TieBlock& b, int64_t inside, double before) {
  const PlaceSums sums = place_sums(b.above, inside);
  const double m = static_cast<double>(b.size), p = static_cast<double>(b.positives),
               places = static_cast<double>(inside);
  const double low = places > m - p ? places - (m - p) : 0, high = p < places ? p : places;
  const double middle = floor((places + 1) * (p + 1) / (m + 2));
  const double mode = middle < low ? low : middle > high ? high : middle;
  const auto value_at = [&](double h) {
    const double hits = static_cast<double>(b.hits_above) + h;
    return hits == 0 ? 0.0 : (before + precision_sum(b, sums, h, places)) / hits;
  };
  double total = 0, value = 0, chance = 1;
  for (double h = mode; h <= high && chance > 1e-20 * total; ++h) {
    total += chance;
    value += chance * value_at(h);
    chance *= (p - h) * (places - h) / ((h + 1) * (m - p - places + h + 1));
  }
  chance = 1;
  for (double h = mode; h > low; --h) {
    chance *= h * (m - p - places + h) / ((p - h + 1) * (places - h + 1));
    if (chance <= 1e-20 * total) break;
    total += chance;
    value += chance * value_at(h - 1);
  }
  return value / total;
}

// Takes one block with b.above < k into the sums of cut k; blocks come in ascending order of A.
// discounts[r] = sum of the first r discounts.
DEBIAS_HD void add_block(CutSums& s, const TieBlock& b, int64_t k, const RankingOptions& o, const double* discounts) {
  const int64_t inside = b.size < k - b.above ? b.size : k - b.above;
  const double share = b.gain / static_cast<double>(b.size);
  if (o.wants_full()) s.dcg += share * (discounts[b.above + inside] - discounts[b.above]);
  s.hits += share * static_cast<double>(inside);
  if (o.wants(kMrr) && b.hits_above == 0) s.mrr = first_hit_reciprocal(b, inside);
  if (!o.wants(kMap)) return;
  if (o.map_norm == MapNorm::hits && inside < b.size) {
    s.map = hits_normalised(b, inside, s.precision);
    s.map_done = true;
    return;
  }
  s.precision +=
      precision_sum(b, place_sums(b.above, inside), static_cast<double>(b.positives), static_cast<double>(b.size));
  s.n_hits += b.positives;
}

DEBIAS_HD double average_precision(const CutSums& s, const GroupTotals& t, int64_t k, MapNorm norm) {
  if (norm == MapNorm::positives) return s.precision / t.positive_weight;
  if (norm == MapNorm::min) return s.precision / static_cast<double>(t.positives < k ? t.positives : k);
  if (s.map_done) return s.map;
  return s.n_hits > 0 ? s.precision / static_cast<double>(s.n_hits) : 0.0;
}

// One group's column of the values [n_values, n_groups].
struct ValueColumn {
  double* values;
  int64_t n_groups;
  DEBIAS_HD void set(int row, double value) const { values[row * n_groups] = value; }
};

DEBIAS_HD void write_uncut(const RankingOptions& o, const GroupTotals& t, const ValueColumn& out) {
  if (o.wants(kAuc)) {
    const double share = t.auc_pairs / (t.positive_weight * t.negative_weight);
    const bool defined = t.positives > 0 && t.positives < t.size;
    // Rounded weights must not carry a perfect ranking beyond 1.
    out.set(o.first_row[kAuc], !defined || share != share ? not_defined() : share > 1 ? 1.0 : share < 0 ? 0.0 : share);
  }
  if (o.wants(kNdcg)) out.set(o.first_row[kNdcg], t.positives > 0 ? t.full_dcg / t.full_ideal : not_defined());
  if (o.wants(kDcg)) out.set(o.first_row[kDcg], t.positives > 0 ? t.full_dcg : not_defined());
}

DEBIAS_HD void write_cut(const RankingOptions& o, const GroupTotals& t, const CutSums& s, int cut, double ideal,
                         const ValueColumn& out) {
  const int64_t k = o.ks[cut];
  const auto put = [&](Metric metric, int row, double value) {
    if (o.wants(metric)) out.set(o.first_row[metric] + row, t.positives > 0 ? value : not_defined());
  };
  put(kNdcg, 1 + cut, s.dcg / ideal);
  put(kDcg, 1 + cut, s.dcg);
  put(kMap, cut, average_precision(s, t, k, o.map_norm));
  put(kRecall, cut, s.hits / t.positive_weight);
  put(kMrr, cut, s.mrr);
  if (o.wants(kPrecision)) out.set(o.first_row[kPrecision] + cut, s.hits / static_cast<double>(k));
}

}  // namespace debias
