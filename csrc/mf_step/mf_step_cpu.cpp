// A step on the CPU: the users in blocks (scores, slopes, and the update of each row while it is in the cache, the old
// row saved), then the items from the saved user rows. A row belongs to one task and sums its samples in their order in
// the batch: no atomics, and the same bits for every number of threads.
#include <algorithm>
#include <memory>
#include <utility>

#include "common/parallel.h"
#include "mf_step/batch.h"
#include "mf_step/mf_step_simd.h"

namespace debias {
namespace {

constexpr int64_t kTaskGroups = 256;        // rows with samples of one task
constexpr int64_t kTaskFloats = 1 << 12;    // parameters of one task that visits every row
constexpr int64_t kBlockGroups = 32;        // rows whose scores are computed before their update
constexpr int64_t kChunkSamples = 1 << 15;  // samples that are prepared at a time
constexpr int64_t kLargestKept = 1 << 23;   // numbers of a batch, saved rows and indices, whose memory a thread keeps
constexpr int64_t kSampleNumbers = 20;      // of each sample beside its saved row

// What is kept between steps, so that a step allocates nothing once it has seen its like. A thread keeps it between
// calls unless its batches are large.
template <class T>
struct Workspace {
  std::vector<Batch<T>> batches;
  std::vector<T> scores, slopes, saved;
  std::vector<double> losses;
};

// A share of the groups, and of the table's rows where every row is visited.
struct Share {
  int64_t first, last, row_begin, row_end;
};

template <class T>
class Step {
 public:
  Step(const Model<T>& model, const StepOptions& options, const Batch<T>& batch, Workspace<T>& workspace)
      : options_(options),
        batch_(batch),
        workspace_(workspace),
        scores_(room_for(workspace.scores, batch.n)),
        slopes_(room_for(workspace.slopes, batch.n)),
        users_(side(model.users, model, batch.by_user)),
        items_(side(model.items, model, batch.by_item)) {
    users_.source = model.items.rows;
    users_.source_row = batch.items.data();
    users_.saved = room_for(workspace.saved, batch.by_user.count * model.factors);
    items_.source = users_.saved;
    items_.source_row = batch.by_user.group_of.data();
  }

  double run() {
    const int64_t n_shares = shares(users_, batch_.by_user);
    double* losses = room_for(workspace_.losses, n_shares);
    for_each_share(users_, batch_.by_user, [&](int64_t s, const Share& share, T* sum) {
      losses[s] = 0;
      step_users(share, sum, losses + s);
    });
    for_each_share(items_, batch_.by_item, [&](int64_t, const Share& share, T* sum) { update(items_, share, sum); });
    double loss = 0;
    for (int64_t s = 0; s < n_shares; ++s) loss += losses[s];
    return loss;
  }

 private:
  SideStep<T> side(const SideTables<T>& tables, const Model<T>& model, const Groups& groups) const {
    SideStep<T> result{};
    result.tables = tables;
    result.factors = model.factors;
    result.second_width = options_.optimizer.kind == OptimizerKind::rowwise_adagrad ? 1 : model.factors;
    result.rows = groups.rows.data();
    result.offsets = groups.offsets.data();
    result.groups = groups.count;
    result.order = groups.order.data();
    result.slopes = slopes_;
    result.rule = step_rule<T>(options_.optimizer);
    result.l2 = static_cast<T>(options_.l2);
    result.l2_bias = static_cast<T>(options_.l2_bias);
    result.idle_l2 = options_.all_rows ? result.l2 : T(0);
    result.idle_l2_bias = options_.all_rows ? result.l2_bias : T(0);
    result.idle_rows = options_.dense();
    result.idle_biases = options_.dense_biases();
    return result;
  }

  int64_t rows_of_share(const SideStep<T>& side) const {
    return std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(1, side.factors));
  }

  int64_t shares(const SideStep<T>& side, const Groups& groups) const {
    return options_.dense() ? block_count(side.tables.n, rows_of_share(side)) : block_count(groups.count, kTaskGroups);
  }

  template <class F>
  void for_each_share(const SideStep<T>& side, const Groups& groups, const F& f) const {
    const int64_t *rows = groups.rows.data(), *rows_end = rows + groups.count;
    const bool dense = options_.dense();
    const int64_t n = dense ? side.tables.n : groups.count;
    const int64_t block = dense ? rows_of_share(side) : kTaskGroups;
    const int64_t floats = ((dense ? side.tables.n : 0) + batch_.n) * side.factors;
    parallel_blocks(n, block, floats < kSerialBelowFloats ? n : 0, [&](int64_t s, int64_t begin, int64_t end) {
      std::vector<T> sum(static_cast<size_t>(side.factors));
      Share share{begin, end, 0, 0};
      if (dense) {
        share.row_begin = begin, share.row_end = end;
        share.first = std::lower_bound(rows, rows_end, begin) - rows;
        share.last = std::lower_bound(rows, rows_end, end) - rows;
      }
      f(s, share, sum.data());
    });
  }

  void step_users(const Share& share, T* sum, double* loss) const {
    int64_t row = share.row_begin, first = share.first;
    do {
      const int64_t last = std::min(first + kBlockGroups, share.last);
      score(first, last);
      slope(users_.offsets[first], users_.offsets[last], loss);
      const int64_t row_end = last == share.last ? share.row_end : users_.rows[last - 1] + 1;
      update(users_, {first, last, row, row_end}, sum);
      first = last, row = row_end;
    } while (first < share.last);
  }

  void score(int64_t first, int64_t last) const {
    with_width(users_.factors, [&](auto d) {
      simd_run<ScorePass<T, d()>>(&users_, static_cast<const T*>(items_.tables.bias), static_cast<T>(options_.offset),
                                  first, last, scores_);
    });
  }

  void slope(int64_t begin, int64_t end, double* loss) const {
    const SlopeColumns<T> columns{users_.order,
                                  batch_.targets.data(),
                                  data_or_null(batch_.weights),
                                  data_or_null(batch_.exposures),
                                  data_or_null(batch_.pseudo_targets),
                                  options_.mean ? T(1) / static_cast<T>(batch_.n) : T(1),
                                  slopes_};
    with_row_loss(options_.loss, columns.pseudo_targets != nullptr, [&](auto row) {
      simd_run<SlopePass<decltype(row), T>>(&columns, static_cast<const T*>(scores_), begin, end, loss);
    });
  }

  void update(const SideStep<T>& side, const Share& share, T* sum) const {
    with_width(side.factors, [&](auto d) {
      with_rule(options_.optimizer.kind, [&](auto rule) {
        simd_run<UpdatePass<decltype(rule), T, d()>>(&side, share.first, share.last, share.row_begin, share.row_end,
                                                     sum);
      });
    });
  }

  const StepOptions& options_;
  const Batch<T>& batch_;
  Workspace<T>& workspace_;
  T *scores_, *slopes_;
  SideStep<T> users_, items_;
};

}  // namespace

namespace cpu {

template <class T, class Index>
double mf_steps(const Model<T>& model, const Samples<T, Index>& samples, const EpochPlan& plan, StepOptions options) {
  static thread_local std::unique_ptr<Workspace<T>> kept;
  std::unique_ptr<Workspace<T>> owned = kept ? std::move(kept) : std::make_unique<Workspace<T>>();
  Workspace<T>& workspace = *owned;
  const int64_t chunk = std::max<int64_t>(1, kChunkSamples / plan.batch_size);
  double loss = 0;
  for (int64_t first = plan.start; first < plan.stop; first += chunk) {
    workspace.batches.resize(static_cast<size_t>(std::min(chunk, plan.stop - first)));
    prepare_batches(samples, plan, model.users.n, model.items.n, first, workspace.batches);
    for (const Batch<T>& batch : workspace.batches) {
      loss += Step<T>(model, options, batch, workspace).run();
      ++options.optimizer.step;
    }
  }
  const int64_t samples_at_once = std::min(plan.batch_size, samples.n);
  if (samples_at_once * (model.factors + kSampleNumbers) <= kLargestKept) kept = std::move(owned);
  return loss;
}

template <class T>
bool all_legal(RowLossKind loss, const T* targets, const T* exposures, int64_t n) {
  int legal = 1;
  with_row_loss(loss, false, [&](auto row) {
    if constexpr (decltype(row)::reads_source) simd_run<LegalRows<decltype(row), T>>(targets, exposures, n, &legal);
  });
  return legal != 0;
}
template bool all_legal(RowLossKind, const float*, const float*, int64_t);
template bool all_legal(RowLossKind, const double*, const double*, int64_t);

#define DEBIAS_INSTANTIATE(T, Index) \
  template double mf_steps(const Model<T>&, const Samples<T, Index>&, const EpochPlan&, StepOptions);
DEBIAS_INSTANTIATE(float, int32_t)
DEBIAS_INSTANTIATE(float, int64_t)
DEBIAS_INSTANTIATE(double, int32_t)
DEBIAS_INSTANTIATE(double, int64_t)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
