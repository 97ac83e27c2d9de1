#include <algorithm>
#include <vector>

#include "attention/attention_backward.h"
#include "attention/attention_forward.h"
#include "common/parallel.h"
#include "common/simd.h"
#include "common/vectors.h"

namespace debias {
namespace {

using namespace attention;

constexpr int64_t kLeastSamples = 8, kMostBlocks = 128;
constexpr int64_t kSerialBelow = kLeastSamples;  // one block

// R rows by C vectors in registers.
template <class T, int Bytes, int R, int C>
DEBIAS_HD void product_tile(const Product<T>& p, int64_t row, int64_t column) {
  using V = typename Vector<T, Bytes>::type;
  constexpr int64_t lanes = Vector<T, Bytes>::lanes;
  V sum[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      sum[r][c] = V{};
      if (p.start) load(sum[r][c], p.start + (row + r) * p.start_step + column + c * lanes);
    }
  const T *a = p.a + row * p.row_step, *b = p.b + column;
  const int64_t row_step = p.row_step, depth_step = p.depth_step, b_step = p.b_step;
  for (int64_t k = 0; k < p.depth; ++k, a += depth_step, b += b_step) {
    V vectors[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) load(vectors[c], b + c * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum[r][c] += a[r * row_step] * vectors[c];
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) store(p.out + (row + r) * p.out_step + column + c * lanes, sum[r][c]);
}

template <class T, int Bytes, int R, int C>
DEBIAS_HD void product_columns(const Product<T>& p, int64_t row, int64_t column) {
  constexpr int64_t width = C * Vector<T, Bytes>::lanes;
  for (; column + width <= p.columns; column += width) product_tile<T, Bytes, R, C>(p, row, column);
  if constexpr (C > 1) product_columns<T, Bytes, R, C / 2>(p, row, column);
}

template <class T, int Bytes, int R>
DEBIAS_HD void product_rows(const Product<T>& p, int64_t row) {
  for (; row + R <= p.rows; row += R) product_columns<T, Bytes, R, (R < 4 ? 4 : 2)>(p, row, 0);
  if constexpr (R > 1) product_rows<T, Bytes, R / 2>(p, row);
}

template <class T, int Bytes>
struct ProductKernel {
  static DEBIAS_HD void run(const Product<T>* p) { product_rows<T, Bytes, (Bytes == 64 ? 8 : 4)>(*p, 0); }
};

template <class F>
struct GridKernel {
  static DEBIAS_HD void run(const F* function, int64_t rows, int64_t columns) {
    const F f = *function;
    for (int64_t r = 0; r < rows; ++r) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) f(r, c);
    }
  }
};

struct CpuTeam {
  static constexpr int64_t rows = 64;  // of a tile: 16 KB of 64 floats each

  template <class F>
  void each(int64_t n, const F& f) const {
    for (int64_t k = 0; k < n; ++k) f(k);
  }
  template <class F>
  void grid(int64_t rows, int64_t columns, const F& f) const {
    simd_run<GridKernel<F>>(&f, rows, columns);
  }
  template <class T>
  void product(const Product<T>& p) const {
    simd_run_vectors<ProductKernel, T>(&p);
  }
  template <class T>
  void weighted_rows(const T* weights, const T* rows, int64_t n, int64_t width, T*, T* out) const {
    std::fill_n(out, width, T(0));
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < width; ++c) out[c] += weights[r] * rows[r * width + c];
  }
};

// Zeros on a cache line.
template <class T>
Arena arena_of(std::vector<T>& memory, int64_t bytes) {
  constexpr size_t line = 64;
  memory.resize((static_cast<size_t>(bytes) + line) / sizeof(T) + 1);
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return Arena(reinterpret_cast<void*>((address + line - 1) / line * line));
}

template <class T>
struct Plan {
  explicit Plan(const AttentionArgs<T>& args, bool given) {
    Arena counted(nullptr);
    make_network(args, counted, kLeastSamples, kMostBlocks);
    Arena arena = arena_of(memory, counted.used());
    net = make_network(args, arena, kLeastSamples, kMostBlocks);
    prepare_network(CpuTeam{}, net, given);
  }

  // f(block, tile) for every block of samples
  template <class F>
  void blocks(const F& f) const {
    Arena counted(nullptr);
    make_tile(net, counted, CpuTeam::rows);
    parallel_blocks(net.args.batch, net.block_size, kSerialBelow, [&](int64_t block, int64_t, int64_t) {
      std::vector<T> own;
      Arena arena = arena_of(own, counted.used());
      f(block, make_tile(net, arena, CpuTeam::rows));
    });
  }

  Network<T> net;
  std::vector<T> memory;
};

template <class T>
std::vector<double> total_sums(const Network<T>& net) {
  std::vector<double> totals(static_cast<size_t>(net.block_sums));
  for (int64_t block = 0; block < net.blocks; ++block)
    for (int64_t k = 0; k < net.block_sums; ++k)
      totals[static_cast<size_t>(k)] += static_cast<double>(net.sums[block * net.block_sums + k]);
  return totals;
}

}  // namespace

namespace cpu {

template <class T>
void attention_pooling(const AttentionArgs<T>& args, T* out) {
  const Plan<T> plan(args, !args.batch_statistics);
  const CpuTeam team;
  const auto layers = [&](int first, int end) {
    plan.blocks([&](int64_t block, const Tile<T>& tile) {
      Forward<CpuTeam, T>{{team, plan.net, tile}}.run(block, first, end, out);
    });
  };
  if (!plan.net.batch_statistics()) return layers(0, args.layers);
  for (int l = 0; l < args.layers; ++l) {
    layers(l, l + 1);
    if (!plan.net.last(l)) finish_statistics(team, plan.net, l);
  }
}

template <class T>
void attention_pooling_backward(const AttentionArgs<T>& args, const AttentionGradients<T>& gradients) {
  const Plan<T> plan(args, true);
  const CpuTeam team;
  const auto layers = [&](int first, int last) {
    plan.blocks([&](int64_t block, const Tile<T>& tile) {
      Backward<CpuTeam, T>{{team, plan.net, tile}, gradients}.run(block, first, last);
    });
  };
  if (!plan.net.batch_statistics()) {
    layers(args.layers - 1, 0);
  } else {
    for (int l = args.layers - 1; l >= 0; --l) {
      layers(l, l);
      if (l > 0) finish_pull(team, plan.net, l - 1);
    }
  }
  if (!gradients.parameters) return;
  const std::vector<double> totals = total_sums(plan.net);
  for (int l = 0; l < args.layers; ++l) store_gradients(team, plan.net, totals.data(), l, gradients.parameters);
}

#define DEBIAS_INSTANTIATE(T)                                   \
  template void attention_pooling(const AttentionArgs<T>&, T*); \
  template void attention_pooling_backward(const AttentionArgs<T>&, const AttentionGradients<T>&);
DEBIAS_INSTANTIATE(float)
DEBIAS_INSTANTIATE(double)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
