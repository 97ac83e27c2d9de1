// Random pairs of users and items. What row `r` of the stream holds is a function of the seed and r alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace debias {

class PairSampler {
 public:
  // The observed pairs, in any order, repeats are fine. Throws out_of_range or invalid_argument, by name.
  PairSampler(const int64_t* users, const int64_t* items, int64_t n, int64_t n_users, int64_t n_items, uint64_t seed);

  // The next n rows of the stream; the caller then fills them.
  uint64_t advance(int64_t n) { return position_.fetch_add(static_cast<uint64_t>(n)); }
  uint64_t position() const { return position_; }
  uint64_t seed() const { return seed_; }
  void restore(uint64_t seed, uint64_t position) {
    seed_ = seed;
    position_ = position;
  }

  void check_unobserved() const;                                 // throws where every pair is observed
  void check_unobserved(const int64_t* users, int64_t n) const;  // throws where a user has every item

  // Rows [first, first + n). Nothing throws.
  void uniform(uint64_t first, int64_t n, int64_t* users, int64_t* items) const;
  void unobserved(uint64_t first, int64_t n, int64_t* users, int64_t* items) const;
  // per_user rows for each of n users; `users` repeats each user.
  void negatives(uint64_t first, const int64_t* given, int64_t n, int64_t per_user, int64_t* users,
                 int64_t* items) const;

 private:
  struct Pair {
    uint64_t user, item;
  };
  bool observed(uint64_t user, uint64_t item) const;
  void find_observed(const int64_t* users, const int64_t* items, int64_t n, int64_t* found, int64_t* n_found) const;
  Pair unobserved_row(uint64_t row, uint64_t first_attempt) const;
  uint64_t negative_row(uint64_t row, uint64_t user) const;
  Pair nth_unobserved(uint64_t rank) const;
  uint64_t nth_unobserved_item(uint64_t user, uint64_t rank) const;
  uint64_t unobserved_before(uint64_t user) const { return user * n_items_ - static_cast<uint64_t>(offsets_[user]); }

  uint64_t n_users_, n_items_, seed_;
  std::atomic<uint64_t> position_{0};
  std::vector<int64_t> offsets_;  // [U + 1]
  std::vector<uint32_t> items_;   // ascending within a user, without repeats
  std::vector<uint64_t> bitmap_;  // bit user * n_items + item; empty where it would be too large
};

}  // namespace debias
