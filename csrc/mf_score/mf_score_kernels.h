// What mf_score.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

#include "common/segment.h"

namespace debias {

template <class T, class Index>
struct MFScoreArgs {
  const T* user_factors;  // [U, d]
  const T* item_factors;  // [I, d]
  const Index* users;     // [B]
  const Index* items;     // [B]
  const T* user_bias;     // [U] or null
  const T* item_bias;     // [I] or null
  const T* offset;        // [1] or null, added to offset_value
  double offset_value;
  T* scores;  // [B]
  int64_t batch, factors, n_users, n_items;
};

// Gradients to one side's table from samples grouped by that side's index:
// grad_rows[j] = sum over the samples k of segment j of grad[k] * other_factors[other[k]], grad_bias[j] = sum of
// grad[k].
template <class T, class Index>
struct RowGradientArgs {
  const T* grad;           // [B]
  const T* other_factors;  // [rows of the other table, d]
  const Index* other;      // [B]
  int64_t factors, other_rows;
  T* grad_rows;  // null: not wanted
  T* grad_bias;  // null: not wanted
};

namespace cpu {
template <class T, class Index>
void mf_score(const MFScoreArgs<T, Index>& args);
// Segment j goes to row `rows[j]` of the outputs (dense) or to row j (compact).
template <class T, class Index>
void row_gradient(const RowGradientArgs<T, Index>& args, const Segments& segments, bool compact);
// The sum of n values over fixed blocks, in double.
template <class T>
double ordered_sum(const T* values, int64_t n);
}  // namespace cpu

namespace cuda {
template <class T, class Index>
void mf_score(const MFScoreArgs<T, Index>& args, void* stream);
// sorted[p] is the index of sample order[p], ascending and stable; rows of the outputs without samples must be zero.
template <class T, class Index>
void row_gradient(const RowGradientArgs<T, Index>& args, const Index* sorted, const int64_t* order, int64_t batch,
                  int64_t table_rows, void* stream);
// The same, segment by segment: slots[p] counts the segments that began up to p (1-based), row slots[p] - 1 takes the
// sum.
template <class T, class Index>
void compact_row_gradient(const RowGradientArgs<T, Index>& args, const Index* sorted, const int64_t* order,
                          const int64_t* slots, int64_t batch, int64_t table_rows, int64_t* rows, void* stream);
// heads[p] = 1 where sorted[p] differs from its predecessor
template <class Index>
void segment_heads(const Index* sorted, int64_t batch, int64_t* heads, void* stream);
template <class T>
void ordered_sum(const T* values, int64_t n, T* sum, void* stream);
int64_t read_last(const int64_t* values, int64_t n, void* stream);  // waits for the stream
// First position whose index lies outside [0, rows), or -1; waits for the stream.
template <class Index>
int64_t first_out_of_range(const Index* indices, int64_t n, int64_t rows, int64_t* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
