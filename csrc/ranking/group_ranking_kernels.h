// What group_ranking.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>
#include <functional>

#include "common/half.h"
#include "ranking/group_ranking_math.h"
#include "ranking/ranking_keys.h"

namespace debias {

template <class T, class Index, class Label>
struct RankingInputs {
  const T* scores;        // [N]
  const Label* labels;    // [N], bit patterns: a row is positive where its label equals label_one
  const Index* groups;    // [N]
  const double* weights;  // [N] or null
  int64_t n;
  Label label_one;
  Label label_sign;  // the bit that a zero may carry (-0.0), else 0
};

struct RankingOutputs {
  int64_t* groups;     // [G] ascending
  double* values;      // [n_values, G]
  int64_t* sizes;      // [G]
  int64_t* positives;  // [G]
};

// Allocates the outputs once the number of groups is known.
using AllocateRanking = std::function<RankingOutputs(int64_t n_groups)>;

// First rows with a bad value, or -1.
struct BadRows {
  int64_t score = -1, label = -1, weight = -1;
  bool any() const { return score >= 0 || label >= 0 || weight >= 0; }
};

namespace cpu {
// Writes nothing where a row is bad. N > 0.
template <class T, class Index, class Label>
BadRows group_ranking(const RankingInputs<T, Index, Label>& in, const RankingOptions& options,
                      const AllocateRanking& allocate);
}  // namespace cpu

// Row by row, in the order of the input.
template <class T>
struct PreparedRows {
  score_key_t<accumulator_t<T>>* keys;
  uint8_t* hits;  // 1 where the label is
};

// Rows by group, within a group by key, ties in the order of the input.
template <class Key>
struct SortedRows {
  const Key* keys;              // [N]
  const uint8_t* hits;          // [N]
  const int64_t* hit_counts;    // [N] hits up to and with the row, over all groups
  const double* weights;        // [N] or null
  const double* positive_sums;  // [N] weight of the group's positives up to and with the row; null without weights
  const double* negative_sums;  // [N]
  const double* ideal_weights;  // [N] weights of the group's positives, falling; null without weights, NDCG and DCG
  const int64_t* starts;        // [G + 1]
  const double* discounts;      // [N + 1] sums of the first r discounts; null without NDCG and DCG
};

namespace cuda {
// bad[3]: first row with a NaN score, a label other than 0 and 1, a weight that is not finite or negative, else n.
template <class T, class Label>
void prepare_rows(const RankingInputs<T, int64_t, Label>& in, const PreparedRows<T>& out, int64_t* bad, void* stream);
BadRows read_bad_rows(const int64_t* bad, int64_t n, void* stream);  // waits for the stream
template <class V>
void gather(const V* values, const int64_t* order, int64_t n, V* out, void* stream);
template <class Index>
void group_heads(const Index* groups, int64_t n, int64_t* heads, void* stream);
// slots[i]: groups that began up to row i. starts: [G + 1].
template <class Index>
void group_starts(const Index* groups, const int64_t* slots, int64_t n, int64_t* starts, int64_t* ids, void* stream);
int64_t last_value(const int64_t* values, int64_t n, void* stream);  // waits for the stream
// sums: [n + 1]; workspace: [n / 256 + 1].
void discount_sums(int64_t n, double* sums, double* workspace, void* stream);
void weight_sums(const uint8_t* hits, const double* weights, const int64_t* starts, int64_t n_groups,
                 double* positive_sums, double* negative_sums, void* stream);
void ideal_keys(const uint8_t* hits, const double* weights, int64_t n, double* keys, void* stream);
template <class Key>
void rank_groups(const SortedRows<Key>& rows, const RankingOptions& options, int64_t n_groups,
                 const RankingOutputs& out, void* stream);
}  // namespace cuda

}  // namespace debias
