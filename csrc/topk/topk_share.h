// The shares of the work on the CPU. A share is a block of users and a range of items. A few panels of items are packed
// at a time, which stay in the cache while all users of the share go over them.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "common/parallel.h"
#include "topk/topk_list.h"

namespace debias {

constexpr int64_t kPackedBytes = 256 << 10;  // of a share's panels

template <class T>
constexpr T minus_infinity() {
  return -std::numeric_limits<T>::infinity();
}

struct Share {
  int64_t user_begin, user_end;  // positions in `users`
  int64_t item_begin, item_end;
  int64_t n_users() const { return user_end - user_begin; }
  int64_t n_items() const { return item_end - item_begin; }
};

// The seen items of a share's users, ascending, within its range of items.
struct SeenRanges {
  std::vector<int64_t> items;
  std::vector<size_t> starts;  // one more than users

  template <class T>
  SeenRanges(const TopkArgs<T>& args, const Share& share) {
    starts.push_back(0);
    for (int64_t k = share.user_begin; k < share.user_end; ++k) {
      if (args.seen.offsets.values) {
        const int64_t user = args.users[k], end = args.seen.offsets[user + 1];
        for (int64_t p = args.seen.offsets[user]; p < end; ++p) {
          const int64_t item = args.seen.items[p];
          if (item >= share.item_begin && item < share.item_end) items.push_back(item);
        }
        const auto begin = items.begin() + static_cast<std::ptrdiff_t>(starts.back());
        if (!std::is_sorted(begin, items.end())) std::sort(begin, items.end());
      }
      starts.push_back(items.size());
    }
  }
};

template <class T>
class ShareLists {
 public:
  ShareLists(const TopkArgs<T>& args, const Share& share) : first_(share.user_begin), seen_(args, share) {
    const int64_t k = std::min(args.k, share.n_items()), capacity = TopkList<T>::capacity(k);
    entries_.reset(new Candidate<T>[static_cast<size_t>(share.n_users() * capacity)]);
    lists_.reserve(static_cast<size_t>(share.n_users()));
    for (int64_t r = 0; r < share.n_users(); ++r) {
      const int64_t* seen = seen_.items.data();
      const size_t row = static_cast<size_t>(r);
      lists_.emplace_back(entries_.get() + r * capacity, k, seen + seen_.starts[row], seen + seen_.starts[row + 1]);
    }
  }

  TopkList<T>* data() { return lists_.data(); }
  const TopkList<T>& of(int64_t position) const { return lists_[static_cast<size_t>(position - first_)]; }

 private:
  int64_t first_;
  SeenRanges seen_;
  std::unique_ptr<Candidate<T>[]> entries_;
  std::vector<TopkList<T>> lists_;
};

// Fills the lists of a share.
template <class T>
void score_share(const TopkArgs<T>& args, const Share& share, TopkList<T>* lists);           // every score in registers
void screen_share(const TopkArgs<float>& args, const Share& share, TopkList<float>* lists);  // see topk_screen.h
bool worth_screening(const TopkArgs<float>& args);

}  // namespace debias
