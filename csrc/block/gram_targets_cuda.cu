// Losses whose all-pairs term has a Gram form: that term by rows; the rated pairs one by one, then summed by user and
// by item in their sorted order.
#include "block/block_device.cuh"
#include "block/block_math.h"

namespace debias {
namespace {

constexpr int kThreads = kReduceThreads;
constexpr int kLanesPerPair = 16;
constexpr int kLanesPerRow = 32;

// Of each sorted rated pair: its user and slope, and what it adds to the gradients of its weights.
template <class T>
struct PairSums {
  int64_t* users;
  T *slopes, *to_user_weight, *to_item_weight;
};

// The score of the pair, in every lane of its group.
template <class Storage>
__device__ __forceinline__ accumulator_t<Storage> pair_score(const FactorTables<Storage>& tables, bool valid, int64_t u,
                                                             int64_t i, int lane) {
  accumulator_t<Storage> sum = 0;
  if (valid)
    for (int64_t f = lane; f < tables.d + 2; f += kLanesPerPair)
      sum += component(tables, true, u, f) * component(tables, false, i, f);
  return lanes_sum<kLanesPerPair>(sum);
}

// One group of lanes a sorted pair. values: the sums of each block, of the loss and (second half) of the slope in c.
template <class Storage, bool residual>
__global__ void __launch_bounds__(kThreads, 1)
    rated_pairs_kernel(BlockArgs<Storage> args, ConstantTargetArgs<Storage> target, FactorTables<Storage> imputation,
                       PairSums<accumulator_t<Storage>> sums, double* values) {
  using T = accumulator_t<Storage>;
  const int lane = threadIdx.x % kLanesPerPair;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * (kThreads / kLanesPerPair);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanesPerPair) + threadIdx.x / kLanesPerPair;
  const int64_t pairs = args.rated.offsets[args.m];
  const bool own = target.rated_weights != nullptr;
  const T constant =
      static_cast<T>(target.value_number + (target.value ? static_cast<double>(to_float(*target.value)) : 0.0));
  double value = 0, to_value = 0;
  // Every lane makes every round, so that the shuffles below always meet.
  for (int64_t round = 0; round * groups < pairs; ++round) {
    const int64_t k = round * groups + first;
    const bool valid = k < pairs;
    const int64_t u = valid ? lower_bound(args.rated.offsets, args.m, k + 1) - 1 : 0,
                  i = valid ? args.rated.columns[k] : 0;
    const T s = pair_score(args.student, valid, u, i, lane);
    const T g = residual ? pair_score(imputation, valid, u, i, lane) : T(0);
    if (lane != 0 || !valid) continue;
    const int64_t position = args.rated.positions[k];
    const T t = to_float(args.rated.targets[position]), w = read_or(args.rated.weights, position, T(1));
    RatedTerm<T> term = residual ? residual_imputation(s, g, t, w) : weighted_square(s, t, w);
    T to_user_weight = 0, to_item_weight = 0;
    if (!residual && (own || target.replace)) {
      const bool fresh = k == args.rated.offsets[u] || args.rated.columns[k - 1] != i;
      const T a = fresh ? read_or(target.user_weight, u, T(1)) : T(0);
      const T b = fresh ? read_or(target.item_weight, i, T(1)) : T(0);
      const Replacement<T> change = replacement(s, constant, a, b, read_or(target.rated_values, position, T(0)),
                                                read_or(target.rated_weights, position, T(0)));
      term.value += change.value;
      term.slope += change.slope;
      to_user_weight = change.to_user_weight;
      to_item_weight = change.to_item_weight;
      to_value += static_cast<double>(change.to_value);
      write_scaled(target.grad_rated_values, position, args.scale, change.own.to_target);
      write_scaled(target.grad_rated_weights, position, args.scale, change.own.to_weight);
    }
    value += static_cast<double>(term.value);
    write_scaled(args.gradients.targets, position, args.scale, term.to_target);
    write_scaled(args.gradients.weights, position, args.scale, term.to_weight);
    sums.users[k] = u;
    sums.slopes[k] = term.slope;
    sums.to_user_weight[k] = to_user_weight;
    sums.to_item_weight[k] = to_item_weight;
  }
  value = block_sum(value);
  to_value = block_sum(to_value);
  if (threadIdx.x == 0) {
    values[blockIdx.x] = value;
    values[gridDim.x + blockIdx.x] = to_value;
  }
}

// The rated pairs of one side's rows: `order` of the item side, null for the user side, which is sorted.
template <class Storage>
struct RatedRows {
  bool user;
  int64_t rows;
  const int64_t* offsets;
  const int64_t* order;
  const accumulator_t<Storage>* to_weight;
  Storage *factors, *bias, *weight;
};

template <class Storage>
__device__ __forceinline__ void add_scaled(Storage* out, double scale, accumulator_t<Storage> value) {
  using T = accumulator_t<Storage>;
  *out = from_float<Storage>(static_cast<T>(to_float(*out)) + static_cast<T>(scale) * value);
}

// One warp a row; each lane sums some factors over the row's pairs, in their order.
template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    rated_rows_kernel(BlockArgs<Storage> args, RatedRows<Storage> side, PairSums<accumulator_t<Storage>> sums) {
  using T = accumulator_t<Storage>;
  const int lane = threadIdx.x % kLanesPerRow;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (kThreads / kLanesPerRow), d = args.student.d;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanesPerRow) + threadIdx.x / kLanesPerRow;
       r < side.rows; r += warps) {
    const int64_t begin = side.offsets[r], end = side.offsets[r + 1];
    if (begin == end) continue;
    const int64_t ones = side.user ? d : d + 1;  // where the other side's rows are 1
    for (int64_t f = lane; f < d + 2; f += kLanesPerRow) {
      if (f < d ? !side.factors : f != ones || !side.bias) continue;
      T sum = 0;
      for (int64_t p = begin; p < end; ++p) {
        const int64_t k = side.order ? side.order[p] : p;
        const int64_t other = side.user ? args.rated.columns[k] : sums.users[k];
        sum += sums.slopes[k] * (f < d ? component(args.student, !side.user, other, f) : T(1));
      }
      add_scaled(f < d ? side.factors + r * d + f : side.bias + r, args.scale, sum);
    }
    if (lane != 0 || !side.weight) continue;
    T sum = 0;
    for (int64_t p = begin; p < end; ++p) sum += side.to_weight[side.order ? side.order[p] : p];
    add_scaled(side.weight + r, args.scale, sum);
  }
}

// *inner = <user_gram, item_gram>; the gradient of the constant, with the sums of the rated pairs' blocks. One block.
template <class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1)
    gram_value_kernel(const double* user_gram, const double* item_gram, int64_t d, const double* values, int64_t blocks,
                      double scale, double* inner, Storage* grad_value) {
  using T = accumulator_t<Storage>;
  double to_value = 0;
  if (grad_value) {
    to_value = -2 * gram_residual_sum(user_gram, item_gram, d, threadIdx.x, kReduceThreads);
    for (int64_t b = threadIdx.x; b < blocks; b += kReduceThreads) to_value += values[blocks + b];
  }
  to_value = block_sum(to_value);  // and every thread has read `values`, one of which *inner may be
  const double product = block_sum(gram_inner(user_gram, item_gram, d, threadIdx.x, kReduceThreads));
  if (threadIdx.x != 0) return;
  if (grad_value) *grad_value = from_float<Storage>(static_cast<T>(scale * to_value));
  *inner = product;
}

struct GramMemory {
  GramMemory(Arena& arena, int64_t m, int64_t n, int64_t pairs, int64_t d, int64_t imputation_d) {
    const int64_t widest = d > imputation_d ? d : imputation_d, size = (widest + 2) * gram_width(widest);
    const int64_t rows = m > n ? m : n;
    user_gram = arena.take<double>(size), item_gram = arena.take<double>(size);
    user_cross = arena.take<double>(size), item_cross = arena.take<double>(size);
    shares = arena.take<double>(cuda::gram_products_workspace(rows, widest, widest));
    values = arena.take<double>(2 * kReduceBlocks + 1);
    users = arena.take<int64_t>(pairs);
    slopes = arena.take<double>(pairs), to_user_weight = arena.take<double>(pairs);
    to_item_weight = arena.take<double>(pairs);
  }
  double *user_gram, *item_gram, *user_cross, *item_cross, *shares, *values;
  int64_t* users;
  double *slopes, *to_user_weight, *to_item_weight;  // in the accumulator's type
};

// The rated pairs' share of everything; returns how many sums it left in memory.values.
template <class Storage, bool residual>
unsigned add_rated(const BlockArgs<Storage>& args, const ConstantTargetArgs<Storage>& target,
                   const FactorTables<Storage>& imputation, const cuda::ItemOrder& items, const GramMemory& memory,
                   cudaStream_t on) {
  using T = accumulator_t<Storage>;
  const PairSums<T> sums{memory.users, reinterpret_cast<T*>(memory.slopes), reinterpret_cast<T*>(memory.to_user_weight),
                         reinterpret_cast<T*>(memory.to_item_weight)};
  const unsigned wanted = grid_size(args.rated.count, kThreads / kLanesPerPair);
  const unsigned blocks = wanted < kReduceBlocks ? wanted : kReduceBlocks;
  launch(rated_pairs_kernel<Storage, residual>, blocks, kThreads, 0, on, args, target, imputation, sums, memory.values);
  if (blocks == 0) return 0;
  const BlockGradients<Storage>& out = args.gradients;
  const RatedRows<Storage> users{true,
                                 args.m,
                                 args.rated.offsets,
                                 nullptr,
                                 sums.to_user_weight,
                                 out.user_factors,
                                 out.user_bias,
                                 target.grad_user_weight};
  const RatedRows<Storage> of_items{false,
                                    args.n,
                                    items.offsets,
                                    items.order,
                                    sums.to_item_weight,
                                    out.item_factors,
                                    out.item_bias,
                                    target.grad_item_weight};
  for (const RatedRows<Storage>& side : {users, of_items})
    if (side.factors || side.bias || side.weight)
      launch(rated_rows_kernel<Storage>, grid_size(side.rows, kThreads / kLanesPerRow), kThreads, 0, on, args, side,
             sums);
  return blocks;
}

// The loss from the inner product of two Gram matrices and the sums of the rated pairs.
template <class Storage>
void write_loss(const BlockArgs<Storage>& args, const GramMemory& memory, int64_t d, unsigned blocks,
                const ConstantTargetArgs<Storage>& target, Storage* loss, cudaStream_t on) {
  // the inner product takes the place of the first sum of slopes, once these are read
  launch(gram_value_kernel<Storage>, 1u, kReduceThreads, 0, on, static_cast<const double*>(memory.user_gram),
         static_cast<const double*>(memory.item_gram), d, static_cast<const double*>(memory.values),
         static_cast<int64_t>(blocks), args.scale, memory.values + blocks, target.grad_value);
  launch(block_loss_kernel<Storage>, 1u, kReduceThreads, 0, on, static_cast<const double*>(memory.values),
         static_cast<int64_t>(blocks) + 1, args.rated, args.m, args.loss_scale, args.gradients,
         target.grad_rated_weights, target.grad_rated_values, loss);
}

}  // namespace

namespace cuda {

int64_t block_gram_workspace(int64_t m, int64_t n, int64_t pairs, int64_t d, int64_t imputation_d) {
  Arena arena(nullptr);
  GramMemory(arena, m, n, pairs, d, imputation_d);
  return arena.used();
}

template <class T>
void block_constant(const BlockArgs<T>& args, const ConstantTargetArgs<T>& target, const ItemOrder& items,
                    void* workspace, T* loss, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const FactorTables<T>& tables = args.student;
  const BlockGradients<T>& out = args.gradients;
  Arena arena(workspace);
  const GramMemory memory(arena, args.m, args.n, args.rated.count, tables.d, 0);
  const GramRows<T> of_users = user_rows(tables, args.m, target.user_weight);
  const GramRows<T> of_items = item_rows(tables, args.n, target.item_weight, target.value, target.value_number);
  gram_products(of_users, of_users, memory.shares, memory.user_gram, stream);
  gram_products(of_items, of_items, memory.shares, memory.item_gram, stream);
  gram_gradients(of_users, memory.item_gram,
                 {out.user_factors, out.user_bias, target.grad_user_weight, tables.d, of_users.bias_component(),
                  2 * args.scale, args.scale},
                 false, stream);
  gram_gradients(of_items, memory.user_gram,
                 {out.item_factors, out.item_bias, target.grad_item_weight, tables.d, of_items.bias_component(),
                  2 * args.scale, args.scale},
                 false, stream);
  const unsigned blocks = add_rated<T, false>(args, target, FactorTables<T>{}, items, memory, on);
  write_loss(args, memory, tables.d, blocks, target, loss, on);
}

template <class T>
void block_residual(const BlockArgs<T>& args, const FactorTables<T>& imputation, const ItemOrder& items,
                    void* workspace, T* loss, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const FactorTables<T>& tables = args.student;
  const BlockGradients<T>& out = args.gradients;
  T* const none = nullptr;
  const T* const unit = nullptr;
  Arena arena(workspace);
  const GramMemory memory(arena, args.m, args.n, args.rated.count, tables.d, imputation.d);
  const GramRows<T> of_users = user_rows(tables, args.m, unit), of_items = item_rows(tables, args.n, unit, unit, 0.0);
  const GramRows<T> g_users = user_rows(imputation, args.m, unit),
                    g_items = item_rows(imputation, args.n, unit, unit, 0.0);
  gram_products(g_users, g_users, memory.shares, memory.user_gram, stream);
  gram_products(g_items, g_items, memory.shares, memory.item_gram, stream);
  gram_products(g_users, of_users, memory.shares, memory.user_cross, stream);
  gram_products(g_items, of_items, memory.shares, memory.item_cross, stream);
  gram_gradients(g_users, memory.item_cross,
                 {out.user_factors, out.user_bias, none, tables.d, of_users.bias_component(), -2 * args.scale, 0.0},
                 false, stream);
  gram_gradients(g_items, memory.user_cross,
                 {out.item_factors, out.item_bias, none, tables.d, of_items.bias_component(), -2 * args.scale, 0.0},
                 false, stream);
  const unsigned blocks = add_rated<T, true>(args, ConstantTargetArgs<T>{}, imputation, items, memory, on);
  write_loss(args, memory, imputation.d, blocks, ConstantTargetArgs<T>{}, loss, on);
}

#define DEBIAS_INSTANTIATE(T)                                                                                          \
  template void block_constant(const BlockArgs<T>&, const ConstantTargetArgs<T>&, const ItemOrder&, void*, T*, void*); \
  template void block_residual(const BlockArgs<T>&, const FactorTables<T>&, const ItemOrder&, void*, T*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
