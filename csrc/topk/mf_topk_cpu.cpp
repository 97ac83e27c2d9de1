// A task owns a block of users and a range of items. It packs a few panels of items at a time, which stay in the cache
// while all its users go over them.
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "common/parallel.h"
#include "topk/topk_tile.h"

namespace debias {
namespace {

constexpr int64_t kMostUsers = 512;          // of a task
constexpr int64_t kFewestUsers = 64;         // of a task, while there are other ways to keep threads busy
constexpr int64_t kFewestItems = 4096;       // of a task
constexpr int64_t kListBytes = 64 << 20;     // of a task
constexpr int64_t kPackedBytes = 256 << 10;  // of a task's panels
constexpr int64_t kSerialBelow = 1 << 20;    // multiplications that a second thread does not pay for

template <class T>
T minus_infinity() {
  return -std::numeric_limits<T>::infinity();
}

// The seen items of a task's users, ascending, within its range of items.
struct SeenRanges {
  std::vector<int64_t> items;
  std::vector<size_t> starts;  // one more than users

  template <class T>
  SeenRanges(const TopkArgs<T>& args, int64_t user_begin, int64_t user_end, int64_t item_begin, int64_t item_end) {
    starts.push_back(0);
    for (int64_t k = user_begin; k < user_end; ++k) {
      if (args.seen.offsets.values) {
        const int64_t user = args.users[k], end = args.seen.offsets[user + 1];
        for (int64_t p = args.seen.offsets[user]; p < end; ++p) {
          const int64_t item = args.seen.items[p];
          if (item >= item_begin && item < item_end) items.push_back(item);
        }
        const auto begin = items.begin() + static_cast<std::ptrdiff_t>(starts.back());
        if (!std::is_sorted(begin, items.end())) std::sort(begin, items.end());
      }
      starts.push_back(items.size());
    }
  }
};

template <class T>
class Task {
 public:
  Task(const TopkArgs<T>& args, const TileKernel<T>& kernel, int64_t user_begin, int64_t user_end, int64_t item_begin,
       int64_t item_end)
      : args_(args),
        kernel_(kernel),
        user_begin_(user_begin),
        user_end_(user_end),
        item_begin_(item_begin),
        item_end_(item_end),
        seen_(args, user_begin, user_end, item_begin, item_end) {
    const int64_t users = user_end - user_begin, k = std::min(args.k, item_end - item_begin);
    const int64_t capacity = TopkList<T>::capacity(k);
    entries_.reset(new Candidate<T>[static_cast<size_t>(users * capacity)]);
    lists_.reserve(static_cast<size_t>(users));
    for (int64_t r = 0; r < users; ++r) {
      const int64_t* seen = seen_.items.data();
      const size_t row = static_cast<size_t>(r);
      lists_.emplace_back(entries_.get() + r * capacity, k, seen + seen_.starts[row], seen + seen_.starts[row + 1]);
    }
  }

  void run() {
    const int64_t width = kernel_.shape.width, panel = (args_.factors + 1) * width;
    const int64_t count = std::max<int64_t>(1, kPackedBytes / static_cast<int64_t>(panel * sizeof(T)));
    std::vector<T> panels(static_cast<size_t>(count * panel));
    const std::vector<T> tiles = packed_users();
    for (int64_t item = item_begin_; item < item_end_; item += count * width) {
      const int64_t used = std::min(count, block_count(item_end_ - item, width));
      for (int64_t p = 0; p < used; ++p) pack_items(item + p * width, panels.data() + p * panel);
      score(tiles.data(), panels.data(), used, item);
    }
  }

  const TopkList<T>& list(int64_t position) const { return lists_[static_cast<size_t>(position - user_begin_)]; }

 private:
  void score(const T* tiles, const T* panels, int64_t count, int64_t first_item) {
    TopkSink<T> sink;
    sink.shape = kernel_.shape;
    sink.first_item = first_item;
    const int64_t users = user_end_ - user_begin_, height = kernel_.shape.users;
    for (int64_t first = 0; first < users; first += height) {
      sink.lists = lists_.data() + first;
      for (int64_t r = 0; r < height; ++r)
        sink.thresholds[r] = first + r < users ? sink.lists[r].threshold() : -minus_infinity<T>();
      kernel_.score(tiles + first * (args_.factors + 1), panels, count, args_.factors, &sink);
    }
  }

  std::vector<T> packed_users() const {
    const int64_t users = user_end_ - user_begin_, height = kernel_.shape.users, rows = args_.factors + 1;
    std::vector<T> tiles(static_cast<size_t>(block_count(users, height) * height * rows));
    for (int64_t k = 0; k < users; ++k) {
      const int64_t user = args_.users[user_begin_ + k];
      T* out = tiles.data() + k / height * height * rows + k % height;
      *out = args_.user_bias ? args_.user_bias[user] : T(0);
      const T* source = args_.user_factors + user * args_.factors;
      for (int64_t f = 0; f < args_.factors; ++f) out[(f + 1) * height] = source[f];
    }
    return tiles;
  }

  // Lanes beyond the last item score minus infinity or NaN, which pass no threshold.
  void pack_items(int64_t first, T* __restrict out) const {
    const int64_t width = kernel_.shape.width, d = args_.factors, used = std::min(width, item_end_ - first);
    for (int64_t lane = 0; lane < width; ++lane)
      out[lane] = lane >= used ? minus_infinity<T>() : args_.item_bias ? args_.item_bias[first + lane] : T(0);
    if (used < width) std::fill(out + width, out + (d + 1) * width, T(0));
    for (int64_t lane = 0; lane < used; ++lane) {
      const T* __restrict row = args_.item_factors + (first + lane) * d;
      T* __restrict column = out + width + lane;
      for (int64_t f = 0; f < d; ++f) column[f * width] = row[f];
    }
  }

  const TopkArgs<T>& args_;
  const TileKernel<T>& kernel_;
  int64_t user_begin_, user_end_, item_begin_, item_end_;
  SeenRanges seen_;
  std::unique_ptr<Candidate<T>[]> entries_;
  std::vector<TopkList<T>> lists_;
};

// Candidates in any order become a row of the result.
template <class T>
void write_row(const TopkArgs<T>& args, int64_t position, std::vector<Candidate<T>>& candidates) {
  const auto before = [](const Candidate<T>& a, const Candidate<T>& b) { return a.before(b); };
  const int64_t found = std::min<int64_t>(args.k, static_cast<int64_t>(candidates.size()));
  const auto end = candidates.begin() + found;
  if (end != candidates.end()) std::nth_element(candidates.begin(), end, candidates.end(), before);
  std::sort(candidates.begin(), end, before);
  T* scores = args.scores + position * args.k;
  int64_t* items = args.items + position * args.k;
  for (int64_t place = 0; place < args.k; ++place) {
    const Candidate<T> none{minus_infinity<T>(), -1};
    const Candidate<T>& entry = place < found ? candidates[static_cast<size_t>(place)] : none;
    scores[place] = entry.score;
    items[place] = entry.item;
  }
}

// How users and items are cut into tasks. It may depend on the number of threads: the best k do not depend on the cut.
struct Cut {
  int64_t users, splits, items;

  template <class T>
  Cut(const TopkArgs<T>& args, const TileShape& shape) {
    const double work =
        static_cast<double>(args.n) * static_cast<double>(args.n_items) * static_cast<double>(args.factors + 1);
    const int64_t threads = work < kSerialBelow ? 1 : static_cast<int64_t>(torch::stable::get_num_threads());
    const int64_t row_bytes =
        TopkList<T>::capacity(std::min(args.k, args.n_items)) * static_cast<int64_t>(sizeof(Candidate<T>));
    const int64_t most = std::clamp<int64_t>(kListBytes / std::max<int64_t>(row_bytes, 1), 1, kMostUsers);
    int64_t blocks = block_count(args.n, most);
    blocks = std::max(blocks, std::min(block_count(blocks, threads) * threads, block_count(args.n, kFewestUsers)));
    users = block_count(block_count(args.n, blocks), shape.users) * shape.users;
    blocks = block_count(args.n, users);
    splits = blocks >= threads ? 1 : block_count(threads, blocks);
    splits = std::max<int64_t>(1, std::min(splits, args.n_items / kFewestItems));
    items = block_count(block_count(args.n_items, splits), shape.width) * shape.width;
    splits = block_count(args.n_items, items);
  }
};

template <class T>
void run_split(const TopkArgs<T>& args, const TileKernel<T>& kernel, const Cut& cut) {
  const int64_t blocks = block_count(args.n, cut.users);
  std::vector<std::unique_ptr<Task<T>>> tasks(static_cast<size_t>(blocks * cut.splits));
  parallel_blocks(blocks * cut.splits, 1, 0, [&](int64_t t, int64_t, int64_t) {
    const int64_t user = t / cut.splits * cut.users, item = t % cut.splits * cut.items;
    auto& task = tasks[static_cast<size_t>(t)];
    task.reset(new Task<T>(args, kernel, user, std::min(args.n, user + cut.users), item,
                           std::min(args.n_items, item + cut.items)));
    task->run();
  });
  parallel_blocks(args.n, 1, kFewestUsers, [&](int64_t position, int64_t, int64_t) {
    std::vector<Candidate<T>> candidates;
    for (int64_t split = 0; split < cut.splits; ++split) {
      const auto& list = tasks[static_cast<size_t>(position / cut.users * cut.splits + split)]->list(position);
      candidates.insert(candidates.end(), list.begin(), list.end());
    }
    write_row(args, position, candidates);
  });
}

template <class T>
void run_whole(const TopkArgs<T>& args, const TileKernel<T>& kernel, const Cut& cut) {
  parallel_blocks(args.n, cut.users, 0, [&](int64_t, int64_t begin, int64_t end) {
    Task<T> task(args, kernel, begin, end, 0, args.n_items);
    task.run();
    std::vector<Candidate<T>> candidates;
    for (int64_t position = begin; position < end; ++position) {
      candidates.assign(task.list(position).begin(), task.list(position).end());
      write_row(args, position, candidates);
    }
  });
}

}  // namespace

namespace cpu {

template <class T>
void mf_topk(const TopkArgs<T>& args) {
  if (args.n == 0) return;
  if (args.n_items == 0) {
    std::fill(args.scores, args.scores + args.n * args.k, minus_infinity<T>());
    std::fill(args.items, args.items + args.n * args.k, int64_t{-1});
    return;
  }
  const TileKernel<T> kernel = TileKernel<T>::now();
  const Cut cut(args, kernel.shape);
  return cut.splits > 1 ? run_split(args, kernel, cut) : run_whole(args, kernel, cut);
}

BadSeen check_seen(const SeenItems& seen, const IndexArray& users, int64_t n, int64_t n_items) {
  constexpr int64_t block = 256;
  std::vector<BadSeen> found(static_cast<size_t>(block_count(n, block)));
  parallel_blocks(n, block, block, [&](int64_t b, int64_t first, int64_t last) {
    for (int64_t k = first; k < last; ++k) {
      const int64_t begin = seen.offsets[users[k]], end = seen.offsets[users[k] + 1];
      if (begin < 0 || end < begin || end > seen.count) {
        found[static_cast<size_t>(b)].user = k;
        return;
      }
      for (int64_t p = begin; p < end; ++p) {
        if (seen.items[p] >= 0 && seen.items[p] < n_items) continue;
        found[static_cast<size_t>(b)].item = p;
        return;
      }
    }
  });
  for (const BadSeen& bad : found)
    if (bad.user >= 0 || bad.item >= 0) return bad;
  return {};
}

template void mf_topk(const TopkArgs<float>&);
template void mf_topk(const TopkArgs<double>&);

}  // namespace cpu
}  // namespace debias
