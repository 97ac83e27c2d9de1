// Cuts the work into shares, runs them, and writes the rows of the result.
#include <torch/csrc/stable/ops.h>

#include "topk/topk_share.h"

namespace debias {
namespace {

constexpr int64_t kMostUsers = 1024;       // of a share
constexpr int64_t kFewestUsers = 64;       // of a share, while there are other ways to keep threads busy
constexpr int64_t kFewestItems = 4096;     // of a share
constexpr int64_t kListBytes = 64 << 20;   // of a share
constexpr int64_t kSerialBelow = 1 << 20;  // multiplications that a second thread does not pay for
constexpr int64_t kUnit = 48;              // users and items of a share: whole tiles of every shape

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

// How users and items are cut into shares. It may depend on the number of threads: the best k do not depend on the cut.
struct Cut {
  int64_t users, splits, items;

  template <class T>
  explicit Cut(const TopkArgs<T>& args) {
    const double work =
        static_cast<double>(args.n) * static_cast<double>(args.n_items) * static_cast<double>(args.factors + 1);
    const int64_t threads = work < kSerialBelow ? 1 : static_cast<int64_t>(torch::stable::get_num_threads());
    const int64_t row_bytes =
        TopkList<T>::capacity(std::min(args.k, args.n_items)) * static_cast<int64_t>(sizeof(Candidate<T>));
    const int64_t most = std::clamp<int64_t>(kListBytes / std::max<int64_t>(row_bytes, 1), 1, kMostUsers);
    int64_t blocks = block_count(args.n, most);
    blocks = std::max(blocks, std::min(block_count(blocks, threads) * threads, block_count(args.n, kFewestUsers)));
    users = block_count(block_count(args.n, blocks), kUnit) * kUnit;
    blocks = block_count(args.n, users);
    splits = blocks >= threads ? 1 : block_count(threads, blocks);
    splits = std::max<int64_t>(1, std::min(splits, args.n_items / kFewestItems));
    items = block_count(block_count(args.n_items, splits), kUnit) * kUnit;
    splits = block_count(args.n_items, items);
  }
};

template <class T>
void fill_lists(const TopkArgs<T>& args, const Share& share, TopkList<T>* lists) {
  if constexpr (sizeof(T) == 4) {
    if (worth_screening(args)) return screen_share(args, share, lists);
  }
  score_share(args, share, lists);
}

template <class T>
void run_split(const TopkArgs<T>& args, const Cut& cut) {
  const int64_t blocks = block_count(args.n, cut.users);
  std::vector<std::unique_ptr<ShareLists<T>>> shares(static_cast<size_t>(blocks * cut.splits));
  parallel_blocks(blocks * cut.splits, 1, 0, [&](int64_t t, int64_t, int64_t) {
    const int64_t user = t / cut.splits * cut.users, item = t % cut.splits * cut.items;
    const Share share{user, std::min(args.n, user + cut.users), item, std::min(args.n_items, item + cut.items)};
    auto& lists = shares[static_cast<size_t>(t)];
    lists.reset(new ShareLists<T>(args, share));
    fill_lists(args, share, lists->data());
  });
  parallel_blocks(args.n, 1, kFewestUsers, [&](int64_t position, int64_t, int64_t) {
    std::vector<Candidate<T>> candidates;
    for (int64_t split = 0; split < cut.splits; ++split) {
      const auto& list = shares[static_cast<size_t>(position / cut.users * cut.splits + split)]->of(position);
      candidates.insert(candidates.end(), list.begin(), list.end());
    }
    write_row(args, position, candidates);
  });
}

template <class T>
void run_whole(const TopkArgs<T>& args, const Cut& cut) {
  parallel_blocks(args.n, cut.users, 0, [&](int64_t, int64_t begin, int64_t end) {
    const Share share{begin, end, 0, args.n_items};
    ShareLists<T> lists(args, share);
    fill_lists(args, share, lists.data());
    std::vector<Candidate<T>> candidates;
    for (int64_t position = begin; position < end; ++position) {
      candidates.assign(lists.of(position).begin(), lists.of(position).end());
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
  const Cut cut(args);
  return cut.splits > 1 ? run_split(args, cut) : run_whole(args, cut);
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
