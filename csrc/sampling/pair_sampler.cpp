#include "sampling/pair_sampler.h"

#include <algorithm>

#include "common/huge_pages.h"
#include "common/index_check.h"
#include "common/parallel.h"
#include "common/philox.h"
#include "common/simd.h"

namespace debias {
namespace {

constexpr uint64_t kBitmapBits = uint64_t{64} << 23;  // 64 MB
constexpr uint64_t kRejections = 16;                  // attempts before the exact choice by rank
constexpr int64_t kBlock = 4096, kSerialBelow = 16384;
constexpr int64_t kChunk = 512;  // rows drawn before they are looked up: they stay in the first-level cache

// The answers published with Random123 (tests/kat_vectors), words of counter, key and result in their order.
constexpr bool answers(uint64_t low, uint64_t high, uint64_t key, uint64_t result_low, uint64_t result_high) {
  const Philox result = philox(low, high, key);
  return result.low == result_low && result.high == result_high;
}
constexpr uint64_t kOnes = ~uint64_t{0};
static_assert(answers(0, 0, 0, 0xe169c58d6627e8d5, 0x9b00dbd8bc57ac4c), "Philox4x32-10");
static_assert(answers(kOnes, kOnes, kOnes, 0x41c83b0e408f276d, 0x6d5451fda20bc7c6), "Philox4x32-10");
static_assert(answers(0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822, 0x94fdccebd16cfe09,
                      0x24126ea15001e420),
              "Philox4x32-10");

// floor(random n / 2^64) for any n
uint64_t bounded_wide(uint64_t random, uint64_t n) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(random) * n >> 64);
}

// The first attempt of the rows [row, row + n).
struct DrawPairs {
  static DEBIAS_HD void run(uint64_t seed, uint64_t row, int64_t n, uint64_t n_users, uint64_t n_items,
                            int64_t* __restrict users, int64_t* __restrict items) {
    for (int64_t k = 0; k < n; ++k) {
      const Philox random = philox(row + static_cast<uint64_t>(k), 0, seed);
      users[k] = static_cast<int64_t>(bounded(random.low, n_users));
      items[k] = static_cast<int64_t>(bounded(random.high, n_items));
    }
  }
};

struct DrawItems {
  static DEBIAS_HD void run(uint64_t seed, uint64_t row, int64_t n, uint64_t n_items, int64_t* __restrict items) {
    for (int64_t k = 0; k < n; ++k)
      items[k] = static_cast<int64_t>(bounded(philox(row + static_cast<uint64_t>(k), 0, seed).high, n_items));
  }
};

// Positions of the pairs whose bit is set, without a branch that could be mispredicted.
struct FindObserved {
  static DEBIAS_HD void run(const uint64_t* __restrict bitmap, uint64_t n_items, const int64_t* __restrict users,
                            const int64_t* __restrict items, int64_t n, int64_t* __restrict found, int64_t* n_found) {
    uint64_t hits[kChunk];
    for (int64_t k = 0; k < n; ++k) {
      const uint64_t bit = static_cast<uint64_t>(users[k]) * n_items + static_cast<uint64_t>(items[k]);
      hits[k] = bitmap[bit / 64] >> bit % 64 & 1;
    }
    int64_t count = 0;
    for (int64_t k = 0; k < n; ++k) {
      found[count] = k;
      count += static_cast<int64_t>(hits[k]);
    }
    *n_found = count;
  }
};

template <class F>
void in_chunks(int64_t n, const F& f) {
  parallel_blocks(n, kBlock, kSerialBelow, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; k += kChunk) f(k, std::min(end, k + kChunk));
  });
}

}  // namespace

PairSampler::PairSampler(const int64_t* users, const int64_t* items, int64_t n, int64_t n_users, int64_t n_items,
                         uint64_t seed)
    : n_users_(static_cast<uint64_t>(n_users)), n_items_(static_cast<uint64_t>(n_items)), seed_(seed) {
  for (const auto& [name, count] : {std::pair("n_users", n_users), {"n_items", n_items}})
    if (count < 1 || count > int64_t{1} << 31) value_error(name, " must be in [1, 2^31], got ", count);
  check_indices_cpu("users", users, n, n_users);
  check_indices_cpu("items", items, n, n_items);
  std::vector<int64_t> ends(n_users_ + 1);
  for (int64_t k = 0; k < n; ++k) ++ends[static_cast<size_t>(users[k]) + 1];
  for (size_t user = 0; user < n_users_; ++user) ends[user + 1] += ends[user];
  items_.resize(static_cast<size_t>(n));
  offsets_ = ends;
  for (int64_t k = 0; k < n; ++k)
    items_[static_cast<size_t>(ends[static_cast<size_t>(users[k])]++)] = static_cast<uint32_t>(items[k]);
  auto out = items_.begin();
  for (size_t user = 0; user < n_users_; ++user) {
    const auto begin = items_.begin() + offsets_[user], end = items_.begin() + ends[user];
    std::sort(begin, end);
    const auto kept = std::unique(begin, end);
    offsets_[user] = out - items_.begin();
    out = out == begin ? kept : std::copy(begin, kept, out);
  }
  offsets_[n_users_] = out - items_.begin();
  items_.resize(static_cast<size_t>(offsets_[n_users_]));
  if (n_users_ * n_items_ > kBitmapBits) return;
  bitmap_.resize(static_cast<size_t>(n_users_ * n_items_ / 64 + 1));
  for (uint64_t user = 0; user < n_users_; ++user)
    for (int64_t p = offsets_[user]; p < offsets_[user + 1]; ++p) {
      const uint64_t bit = user * n_items_ + items_[static_cast<size_t>(p)];
      bitmap_[bit / 64] |= uint64_t{1} << bit % 64;
    }
}

void PairSampler::check_unobserved() const {
  if (unobserved_before(n_users_) == 0)
    value_error("users and items hold all ", n_users_, " x ", n_items_, " pairs: none is unobserved");
}

void PairSampler::check_unobserved(const int64_t* users, int64_t n) const {
  check_indices_cpu("users", users, n, static_cast<int64_t>(n_users_));
  for (int64_t k = 0; k < n; ++k) {
    const size_t user = static_cast<size_t>(users[k]);
    if (static_cast<uint64_t>(offsets_[user + 1] - offsets_[user]) == n_items_)
      value_error("users must each have an unobserved item, user ", user, " at position ", k, " has observed all ",
                  n_items_);
  }
}

bool PairSampler::observed(uint64_t user, uint64_t item) const {
  if (!bitmap_.empty()) {
    const uint64_t bit = user * n_items_ + item;
    return bitmap_[bit / 64] >> bit % 64 & 1;
  }
  return std::binary_search(items_.begin() + offsets_[user], items_.begin() + offsets_[user + 1],
                            static_cast<uint32_t>(item));
}

void PairSampler::find_observed(const int64_t* users, const int64_t* items, int64_t n, int64_t* found,
                                int64_t* n_found) const {
  if (!bitmap_.empty()) return simd_run<FindObserved>(bitmap_.data(), n_items_, users, items, n, found, n_found);
  for (int64_t k = 0; k < n; ++k)
    if (observed(static_cast<uint64_t>(users[k]), static_cast<uint64_t>(items[k]))) found[(*n_found)++] = k;
}

// The items below the answer: `rank` unobserved ones, and the observed ones items_[j] with items_[j] - j <= rank.
uint64_t PairSampler::nth_unobserved_item(uint64_t user, uint64_t rank) const {
  const uint32_t* items = items_.data() + offsets_[user];
  int64_t low = 0, high = offsets_[user + 1] - offsets_[user];
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (items[middle] - static_cast<uint64_t>(middle) <= rank)
      low = middle + 1;
    else
      high = middle;
  }
  return rank + static_cast<uint64_t>(low);
}

PairSampler::Pair PairSampler::nth_unobserved(uint64_t rank) const {
  uint64_t low = 0, high = n_users_ - 1;  // the first user with unobserved_before(user + 1) > rank
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (unobserved_before(middle + 1) > rank)
      high = middle;
    else
      low = middle + 1;
  }
  return {low, nth_unobserved_item(low, rank - unobserved_before(low))};
}

PairSampler::Pair PairSampler::unobserved_row(uint64_t row, uint64_t first_attempt) const {
  for (uint64_t attempt = first_attempt; attempt < kRejections; ++attempt) {
    const Philox random = philox(row, attempt, seed_);
    const Pair pair{bounded(random.low, n_users_), bounded(random.high, n_items_)};
    if (!observed(pair.user, pair.item)) return pair;
  }
  return nth_unobserved(bounded_wide(philox(row, kRejections, seed_).low, unobserved_before(n_users_)));
}

uint64_t PairSampler::negative_row(uint64_t row, uint64_t user) const {
  for (uint64_t attempt = 1; attempt < kRejections; ++attempt) {
    const uint64_t item = bounded(philox(row, attempt, seed_).high, n_items_);
    if (!observed(user, item)) return item;
  }
  const uint64_t unobserved = n_items_ - static_cast<uint64_t>(offsets_[user + 1] - offsets_[user]);
  return nth_unobserved_item(user, bounded(philox(row, kRejections, seed_).low, unobserved));
}

void PairSampler::uniform(uint64_t first, int64_t n, int64_t* users, int64_t* items) const {
  advise_huge_pages(users, n);
  advise_huge_pages(items, n);
  in_chunks(n, [&](int64_t begin, int64_t end) {
    simd_run<DrawPairs>(seed_, first + static_cast<uint64_t>(begin), end - begin, n_users_, n_items_, users + begin,
                        items + begin);
  });
}

void PairSampler::unobserved(uint64_t first, int64_t n, int64_t* users, int64_t* items) const {
  advise_huge_pages(users, n);
  advise_huge_pages(items, n);
  in_chunks(n, [&](int64_t begin, int64_t end) {
    simd_run<DrawPairs>(seed_, first + static_cast<uint64_t>(begin), end - begin, n_users_, n_items_, users + begin,
                        items + begin);
    int64_t again[kChunk], count = 0;
    find_observed(users + begin, items + begin, end - begin, again, &count);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t k = begin + again[j];
      const Pair pair = unobserved_row(first + static_cast<uint64_t>(k), 1);
      users[k] = static_cast<int64_t>(pair.user);
      items[k] = static_cast<int64_t>(pair.item);
    }
  });
}

void PairSampler::negatives(uint64_t first, const int64_t* given, int64_t n, int64_t per_user, int64_t* users,
                            int64_t* items) const {
  advise_huge_pages(users, n * per_user);
  advise_huge_pages(items, n * per_user);
  in_chunks(n * per_user, [&](int64_t begin, int64_t end) {
    simd_run<DrawItems>(seed_, first + static_cast<uint64_t>(begin), end - begin, n_items_, items + begin);
    for (int64_t k = begin; k < end; ++k) {
      users[k] = given[k / per_user];
      const uint64_t user = static_cast<uint64_t>(users[k]);
      if (observed(user, static_cast<uint64_t>(items[k])))
        items[k] = static_cast<int64_t>(negative_row(first + static_cast<uint64_t>(k), user));
    }
  });
}

}  // namespace debias
