// A step on CUDA: slopes by sample, then one kernel a side. A group of lanes owns a row and sums its samples, found
// next to each other in sorted order, one after the other: no atomics.
#include "common/device.cuh"
#include "common/reduce.cuh"
#include "mf_step/mf_step_kernels.h"
#include "optimizer_step/update_one.cuh"

namespace debias {
namespace {

constexpr int kLanes = 16;     // threads that share a sample or a row
constexpr int kThreads = 256;  // kThreads / kLanes of these a block

template <class T>
struct SlopeArgs {
  Model<T, accumulator_t<T>> model;
  cuda::DeviceBatch<T> batch;
  accumulator_t<T> offset, scale;
};

template <class T>
__device__ __forceinline__ accumulator_t<T> column(const T* values, int64_t k, accumulator_t<T> otherwise) {
  return values ? static_cast<accumulator_t<T>>(to_float(values[k])) : otherwise;
}

// A sample with an index out of range has slope 0 and loss 0.
template <class Row, class Storage>
__global__ void __launch_bounds__(kThreads, 1) slope_kernel(SlopeArgs<Storage> args) {
  using T = accumulator_t<Storage>;
  const auto& model = args.model;
  const auto& batch = args.batch;
  const int lane = threadIdx.x % kLanes;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * (kThreads / kLanes), d = model.factors;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  // Every lane makes every round, so that the shuffles always meet.
  for (int64_t round = 0; round * groups < batch.n; ++round) {
    const int64_t k = round * groups + first;
    const int64_t user = k < batch.n ? batch.users[k] : -1, item = k < batch.n ? batch.items[k] : -1;
    const bool valid = user >= 0 && item >= 0;
    T score = 0;
    if (valid)
      for (int64_t f = lane; f < d; f += kLanes)
        score += static_cast<T>(to_float(model.users.rows[user * d + f])) *
                 static_cast<T>(to_float(model.items.rows[item * d + f]));
    score = lanes_sum<kLanes>(score);
    if (lane != 0 || k >= batch.n) continue;
    RowSlope<T> row{};
    if (valid) {
      score += args.offset + column(model.users.bias, user, T(0)) + column(model.items.bias, item, T(0));
      row = Row::at(score, static_cast<T>(to_float(batch.targets[k])), column(batch.weights, k, T(1)),
                    column(batch.exposures, k, T(1)), column(batch.pseudo_targets, k, T(0)));
    }
    batch.slopes[k] = args.scale * row.score;
    batch.losses[k] = row.value;
    batch.saved_row[k] = -1;
  }
}

// One block, so that the order of the additions is fixed.
template <class T>
__global__ void __launch_bounds__(kReduceThreads, 1) loss_kernel(const T* losses, int64_t n, double* total) {
  double sum = 0;
  for (int64_t k = threadIdx.x; k < n; k += blockDim.x) sum += static_cast<double>(losses[k]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total += sum;
}

template <class Storage>
struct SideArgs {
  using T = accumulator_t<Storage>;
  SideTables<Storage, T> tables;
  const int64_t* sorted;  // rows of the samples, ascending
  const int64_t* order;
  const Storage* source;  // rows of the other side before the step, row source_row[k] for sample k
  const int64_t* source_row;
  const T* slopes;
  Storage* saved;      // null: the rows before the step are not kept
  int64_t* saved_row;  // of each sample
  int64_t n, factors;
  StepRule<T> rule;
  T l2, l2_bias, idle_l2, idle_l2_bias;
  int idle_rows, idle_biases;
};

// The gradient of factor f of a row, or of its bias for f = -1, l2 apart.
template <class Storage>
__device__ __forceinline__ accumulator_t<Storage> row_sum(const SideArgs<Storage>& side, int64_t row, int64_t begin,
                                                          int64_t f) {
  using T = accumulator_t<Storage>;
  T sum = 0;
  for (int64_t q = begin; q < side.n && side.sorted[q] == row; ++q) {
    const int64_t k = side.order[q], from = side.source_row[k];
    if (from < 0) continue;
    sum += side.slopes[k] * (f < 0 ? T(1) : static_cast<T>(to_float(side.source[from * side.factors + f])));
  }
  return sum;
}

// Of a row with one second moment: rate / (sqrt(v) + eps), v updated. Every lane of the warp must call it.
template <class Storage>
__device__ __forceinline__ accumulator_t<Storage> row_rate(const SideArgs<Storage>& side, int64_t row, int64_t begin,
                                                           bool active, accumulator_t<Storage> l2) {
  using T = accumulator_t<Storage>;
  const int lane = threadIdx.x % kLanes;
  const int64_t d = side.factors;
  T squares = 0, before = 0;
  if (active) {
    before = side.tables.second[row];
    for (int64_t f = lane; f < d; f += kLanes) {
      const T g = row_sum(side, row, begin, f) + l2 * static_cast<T>(to_float(side.tables.rows[row * d + f]));
      squares += g * g;
    }
  }
  squares = lanes_sum<kLanes>(squares);
  const T second = before + (d > 0 ? squares / static_cast<T>(d) : T(0));
  __syncwarp();  // every lane has read the old one
  if (active && lane == 0) side.tables.second[row] = second;
  return side.rule.rate / (square_root(second) + side.rule.eps);
}

template <class Rule, class Storage>
__global__ void __launch_bounds__(kThreads, 1) side_kernel(SideArgs<Storage> side) {
  using T = accumulator_t<Storage>;
  const int lane = threadIdx.x % kLanes;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * (kThreads / kLanes), d = side.factors;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int64_t work = side.idle_rows ? side.tables.n : side.n;
  for (int64_t round = 0; round * groups < work; ++round) {
    const int64_t place = round * groups + first;
    int64_t row = -1, begin = side.n;
    if (place < work && side.idle_rows) {
      row = place, begin = lower_bound(side.sorted, side.n, row);
    } else if (place < work && (place == 0 || side.sorted[place - 1] != side.sorted[place])) {
      row = side.sorted[place], begin = place;
    }
    const bool active = in_range(row, side.tables.n);
    const bool touched = active && begin < side.n && side.sorted[begin] == row;
    const T l2 = touched ? side.l2 : side.idle_l2;
    T rate = 0;
    if constexpr (Rule::by_row) rate = row_rate(side, row, begin, active, l2);
    if (!active) continue;
    for (int64_t f = lane; f < d; f += kLanes) {
      const T sum = row_sum(side, row, begin, f);
      const int64_t at = row * d + f;
      if (side.saved && touched) side.saved[begin * d + f] = side.tables.rows[at];
      if constexpr (Rule::by_row) {
        const T old = static_cast<T>(to_float(side.tables.rows[at]));
        side.tables.rows[at] = from_float<Storage>(old - rate * (sum + l2 * old));
      } else {
        update_one<Rule>(side.tables.rows, side.tables.first, side.tables.second, at, sum, l2, side.rule);
      }
    }
    if (side.saved)
      for (int64_t q = begin + lane; q < side.n && side.sorted[q] == row; q += kLanes)
        side.saved_row[side.order[q]] = begin;
    if (lane == 0 && side.tables.bias && (touched || side.idle_biases))
      update_one<Rule>(side.tables.bias, side.tables.bias_first, side.tables.bias_second, row,
                       row_sum(side, row, begin, -1), touched ? side.l2_bias : side.idle_l2_bias, side.rule);
  }
}

template <class T>
SideArgs<T> side_args(const SideTables<T, accumulator_t<T>>& tables, const cuda::DeviceBatch<T>& batch, int64_t factors,
                      const StepOptions& options) {
  using A = accumulator_t<T>;
  SideArgs<T> side{};
  side.tables = tables;
  side.slopes = batch.slopes;
  side.n = batch.n;
  side.factors = factors;
  side.rule = step_rule<A>(options.optimizer);
  side.l2 = static_cast<A>(options.l2);
  side.l2_bias = static_cast<A>(options.l2_bias);
  side.idle_l2 = options.all_rows ? side.l2 : A(0);
  side.idle_l2_bias = options.all_rows ? side.l2_bias : A(0);
  side.idle_rows = options.dense();
  side.idle_biases = options.dense_biases();
  return side;
}

template <class T>
void launch_side(OptimizerKind kind, const SideArgs<T>& side, cudaStream_t stream) {
  const unsigned grid = grid_size(side.idle_rows ? side.tables.n : side.n, kThreads / kLanes);
  with_rule(kind, [&](auto rule) { launch(side_kernel<decltype(rule), T>, grid, kThreads, 0, stream, side); });
}

}  // namespace

namespace cuda {

template <class T>
void mf_step(const Model<T, accumulator_t<T>>& model, const DeviceBatch<T>& batch, const StepOptions& options,
             void* stream) {
  using A = accumulator_t<T>;
  const auto on = static_cast<cudaStream_t>(stream);
  const A scale = options.mean ? A(1) / static_cast<A>(batch.n) : A(1);
  const SlopeArgs<T> slopes{model, batch, static_cast<A>(options.offset), scale};
  with_row_loss(options.loss, batch.pseudo_targets != nullptr, [&](auto row) {
    launch(slope_kernel<decltype(row), T>, grid_size(batch.n, kThreads / kLanes), kThreads, 0, on, slopes);
  });
  launch(loss_kernel<A>, 1u, kReduceThreads, 0, on, static_cast<const A*>(batch.losses), batch.n, batch.total);
  SideArgs<T> users = side_args(model.users, batch, model.factors, options);
  users.sorted = batch.sorted_users, users.order = batch.user_order;
  users.source = model.items.rows, users.source_row = batch.items;
  users.saved = batch.saved, users.saved_row = batch.saved_row;
  launch_side(options.optimizer.kind, users, on);
  SideArgs<T> items = side_args(model.items, batch, model.factors, options);
  items.sorted = batch.sorted_items, items.order = batch.item_order;
  items.source = batch.saved, items.source_row = batch.saved_row;
  launch_side(options.optimizer.kind, items, on);
}

template void mf_step(const Model<float, float>&, const DeviceBatch<float>&, const StepOptions&, void*);
template void mf_step(const Model<double, double>&, const DeviceBatch<double>&, const StepOptions&, void*);
template void mf_step(const Model<Half, float>&, const DeviceBatch<Half>&, const StepOptions&, void*);
template void mf_step(const Model<BFloat16, float>&, const DeviceBatch<BFloat16>&, const StepOptions&, void*);

}  // namespace cuda
}  // namespace debias
