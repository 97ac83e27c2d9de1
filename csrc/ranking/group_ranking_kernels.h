// What group_ranking.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>
#include <functional>

#include "ranking/group_ranking_math.h"

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
// Writes nothing where a row is bad.
template <class T, class Index, class Label>
BadRows group_ranking(const RankingInputs<T, Index, Label>& in, const RankingOptions& options,
                      const AllocateRanking& allocate);
}  // namespace cpu

}  // namespace debias
