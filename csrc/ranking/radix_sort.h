// Stable radix sorts by a signed integer key, ascending.
#pragma once

#include <array>
#include <type_traits>
#include <utility>

#include "ranking/counting_sort.h"

namespace debias {

template <class Key>
DEBIAS_HD std::make_unsigned_t<Key> radix_key(Key key) {
  using Unsigned = std::make_unsigned_t<Key>;
  return static_cast<Unsigned>(key) ^ (Unsigned(1) << (8 * sizeof(Key) - 1));
}

// An entry is its own key, or has a member `key`.
template <class Entry>
struct KeyOf {
  using Key = decltype(Entry::key);
  static DEBIAS_HD Key of(const Entry& entry) { return entry.key; }
};
template <>
struct KeyOf<int32_t> {
  using Key = int32_t;
  static DEBIAS_HD int32_t of(int32_t key) { return key; }
};
template <>
struct KeyOf<int64_t> {
  using Key = int64_t;
  static DEBIAS_HD int64_t of(int64_t key) { return key; }
};

template <int kBits, class Entry>
struct Digit {
  const Entry* entries;
  int shift;
  int64_t operator()(int64_t row) const {
    return static_cast<int64_t>(radix_key(KeyOf<Entry>::of(entries[row])) >> shift) & ((1 << kBits) - 1);
  }
};

// Sorts on one thread; the result lies in `entries` or in `scratch`, whichever is returned.
template <int kBits, class Entry>
Entry* radix_sort_serial(Entry* entries, Entry* scratch, int64_t n) {
  using Key = typename KeyOf<Entry>::Key;
  constexpr int kKeyBits = 8 * sizeof(Key), kPasses = (kKeyBits + kBits - 1) / kBits, kBuckets = 1 << kBits;
  std::array<std::array<int64_t, kBuckets>, kPasses> counts{};
  for (int64_t row = 0; row < n; ++row) {
    const auto key = radix_key(KeyOf<Entry>::of(entries[row]));
    for (int pass = 0; pass < kPasses; ++pass) ++counts[pass][(key >> (pass * kBits)) & (kBuckets - 1)];
  }
  for (int pass = 0; pass < kPasses; ++pass) {
    auto& next = counts[pass];
    const Digit<kBits, Entry> digit{entries, pass * kBits};
    if (next[static_cast<size_t>(digit(0))] == n) continue;
    int64_t place = 0;
    for (int64_t& count : next) place += std::exchange(count, place);
    for (int64_t row = 0; row < n; ++row) scratch[next[static_cast<size_t>(digit(row))]++] = entries[row];
    std::swap(entries, scratch);
  }
  return entries;
}

template <class Entry>
struct MoveEntry {
  const Entry* from;
  Entry* to;
  void operator()(int64_t row, int64_t place) const { to[place] = from[row]; }
  void prefetch(int64_t place) const { __builtin_prefetch(to + place, 1); }
};

// The same, shared by the threads.
template <class Entry>
Entry* radix_sort_parallel(Entry* entries, Entry* scratch, int64_t n) {
  constexpr int kBits = 11, kKeyBits = 8 * sizeof(typename KeyOf<Entry>::Key);
  for (int shift = 0; shift < kKeyBits; shift += kBits) {
    const Digit<kBits, Entry> digit{entries, shift};
    CountingSort<Digit<kBits, Entry>> sort(n, 1 << kBits, digit);
    const size_t first = static_cast<size_t>(digit(0));
    if (sort.starts()[first + 1] - sort.starts()[first] == n) continue;
    sort.emit(MoveEntry<Entry>{entries, scratch});
    std::swap(entries, scratch);
  }
  return entries;
}

// Sorts in place on one thread.
template <class Entry>
void radix_sort(Entry* entries, Entry* scratch, int64_t n) {
  if (n < 2) return;
  if (n < 64) {
    std::stable_sort(entries, entries + n,
                     [](const Entry& a, const Entry& b) { return KeyOf<Entry>::of(a) < KeyOf<Entry>::of(b); });
    return;
  }
  const Entry* sorted =
      n < 8192 ? radix_sort_serial<8>(entries, scratch, n) : radix_sort_serial<11>(entries, scratch, n);
  if (sorted != entries) std::copy(sorted, sorted + n, entries);
}

}  // namespace debias
