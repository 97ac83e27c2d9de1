#include <algorithm>
#include <utility>
#include <vector>

#include "block/block_kernels.h"
#include "common/parallel.h"

namespace debias {
namespace {

constexpr int64_t kMaxChunks = 8;             // of the pairs; each counts by itself
constexpr int64_t kSerialBelowPairs = 10000;  // that a second thread does not pay for
constexpr int64_t kShortRow = 48;             // pairs of a user that are sorted by insertion

// A column above a position: their order is that of the pairs of one user.
template <class Key>
void sort_row(Key* begin, Key* end) {
  if (end - begin > kShortRow) return std::sort(begin, end);
  for (Key* next = begin + 1; next < end; ++next) {
    const Key key = *next;
    Key* hole = next;
    for (; hole > begin && key < hole[-1]; --hole) *hole = hole[-1];
    *hole = key;
  }
}

// By row, then column. Looks at a few pairs at a time, so that it is soon done with pairs in no order.
template <class Index>
bool is_sorted(const Index* rows, const Index* columns, int64_t count) {
  constexpr int64_t step = 256;
  for (int64_t begin = 1; begin < count; begin += step) {
    int inversions = 0;
    for (int64_t k = begin; k < std::min(count, begin + step); ++k)
      inversions += (rows[k] < rows[k - 1]) | ((rows[k] == rows[k - 1]) & (columns[k] < columns[k - 1]));
    if (inversions > 0) return false;
  }
  return true;
}

// next[c][u]: where the first pair of user u in chunk c goes. Chunks are as many as the counts are worth.
template <class Index>
std::vector<int64_t> count_by_row(const Index* rows, int64_t count, int64_t m, int64_t chunk, int64_t* offsets) {
  const int64_t chunks = std::max<int64_t>(1, block_count(count, chunk));
  std::vector<int64_t> next(static_cast<size_t>(chunks * m), 0);
  parallel_blocks(count, chunk, kSerialBelowPairs, [&](int64_t c, int64_t begin, int64_t end) {
    int64_t* const counts = next.data() + c * m;
    for (int64_t k = begin; k < end; ++k) ++counts[rows[k]];
  });
  int64_t total = 0;
  for (int64_t u = 0; u < m; ++u) {
    offsets[u] = total;
    for (int64_t c = 0; c < chunks; ++c) total += std::exchange(next[static_cast<size_t>(c * m + u)], total);
  }
  offsets[m] = total;
  return next;
}

// By row into chunks' places, then row by row.
template <class Key, class Index>
void sort_keys(const Index* rows, const Index* columns, int64_t count, int64_t m, int64_t chunk,
               std::vector<int64_t>& next, const RatedOrder& order) {
  constexpr int half = 4 * sizeof(Key);
  const std::unique_ptr<Key[]> keys(new Key[static_cast<size_t>(count)]);
  Key* const to = keys.get();
  parallel_blocks(count, chunk, kSerialBelowPairs, [&](int64_t c, int64_t begin, int64_t end) {
    int64_t* const at = next.data() + c * m;
    for (int64_t k = begin; k < end; ++k)
      to[at[rows[k]]++] = static_cast<Key>(columns[k]) << half | static_cast<Key>(k);
  });
  const int64_t* const offsets = order.offsets.get();
  int64_t *const to_columns = order.columns.get(), *const to_positions = order.positions.get();
  parallel_blocks(m, std::max<int64_t>(1, block_count(m, 64)), count < kSerialBelowPairs ? m : 0,
                  [&](int64_t, int64_t begin, int64_t end) {
                    for (int64_t u = begin; u < end; ++u) sort_row(to + offsets[u], to + offsets[u + 1]);
                    for (int64_t k = offsets[begin]; k < offsets[end]; ++k) {
                      to_columns[k] = static_cast<int64_t>(to[k] >> half);
                      to_positions[k] = static_cast<int64_t>(to[k] & (~Key{0} >> half));
                    }
                  });
}

}  // namespace

namespace cpu {

template <class Index>
RatedOrder sort_rated(const Index* rows, const Index* columns, int64_t count, int64_t m, int64_t n) {
  const auto integers = [](int64_t size) { return std::unique_ptr<int64_t[]>(new int64_t[static_cast<size_t>(size)]); };
  RatedOrder order{integers(m + 1), integers(count), integers(count)};
  int64_t *const offsets = order.offsets.get(), *const to_columns = order.columns.get(),
                 *const to_positions = order.positions.get();
  const int64_t chunks = std::clamp<int64_t>(count / std::max<int64_t>(1, m), 1, kMaxChunks);
  const int64_t chunk = std::max<int64_t>(1, block_count(count, chunks));
  std::vector<int64_t> next = count_by_row(rows, count, m, chunk, offsets);
  if (is_sorted(rows, columns, count)) {
    for (int64_t k = 0; k < count; ++k) to_columns[k] = static_cast<int64_t>(columns[k]), to_positions[k] = k;
    return order;
  }
  if (count < (int64_t{1} << 32) && n <= (int64_t{1} << 32))
    sort_keys<uint64_t>(rows, columns, count, m, chunk, next, order);
  else
    sort_keys<unsigned __int128>(rows, columns, count, m, chunk, next, order);
  return order;
}

template RatedOrder sort_rated(const int32_t*, const int32_t*, int64_t, int64_t, int64_t);
template RatedOrder sort_rated(const int64_t*, const int64_t*, int64_t, int64_t, int64_t);

}  // namespace cpu
}  // namespace debias
