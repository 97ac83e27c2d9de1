// Rows grouped by index, duplicates in their original order: what turns a scatter-add into a sum over segments,
// without atomics and in an order that no thread count changes.
#pragma once

#include <cstdint>
#include <vector>

namespace debias {

struct Segments {
  std::vector<int64_t> rows;     // distinct indices, ascending
  std::vector<int64_t> offsets;  // rows.size() + 1: where each row's positions begin in `order`
  std::vector<int64_t> order;    // positions of the samples, grouped by row
};

// Stable. Counting sort when the table is small beside the batch, else a radix sort of row and position packed in 64
// bits.
template <class Index>
Segments make_segments(const Index* indices, int64_t n, int64_t table_rows);

}  // namespace debias
