#include "common/segment.h"

#include <array>
#include <cstddef>

namespace debias {
namespace {

constexpr int kDigitBits = 11;
constexpr size_t kBuckets = size_t{1} << kDigitBits;

struct Entry {
  int64_t row, position;
};

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
  for (int64_t k = 0; k < n; ++k)
    segments.order[static_cast<size_t>(next[static_cast<size_t>(indices[k])]++)] = k;
  return segments;
}

void radix_pass(const std::vector<Entry>& from, std::vector<Entry>& to, int shift) {
  std::array<int64_t, kBuckets> next{};
  const auto digit = [shift](const Entry& entry) {
    return static_cast<size_t>(entry.row >> shift) & (kBuckets - 1);
  };
  for (const Entry& entry : from) ++next[digit(entry)];
  int64_t begin = 0;
  for (int64_t& count : next) {
    const int64_t size = count;
    count = begin;
    begin += size;
  }
  for (const Entry& entry : from) to[static_cast<size_t>(next[digit(entry)]++)] = entry;
}

template <class Index>
Segments by_radix(const Index* indices, int64_t n, int64_t table_rows) {
  std::vector<Entry> entries(static_cast<size_t>(n)), other(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) entries[static_cast<size_t>(k)] = {static_cast<int64_t>(indices[k]), k};
  for (int shift = 0; (table_rows - 1) >> shift > 0; shift += kDigitBits) {
    radix_pass(entries, other, shift);
    entries.swap(other);
  }
  Segments segments;
  segments.order.resize(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    const Entry& entry = entries[static_cast<size_t>(k)];
    if (segments.rows.empty() || segments.rows.back() != entry.row) {
      segments.rows.push_back(entry.row);
      segments.offsets.push_back(k);
    }
    segments.order[static_cast<size_t>(k)] = entry.position;
  }
  segments.offsets.push_back(n);
  return segments;
}

}  // namespace

template <class Index>
Segments make_segments(const Index* indices, int64_t n, int64_t table_rows) {
  return table_rows <= 4 * n ? by_counting(indices, n, table_rows) : by_radix(indices, n, table_rows);
}

template Segments make_segments<int32_t>(const int32_t*, int64_t, int64_t);
template Segments make_segments<int64_t>(const int64_t*, int64_t, int64_t);

}  // namespace debias
