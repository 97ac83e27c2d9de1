// Rows without weights, ties by expectation: the keys of each group's negatives, then of its positives, and nothing
// else.
#include "ranking/group_index.h"
#include "ranking/group_rows.h"
#include "ranking/group_tasks.h"
#include "ranking/rank_group.h"

namespace debias {
namespace {

template <class Index, class Label>
struct GroupAndLabel {
  const Index* groups;
  const Label* labels;
  Index low;
  Label one;
  int64_t operator()(int64_t row) const {
    return 2 * (static_cast<int64_t>(groups[row]) - static_cast<int64_t>(low)) + (labels[row] == one);
  }
};

template <class T>
struct EmitKey {
  const T* scores;
  score_key_t<T>* keys;
  void operator()(int64_t row, int64_t place) const { keys[place] = descending_key(scores[row]); }
  void prefetch(int64_t place) const { __builtin_prefetch(keys + place, 1); }
};

template <class Key>
void sort_large_groups(const std::vector<GroupKeys<Key>>& groups) {
  for (const GroupKeys<Key>& group : groups) {
    if (group.size() < kSharedSort || group.counted()) continue;
    const Buffer<Key> scratch(std::max(group.n_negatives, group.n_positives));
    for (const auto& [keys, n] :
         {std::pair(group.negatives, group.n_negatives), std::pair(group.positives, group.n_positives)}) {
      if (n == 0) continue;
      const Key* sorted = radix_sort_parallel(keys, scratch.data(), n);
      if (sorted != keys) std::copy(sorted, sorted + n, keys);
    }
  }
}

// Rows in any order; id_of(slot) is the outside id of the group in `groups`.
template <class T, class Index, class Label, class IdOf>
void rank_bucketed(const RankingInputs<T, Index, Label>& in, Index low, int64_t slots, const IdOf& id_of,
                   const RankingOptions& options, const AllocateRanking& allocate) {
  using Key = score_key_t<T>;
  using BucketOf = GroupAndLabel<Index, Label>;
  CountingSort<BucketOf> sort(in.n, 2 * slots, BucketOf{in.groups, in.labels, low, in.label_one});
  const Buffer<Key> keys(in.n + RankCounts<Key>::kSlack);
  sort.emit(EmitKey<T>{in.scores, keys.data()});
  std::vector<int64_t> starts, present;
  std::vector<GroupKeys<Key>> groups;
  for (int64_t slot = 0; slot < slots; ++slot) {
    const int64_t* start = sort.starts().data() + 2 * slot;
    if (start[0] == start[2]) continue;
    present.push_back(slot);
    starts.push_back(start[0]);
    groups.push_back({keys.data() + start[0], keys.data() + start[1], start[1] - start[0], start[2] - start[1]});
  }
  starts.push_back(in.n);
  const int64_t n_groups = static_cast<int64_t>(groups.size());
  const RankingOutputs out = allocate(n_groups);
  const Discounts discounts = make_discounts(options, largest_group(starts));
  sort_large_groups(groups);
  run_group_tasks(starts, [&](int64_t first, int64_t last) {
    GroupRanker<Key> ranker(options, discounts);
    for (int64_t g = first; g < last; ++g) {
      const GroupKeys<Key>& group = groups[static_cast<size_t>(g)];
      ranker.rank(group, group.size() >= kSharedSort, {out.values + g, n_groups});
      out.groups[g] = id_of(present[static_cast<size_t>(g)]);
      out.sizes[g] = group.size();
      out.positives[g] = group.n_positives;
    }
  });
}

// The runs of equal ids.
struct Runs {
  std::vector<int64_t> starts;  // and the end
  std::vector<int64_t> ids;
};

template <class Index>
Runs find_runs(const Index* groups, int64_t n) {
  std::vector<Runs> parts(static_cast<size_t>(block_count(n, kSurveyBlock)));
  parallel_blocks(n, kSurveyBlock, kSurveyBlock, [&](int64_t block, int64_t begin, int64_t end) {
    Runs& part = parts[static_cast<size_t>(block)];
    for (int64_t row = begin; row < end; ++row) {
      if (row > 0 && groups[row] == groups[row - 1]) continue;
      part.starts.push_back(row);
      part.ids.push_back(static_cast<int64_t>(groups[row]));
    }
  });
  Runs runs;
  for (const Runs& part : parts) {
    runs.starts.insert(runs.starts.end(), part.starts.begin(), part.starts.end());
    runs.ids.insert(runs.ids.end(), part.ids.begin(), part.ids.end());
  }
  runs.starts.push_back(n);
  return runs;
}

// Groups whose ids ascend with the rows: nothing moves but the keys of one group at a time.
template <class T, class Index, class Label>
void rank_in_place(const RankingInputs<T, Index, Label>& in, const Runs& runs, const RankingOptions& options,
                   const AllocateRanking& allocate) {
  using Key = score_key_t<T>;
  const std::vector<int64_t>& starts = runs.starts;
  const int64_t n_groups = static_cast<int64_t>(runs.ids.size()), largest = largest_group(starts);
  const RankingOutputs out = allocate(n_groups);
  const Discounts discounts = make_discounts(options, largest);
  run_group_tasks(starts, [&](int64_t first, int64_t last) {
    GroupRanker<Key> ranker(options, discounts);
    const Buffer<Key> negatives(largest), positives(largest + RankCounts<Key>::kSlack);
    for (int64_t g = first; g < last; ++g) {
      const int64_t begin = starts[static_cast<size_t>(g)], end = starts[static_cast<size_t>(g) + 1];
      const T* scores = in.scores;
      const Label* labels = in.labels;
      const Label one = in.label_one;
      Key* negative = negatives.data();
      Key* positive = positives.data();
      for (int64_t row = begin; row < end; ++row) {
        const Key key = descending_key(scores[row]);
        const bool hit = labels[row] == one;
        *negative = key;
        *positive = key;
        negative += !hit;
        positive += hit;
      }
      ranker.rank({negatives.data(), positives.data(), negative - negatives.data(), positive - positives.data()}, false,
                  {out.values + g, n_groups});
      out.groups[g] = runs.ids[static_cast<size_t>(g)];
      out.sizes[g] = end - begin;
      out.positives[g] = positive - positives.data();
    }
  });
}

}  // namespace

namespace cpu {

template <class T, class Index, class Label>
BadRows group_ranking(const RankingInputs<T, Index, Label>& in, const RankingOptions& options,
                      const AllocateRanking& allocate) {
  BadRows bad;
  const GroupSurvey<Index> groups = survey(in, bad);
  if (bad.any()) return bad;
  const bool keys_only = !in.weights && options.expected;
  if (keys_only && groups.descents == 0) {
    const Runs runs = find_runs(in.groups, in.n);
    if (largest_group(runs.starts) < kSharedSort) {
      rank_in_place(in, runs, options, allocate);
      return bad;
    }
  }
  const uint64_t range = static_cast<uint64_t>(groups.high) - static_cast<uint64_t>(groups.low);
  if (range < 4 * static_cast<uint64_t>(in.n)) {
    const int64_t slots = static_cast<int64_t>(range) + 1, low = static_cast<int64_t>(groups.low);
    const auto id_of = [low](int64_t slot) { return low + slot; };
    if (keys_only)
      rank_bucketed(in, groups.low, slots, id_of, options, allocate);
    else
      rank_rows(in, groups.low, slots, id_of, options, allocate);
    return bad;
  }
  const SparseIds sparse = sparse_ids(in.groups, in.n);
  const int64_t slots = static_cast<int64_t>(sparse.ids.size());
  const auto id_of = [&sparse](int64_t slot) { return sparse.ids[static_cast<size_t>(slot)]; };
  const RankingInputs<T, int64_t, Label> dense{in.scores, in.labels,    sparse.slots.data(), in.weights,
                                               in.n,      in.label_one, in.label_sign};
  if (keys_only)
    rank_bucketed(dense, int64_t{0}, slots, id_of, options, allocate);
  else
    rank_rows(dense, int64_t{0}, slots, id_of, options, allocate);
  return bad;
}

#define DEBIAS_INSTANTIATE(T, Index, Label) \
  template BadRows group_ranking(const RankingInputs<T, Index, Label>&, const RankingOptions&, const AllocateRanking&);
#define DEBIAS_INSTANTIATE_LABEL(Label)      \
  DEBIAS_INSTANTIATE(float, int32_t, Label)  \
  DEBIAS_INSTANTIATE(float, int64_t, Label)  \
  DEBIAS_INSTANTIATE(double, int32_t, Label) \
  DEBIAS_INSTANTIATE(double, int64_t, Label)
DEBIAS_INSTANTIATE_LABEL(uint8_t)
DEBIAS_INSTANTIATE_LABEL(uint32_t)
DEBIAS_INSTANTIATE_LABEL(uint64_t)
#undef DEBIAS_INSTANTIATE_LABEL
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
