// Which rows belong to which group, and the check of the inputs' values on the way.
#pragma once

#include <limits>

#include "common/parallel.h"
#include "common/simd.h"
#include "ranking/counting_sort.h"
#include "ranking/group_ranking_kernels.h"
#include "ranking/ranking_keys.h"

namespace debias {

template <class Index>
struct GroupSurvey {
  Index low = std::numeric_limits<Index>::max(), high = std::numeric_limits<Index>::lowest();
  int64_t descents = 0;  // rows whose group is smaller than that of the row before
};

template <class Index>
struct SurveyGroups {  // rows [begin, end); row begin - 1 exists unless begin == 0
  static DEBIAS_HD void run(const Index* groups, int64_t begin, int64_t end, GroupSurvey<Index>* survey) {
    Index low = groups[begin], high = groups[begin];
    int64_t descents = 0;
#pragma omp simd reduction(min : low) reduction(max : high)
    for (int64_t row = begin; row < end; ++row) {
      low = groups[row] < low ? groups[row] : low;
      high = groups[row] > high ? groups[row] : high;
    }
#pragma omp simd reduction(+ : descents)
    for (int64_t row = begin ? begin : 1; row < end; ++row) descents += groups[row] < groups[row - 1];
    *survey = {low, high, descents};
  }
};

template <class T>
struct HasNan {
  static DEBIAS_HD void run(const T* scores, int64_t begin, int64_t end, int* any) {
    int found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t row = begin; row < end; ++row) found |= is_nan(scores[row]);
    *any = found;
  }
};

template <class Label>
struct HasNonBinary {
  static DEBIAS_HD void run(const Label* labels, int64_t begin, int64_t end, Label one, Label sign, int* any) {
    int found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t row = begin; row < end; ++row) found |= !is_binary(labels[row], one, sign);
    *any = found;
  }
};

template <class Bad>
int64_t first_row(int64_t n, const Bad& bad) {
  for (int64_t row = 0; row < n; ++row)
    if (bad(row)) return row;
  return -1;
}

constexpr int64_t kSurveyBlock = 32768;

// One pass over all inputs. Where a row is bad, `bad` names it.
template <class T, class Index, class Label>
GroupSurvey<Index> survey(const RankingInputs<T, Index, Label>& in, BadRows& bad) {
  struct Part {
    GroupSurvey<Index> groups;
    int score = 0, label = 0, weight = 0;
  };
  std::vector<Part> parts(static_cast<size_t>(block_count(in.n, kSurveyBlock)));
  parallel_blocks(in.n, kSurveyBlock, kSurveyBlock, [&](int64_t block, int64_t begin, int64_t end) {
    Part& part = parts[static_cast<size_t>(block)];
    simd_run<SurveyGroups<Index>>(in.groups, begin, end, &part.groups);
    simd_run<HasNan<T>>(in.scores, begin, end, &part.score);
    simd_run<HasNonBinary<Label>>(in.labels, begin, end, in.label_one, in.label_sign, &part.label);
    if (in.weights)
      for (int64_t row = begin; row < end; ++row) part.weight |= !is_weight(in.weights[row]);
  });
  GroupSurvey<Index> all;
  int score = 0, label = 0, weight = 0;
  for (const Part& part : parts) {
    all = {std::min(all.low, part.groups.low), std::max(all.high, part.groups.high),
           all.descents + part.groups.descents};
    score |= part.score, label |= part.label, weight |= part.weight;
  }
  if (score) bad.score = first_row(in.n, [&](int64_t row) { return is_nan(in.scores[row]); });
  if (label)
    bad.label = first_row(in.n, [&](int64_t row) { return !is_binary(in.labels[row], in.label_one, in.label_sign); });
  if (weight) bad.weight = first_row(in.n, [&](int64_t row) { return !is_weight(in.weights[row]); });
  return all;
}

// Distinct ids by a hash of them; slots[row] is the place of the row's id among the ascending distinct ids.
struct SparseIds {
  std::vector<int64_t> ids;
  Buffer<int64_t> slots;
};

template <class Index>
SparseIds sparse_ids(const Index* groups, int64_t n);

}  // namespace debias
