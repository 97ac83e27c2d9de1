// Rows with weights, or with ties broken by row order: each group's rows are sorted whole.
#pragma once

#include "ranking/group_index.h"
#include "ranking/group_sums.h"
#include "ranking/group_tasks.h"
#include "ranking/radix_sort.h"

namespace debias {

template <class Key>
struct RankedRow {
  Key key;
  int64_t row;
};

template <class Index>
struct GroupOf {
  const Index* groups;
  Index low;
  int64_t operator()(int64_t row) const { return static_cast<int64_t>(groups[row]) - static_cast<int64_t>(low); }
};

template <class T>
struct EmitRow {
  const T* scores;
  RankedRow<score_key_t<T>>* rows;
  void operator()(int64_t row, int64_t place) const { rows[place] = {descending_key(scores[row]), row}; }
  void prefetch(int64_t place) const { __builtin_prefetch(rows + place, 1); }
};

// Labels and weights of rows by their position in the input.
template <class Label>
struct RowValues {
  const Label* labels;
  const double* weights;
  Label one;
  bool positive(int64_t row) const { return labels[row] == one; }
  double weight(int64_t row) const { return weights ? weights[row] : 1.0; }
};

template <class Key, class Label>
class RowRanker {
 public:
  RowRanker(const RankingOptions& options, const Discounts& discounts, RowValues<Label> values)
      : options_(options), sums_(options, discounts), values_(values) {}

  int64_t rank(const RankedRow<Key>* rows, int64_t n, const ValueColumn& out) {
    sums_.start();
    GroupTotals totals{n, 0, 0, 0, 0, 0, 0};
    gains_.clear();
    for (int64_t at = 0; at < n; ++at) {
      const double weight = values_.weight(rows[at].row);
      if (values_.positive(rows[at].row)) {
        totals.positive_weight += weight;
        gains_.push_back(weight);
      } else {
        totals.negative_weight += weight;
      }
    }
    totals.positives = static_cast<int64_t>(gains_.size());
    totals.auc_pairs = add_blocks(rows, n, totals.negative_weight);
    if (options_.wants_full() && values_.weights) std::sort(gains_.begin(), gains_.end(), std::greater<double>());
    sums_.write(totals, [&](int64_t k) { return ideal(k); }, out);
    return totals.positives;
  }

 private:
  double ideal(int64_t k) const {
    const int64_t n = std::min(k, static_cast<int64_t>(gains_.size()));
    if (!values_.weights) return sums_.ideal_of_equal_gains(n, n);
    double sum = 0;
    for (int64_t place = 0; place < n; ++place)
      sum += gains_[static_cast<size_t>(place)] * sums_.discount_at(static_cast<size_t>(place));
    return sum;
  }

  // Returns the weight of the pairs in the right order.
  double add_blocks(const RankedRow<Key>* rows, int64_t n, double negative_weight) {
    double pairs = 0, passed = 0;
    int64_t hits = 0;
    for (int64_t begin = 0; begin < n;) {
      int64_t end = begin, positives = 0;
      double gain = 0, negative = 0;
      for (; end < n && rows[end].key == rows[begin].key; ++end) {
        const int64_t row = rows[end].row;
        const double weight = values_.weight(row);
        if (!values_.positive(row)) {
          negative += weight;
          continue;
        }
        if (!options_.expected) sums_.add({end, 1, 1, hits + positives, weight}, weight);
        ++positives;
        gain += weight;
      }
      if (options_.expected && positives) sums_.add({begin, end - begin, positives, hits, gain}, gain);
      pairs += gain * (negative_weight - passed - 0.5 * negative);
      passed += negative;
      hits += positives;
      begin = end;
    }
    return pairs;
  }

  const RankingOptions& options_;
  GroupSums sums_;
  RowValues<Label> values_;
  std::vector<double> gains_;
};

template <class Entry>
void sort_large_rows(Entry* rows, const std::vector<int64_t>& starts) {
  for (size_t g = 0; g + 1 < starts.size(); ++g) {
    const int64_t n = starts[g + 1] - starts[g];
    if (n < kSharedSort) continue;
    const Buffer<Entry> scratch(n);
    Entry* first = rows + starts[g];
    const Entry* sorted = radix_sort_parallel(first, scratch.data(), n);
    if (sorted != first) std::copy(sorted, sorted + n, first);
  }
}

template <class T, class Index, class Label, class IdOf>
void rank_rows(const RankingInputs<T, Index, Label>& in, Index low, int64_t slots, const IdOf& id_of,
               const RankingOptions& options, const AllocateRanking& allocate) {
  using Entry = RankedRow<score_key_t<T>>;
  CountingSort<GroupOf<Index>> sort(in.n, slots, GroupOf<Index>{in.groups, low});
  const Buffer<Entry> rows(in.n);
  sort.emit(EmitRow<T>{in.scores, rows.data()});
  std::vector<int64_t> starts, present;
  for (int64_t slot = 0; slot < slots; ++slot) {
    const int64_t* start = sort.starts().data() + slot;
    if (start[0] == start[1]) continue;
    present.push_back(slot);
    starts.push_back(start[0]);
  }
  starts.push_back(in.n);
  const int64_t n_groups = static_cast<int64_t>(present.size());
  const RankingOutputs out = allocate(n_groups);
  const Discounts discounts = make_discounts(options, largest_group(starts));
  sort_large_rows(rows.data(), starts);
  run_group_tasks(starts, [&](int64_t first, int64_t last) {
    RowRanker<score_key_t<T>, Label> ranker(options, discounts, {in.labels, in.weights, in.label_one});
    std::vector<Entry> scratch;
    for (int64_t g = first; g < last; ++g) {
      Entry* group = rows.data() + starts[static_cast<size_t>(g)];
      const int64_t size = starts[static_cast<size_t>(g) + 1] - starts[static_cast<size_t>(g)];
      if (size < kSharedSort) {
        if (static_cast<int64_t>(scratch.size()) < size) scratch.resize(static_cast<size_t>(size));
        radix_sort(group, scratch.data(), size);
      }
      out.positives[g] = ranker.rank(group, size, {out.values + g, n_groups});
      out.groups[g] = id_of(present[static_cast<size_t>(g)]);
      out.sizes[g] = size;
    }
  });
}

}  // namespace debias
