// Losses that need every score: one thread block takes kTile rows of one side and walks over the rows of the other
// side, kTile at a time. Each side has a pass of its own, which makes the scores again, so that no sum leaves its block
// but once; the user side's also makes the loss.
#include "block/block_device.cuh"
#include "block/block_math.h"

namespace debias {
namespace {

constexpr int kTile = 16;
constexpr int kTables = 3;
constexpr int64_t kWantedBlocks = 512;  // of a pass: rows are few, so the walk is shared out; depends on sizes alone

template <class Storage>
struct TileTables {
  FactorTables<Storage> tables[kTables];
};

// One pass: rows of the own side, walk over the other side in `shares` parts.
template <class Storage>
struct TilePass {
  bool user;
  int64_t own_rows, other_rows, width;
  int64_t share;                 // rows of the other side in one part, a multiple of kTile
  accumulator_t<Storage>* sums;  // [shares, own_rows, width]
  double* values;                // one per block, or null: the loss is another pass's
};

int64_t shares_of(int64_t own_rows, int64_t other_rows) {
  const int64_t tiles = (own_rows + kTile - 1) / kTile, other_tiles = (other_rows + kTile - 1) / kTile;
  const int64_t wanted = tiles == 0 ? 1 : (kWantedBlocks + tiles - 1) / tiles;
  const int64_t shares = wanted < other_tiles ? wanted : other_tiles;
  return shares < 1 ? 1 : shares;
}

int64_t share_rows(int64_t other_rows, int64_t shares) {
  const int64_t tiles = (other_rows + kTile - 1) / kTile;
  return (tiles + shares - 1) / shares * kTile;
}

// Value and slope of one pair: its missing term, unless the target takes it from rated pairs, and its rated ones.
template <class Storage, class Target>
__device__ __forceinline__ PairTerm<accumulator_t<Storage>> pair_term(const BlockArgs<Storage>& args,
                                                                      const Target& target, int64_t u, int64_t i,
                                                                      const accumulator_t<Storage>* s, bool write) {
  using T = accumulator_t<Storage>;
  const RatedPairs<Storage>& rated = args.rated;
  const int64_t begin = rated.offsets[u], end = rated.offsets[u + 1];
  int64_t k = begin + lower_bound(rated.columns + begin, end - begin, i);
  PairTerm<T> sum{0, 0};
  if (!Target::kReplaces || k == end || rated.columns[k] != i) sum = target.missing(s[0], s[1], s[2]);
  for (; k < end && rated.columns[k] == i; ++k) {
    const int64_t position = rated.positions[k];
    const RatedTerm<T> term =
        target.rated(s[0], s[1], s[2], to_float(rated.targets[position]), read_or(rated.weights, position, T(1)));
    sum.value += term.value;
    sum.slope += term.slope;
    if (!write) continue;
    write_scaled(args.gradients.targets, position, args.scale, term.to_target);
    write_scaled(args.gradients.weights, position, args.scale, term.to_weight);
  }
  return sum;
}

// The block's own rows against one tile of the other side: scores of each table in s[], through shared memory.
template <class Storage, int tables>
__device__ __forceinline__ void tile_scores(const TileTables<Storage>& all, const TilePass<Storage>& pass, int64_t own,
                                            int64_t other, int a, int b, accumulator_t<Storage>* s) {
  using T = accumulator_t<Storage>;
  DEBIAS_SHARED_ARRAY(T, own_part, kTile * (kTile + 1));
  DEBIAS_SHARED_ARRAY(T, other_part, kTile * (kTile + 1));
  for (int t = 0; t < tables; ++t) {
    const FactorTables<Storage>& table = all.tables[t];
    T sum = 0;
    for (int64_t f = 0; f < table.d + 2; f += kTile) {
      // here thread (a, b) loads component f + b of row a of each side
      const bool inside = f + b < table.d + 2;
      __syncthreads();
      own_part[a * (kTile + 1) + b] =
          inside && own + a < pass.own_rows ? component(table, pass.user, own + a, f + b) : T(0);
      other_part[a * (kTile + 1) + b] =
          inside && other + a < pass.other_rows ? component(table, !pass.user, other + a, f + b) : T(0);
      __syncthreads();
      for (int g = 0; g < kTile; ++g) sum += own_part[a * (kTile + 1) + g] * other_part[b * (kTile + 1) + g];
    }
    s[t] = sum;
  }
}

template <class Storage, class Target>
__global__ void __launch_bounds__(kTile* kTile, 1)
    tile_kernel(BlockArgs<Storage> args, TileTables<Storage> all, Target target, TilePass<Storage> pass) {
  using T = accumulator_t<Storage>;
  DEBIAS_SHARED_ARRAY(T, slopes, kTile * (kTile + 1));
  DEBIAS_DYNAMIC_SHARED(T, sums);  // [kTile, width]
  const int a = threadIdx.x / kTile, b = threadIdx.x % kTile;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * pass.share;
  const int64_t last = first + pass.share < pass.other_rows ? first + pass.share : pass.other_rows;
  const int64_t width = pass.width;
  double value = 0;
  for (int64_t own = static_cast<int64_t>(blockIdx.x) * kTile; own < pass.own_rows;
       own += static_cast<int64_t>(gridDim.x) * kTile) {
    // thread (a, b) alone reads and writes the components b, b + kTile, ... of row a
    for (int64_t f = b; f < width; f += kTile) sums[a * width + f] = 0;
    for (int64_t other = first; other < last; other += kTile) {
      T s[kTables] = {0, 0, 0};
      tile_scores<Storage, 1 + Target::kTables>(all, pass, own, other, a, b, s);
      PairTerm<T> term{0, 0};
      if (own + a < pass.own_rows && other + b < last)
        term = pass.user ? pair_term(args, target, own + a, other + b, s, true)
                         : pair_term(args, target, other + b, own + a, s, false);
      value += static_cast<double>(term.value);
      slopes[a * (kTile + 1) + b] = term.slope;
      __syncthreads();
      if (pass.sums)
        for (int64_t f = b; f < width; f += kTile) {
          T sum = sums[a * width + f];
          for (int g = 0; g < kTile && other + g < last; ++g)
            sum += slopes[a * (kTile + 1) + g] * component(all.tables[0], !pass.user, other + g, f);
          sums[a * width + f] = sum;
        }
    }
    if (pass.sums && own + a < pass.own_rows)
      for (int64_t f = b; f < width; f += kTile)
        pass.sums[(static_cast<int64_t>(blockIdx.y) * pass.own_rows + own + a) * width + f] = sums[a * width + f];
  }
  if (!pass.values) return;
  value = block_sum(value);
  if (threadIdx.x == 0) pass.values[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = value;
}

// The parts' sums in order, to the rows of one side.
template <class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1)
    tile_rows_kernel(TilePass<Storage> pass, int64_t shares, int64_t d, double scale, Storage* factors, Storage* bias) {
  using T = accumulator_t<Storage>;
  const int64_t size = pass.own_rows * pass.width;
  for (int64_t k = first_thread(); k < size; k += thread_stride()) {
    const int64_t row = k / pass.width, f = k % pass.width;
    if (f >= d && f != (pass.user ? d : d + 1)) continue;  // the product with the side's own constant
    T sum = 0;
    for (int64_t share = 0; share < shares; ++share) sum += pass.sums[share * size + k];
    if (f < d)
      write_scaled(factors, row * d + f, scale, sum);
    else
      write_scaled(bias, row, scale, sum);
  }
}

struct TileMemory {
  TileMemory(Arena& arena, int64_t m, int64_t n, int64_t d) {
    const int64_t user_sums = shares_of(m, n) * m, item_sums = shares_of(n, m) * n;
    sums = arena.take<double>((user_sums > item_sums ? user_sums : item_sums) * (d + 2));
    value_count = static_cast<int64_t>(grid_size(m, kTile)) * shares_of(m, n);
    values = arena.take<double>(value_count);
  }
  double* sums;  // in the accumulator's type
  double* values;
  int64_t value_count;
};

template <class Storage, class Target>
void run_pass(const BlockArgs<Storage>& args, const TileTables<Storage>& tables, const Target& target, bool user,
              const TileMemory& memory, cudaStream_t on) {
  using T = accumulator_t<Storage>;
  const BlockGradients<Storage>& out = args.gradients;
  Storage* const factors = user ? out.user_factors : out.item_factors;
  Storage* const bias = user ? out.user_bias : out.item_bias;
  const bool wanted = factors || bias;
  if (!wanted && !user) return;
  const int64_t own = user ? args.m : args.n, other = user ? args.n : args.m, d = args.student.d;
  const int64_t shares = shares_of(own, other);
  const TilePass<Storage> pass{user,
                               own,
                               other,
                               d + 2,
                               share_rows(other, shares),
                               wanted ? reinterpret_cast<T*>(memory.sums) : nullptr,
                               user ? memory.values : nullptr};
  launch(tile_kernel<Storage, Target>, dim3(grid_size(own, kTile), static_cast<unsigned>(shares), 1), kTile * kTile,
         static_cast<size_t>(kTile * (d + 2)) * sizeof(T), on, args, tables, target, pass);
  if (wanted)
    launch(tile_rows_kernel<Storage>, grid_size(own * (d + 2), kReduceThreads), kReduceThreads, 0, on, pass, shares, d,
           args.scale, factors, bias);
}

template <class Storage, class Target>
void run_tiles(const BlockArgs<Storage>& args, const TileArgs<Storage>& other, const Target& target, void* workspace,
               Storage* loss, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const TileTables<Storage> tables{{args.student, other.others[0], other.others[1]}};
  Arena arena(workspace);
  const TileMemory memory(arena, args.m, args.n, args.student.d);
  run_pass(args, tables, target, true, memory, on);
  run_pass(args, tables, target, false, memory, on);
  Storage* const none = nullptr;
  launch(block_loss_kernel<Storage>, 1u, kReduceThreads, 0, on, static_cast<const double*>(memory.values),
         memory.value_count, args.rated, args.m, args.loss_scale, args.gradients, none, none, loss);
}

template <InterDTargetKind kind, bool from_zero, class Storage>
void interd(const BlockArgs<Storage>& args, const TileArgs<Storage>& target, void* workspace, Storage* loss,
            void* stream) {
  using T = accumulator_t<Storage>;
  run_tiles(args, target,
            InterDImputation<T, kind, from_zero>{static_cast<T>(target.gamma), static_cast<T>(target.beta),
                                                 static_cast<T>(target.epsilon)},
            workspace, loss, stream);
}

}  // namespace

namespace cuda {

int64_t block_tiles_workspace(int64_t m, int64_t n, int64_t d) {
  Arena arena(nullptr);
  TileMemory(arena, m, n, d);
  return arena.used();
}

template <class Storage>
void block_tiles(const BlockArgs<Storage>& args, const TileArgs<Storage>& target, void* workspace, Storage* loss,
                 void* stream) {
  using Kind = InterDTargetKind;
  switch (target.kind) {
    case TileKind::label:
      return run_tiles(args, target, LabelImputation<accumulator_t<Storage>>{}, workspace, loss, stream);
    case TileKind::interd_soft: return interd<Kind::soft, false>(args, target, workspace, loss, stream);
    case TileKind::interd_hard: return interd<Kind::hard, false>(args, target, workspace, loss, stream);
    case TileKind::interd_zero: return interd<Kind::soft, true>(args, target, workspace, loss, stream);
    case TileKind::interd_attached: return interd<Kind::attached, false>(args, target, workspace, loss, stream);
  }
}

#define DEBIAS_INSTANTIATE(T) template void block_tiles(const BlockArgs<T>&, const TileArgs<T>&, void*, T*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
