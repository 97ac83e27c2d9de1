#include "common/segment.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <numeric>
#include <utility>

namespace debias {
namespace {

constexpr int kDigitBits = 11;
constexpr size_t kBuckets = size_t{1} << kDigitBits;

int bit_width(uint64_t value) { return value == 0 ? 0 : 64 - __builtin_clzll(value); }

using Keys = std::unique_ptr<uint64_t[]>;  // starts uninitialised, unlike a vector

template <class Index>
Segments by_counting(const Index* indices, int64_t n, int64_t table_rows) {
  Segments segments;
  std::vector<int64_t> next(static_cast<size_t>(table_rows) + 1, 0);
  for (int64_t k = 0; k < n; ++k) ++next[static_cast<size_t>(indices[k]) + 1];
  for (int64_t row = 0; row < table_rows; ++row) {
    const int64_t begin = next[static_cast<size_t>(row)];
    if (next[static_cast<size_t>(row) + 1] > 0) {
      segments.rows.push_back(row);
      segments.offsets.push_back(begin);
    }
    next[static_cast<size_t>(row) + 1] += begin;
  }
  segments.offsets.push_back(n);
  segments.order.resize(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) segments.order[static_cast<size_t>(next[static_cast<size_t>(indices[k])]++)] = k;
  return segments;
}

void radix_pass(const uint64_t* from, uint64_t* to, int64_t n, int shift, uint64_t mask) {
  std::array<int64_t, kBuckets> next{};
  for (int64_t k = 0; k < n; ++k) ++next[(from[k] >> shift) & mask];
  int64_t begin = 0;
  for (int64_t& count : next) begin += std::exchange(count, begin);
  for (int64_t k = 0; k < n; ++k) to[next[(from[k] >> shift) & mask]++] = from[k];
}

// Sorts row << position_bits | position by the bits of the row.
template <class Index>
Keys sorted_keys(const Index* indices, int64_t n, int position_bits, int row_bits) {
  Keys keys(new uint64_t[static_cast<size_t>(n)]), other(new uint64_t[static_cast<size_t>(n)]);
  for (int64_t k = 0; k < n; ++k)
    keys[static_cast<size_t>(k)] = static_cast<uint64_t>(indices[k]) << position_bits | static_cast<uint64_t>(k);
  const int passes = (row_bits + kDigitBits - 1) / kDigitBits;
  const int digit = passes == 0 ? 0 : (row_bits + passes - 1) / passes;  // of equal width: fewer buckets each
  for (int pass = 0; pass < passes; ++pass) {
    radix_pass(keys.get(), other.get(), n, position_bits + pass * digit, (uint64_t{1} << digit) - 1);
    keys.swap(other);
  }
  return keys;
}

// From the samples in sorted order: their rows, and their positions in the batch.
template <class Row, class Position>
Segments from_sorted(int64_t n, const Row& row_of, const Position& position_of) {
  Segments segments;
  const auto size = static_cast<size_t>(n);
  segments.rows.resize(size);
  segments.offsets.resize(size + 1);
  segments.order.resize(size);
  size_t count = 0;
  int64_t previous = -1;
  for (size_t k = 0; k < size; ++k) {
    const int64_t row = row_of(k);
    segments.order[k] = position_of(k);
    segments.rows[count] = row;  // written at every sample, without a branch; kept at the first one of a row
    segments.offsets[count] = static_cast<int64_t>(k);
    count += row != previous;
    previous = row;
  }
  segments.rows.resize(count);
  segments.offsets.resize(count + 1);
  segments.offsets[count] = n;
  return segments;
}

template <class Index>
Segments by_comparison(const Index* indices, int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return indices[a] < indices[b]; });
  return from_sorted(
      n, [&](size_t k) { return static_cast<int64_t>(indices[order[k]]); }, [&](size_t k) { return order[k]; });
}

template <class Index>
Segments by_radix(const Index* indices, int64_t n, int64_t table_rows) {
  const int position_bits = bit_width(static_cast<uint64_t>(n - 1));
  const int row_bits = bit_width(static_cast<uint64_t>(table_rows - 1));
  if (position_bits + row_bits > 64) return by_comparison(indices, n);
  const Keys keys = sorted_keys(indices, n, position_bits, row_bits);
  const uint64_t position_mask = (uint64_t{1} << position_bits) - 1;
  return from_sorted(
      n, [&](size_t k) { return static_cast<int64_t>(keys[k] >> position_bits); },
      [&](size_t k) { return static_cast<int64_t>(keys[k] & position_mask); });
}

}  // namespace

template <class Index>
Segments make_segments(const Index* indices, int64_t n, int64_t table_rows) {
  if (n == 0) return {{}, {0}, {}};
  return table_rows <= 4 * n ? by_counting(indices, n, table_rows) : by_radix(indices, n, table_rows);
}

template Segments make_segments<int32_t>(const int32_t*, int64_t, int64_t);
template Segments make_segments<int64_t>(const int64_t*, int64_t, int64_t);

}  // namespace debias
