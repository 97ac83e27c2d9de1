// Indices are checked before anything is written: a vectorised minimum and maximum, and only after a failure a search
// for the row to name.
#pragma once

#include <algorithm>

#include "common/check.h"
#include "common/parallel.h"
#include "common/simd.h"

namespace debias {

template <class Index>
struct OutOfRange {  // *any = 1 where an index lies outside [0, rows)
  static DEBIAS_HD void run(const Index* indices, int64_t begin, int64_t end, Index rows, int* any) {
    int outside = 0;
#pragma omp simd reduction(| : outside)
    for (int64_t k = begin; k < end; ++k) outside |= (indices[k] < 0) | (indices[k] >= rows);
    *any = outside;
  }
};

[[noreturn]] inline void index_out_of_range(const char* name, int64_t index, int64_t position, int64_t rows) {
  index_error(name, " must be in [0, ", rows, "), got ", index, " at position ", position);
}

template <class Index>
void check_indices_cpu(const char* name, const Index* indices, int64_t n, int64_t table_rows) {
  const Index rows = static_cast<Index>(std::min<int64_t>(table_rows, std::numeric_limits<Index>::max()));
  constexpr int64_t block = 1 << 16;
  std::vector<int> outside(static_cast<size_t>(block_count(n, block)));
  parallel_blocks(n, block, block, [&](int64_t b, int64_t begin, int64_t end) {
    simd_run<OutOfRange<Index>>(indices, begin, end, rows, &outside[static_cast<size_t>(b)]);
  });
  if (std::none_of(outside.begin(), outside.end(), [](int any) { return any; })) return;
  for (int64_t k = 0; k < n; ++k)
    if (indices[k] < 0 || static_cast<int64_t>(indices[k]) >= table_rows)
      index_out_of_range(name, static_cast<int64_t>(indices[k]), k, table_rows);
}

}  // namespace debias
