#include <array>
#include <vector>

#include "additive_weights/additive_blocks.h"
#include "common/segment.h"

namespace debias {
namespace {

constexpr int64_t kLanes = 8;  // copies of a tiny table: no addition waits for the one before it
constexpr int64_t kTinyTable = 64;
constexpr int64_t kMostChunks = 16;

int64_t lanes_of(int64_t rows) { return rows <= kTinyTable ? kLanes : 1; }

// One task's share of the gradient: samples [begin, end), added to one table of doubles a side.
template <class T, class Index>
struct ScatterBlock {
  static DEBIAS_HD void run(const AdditiveGradientArgs<T, Index>* args, int64_t begin, int64_t end,
                            double* const* sums) {
    const T* __restrict grad = args->grad;
    const T* __restrict weights = args->weights;
    alignas(64) double products[kAdditiveBlock];
#pragma omp simd
    for (int64_t k = begin; k < end; ++k)
      products[k - begin] = static_cast<double>(grad[k]) * static_cast<double>(weights[k]);
    for (int side = 0; side < kAdditiveSides; ++side) {
      if (!sums[side]) continue;
      const Index* indices = args->indices[side] + begin;
      double* out = sums[side];
      const int64_t n = end - begin, rows = args->rows[side];
      if (lanes_of(rows) == 1) {
        for (int64_t k = 0; k < n; ++k) out[indices[k]] += products[k];
      } else {
        for (int64_t k = 0; k < n; ++k) out[(k % kLanes) * rows + indices[k]] += products[k];
      }
    }
  }
};

// A table much larger than the batch: only the rows that occur are visited again.
template <class T, class Index>
void gradient_by_segments(const AdditiveGradientArgs<T, Index>& args, int side) {
  const Segments segments = make_segments(args.indices[side], args.batch, args.rows[side]);
  std::fill_n(args.sums[side], args.rows[side], T(0));
  for (size_t j = 0; j < segments.rows.size(); ++j) {
    double sum = 0;
    for (int64_t p = segments.offsets[j]; p < segments.offsets[j + 1]; ++p) {
      const int64_t k = segments.order[static_cast<size_t>(p)];
      sum += static_cast<double>(args.grad[k]) * static_cast<double>(args.weights[k]);
    }
    args.sums[side][segments.rows[j]] = static_cast<T>(sum * args.inverse_temperature);
  }
}

// The samples in fixed chunks, each with tables of its own, which are then added in order.
template <class T, class Index>
struct Chunks {
  const AdditiveGradientArgs<T, Index>& args;
  std::array<int64_t, kAdditiveSides> begin{};  // where each side's table starts in a chunk's memory
  std::array<bool, kAdditiveSides> wanted{};
  int64_t size = 0, count = 1;
  std::vector<double> tables;
  BadSide bad;

  Chunks(const AdditiveGradientArgs<T, Index>& given, const std::array<bool, kAdditiveSides>& sides)
      : args(given), wanted(sides) {
    for (size_t side = 0; side < kAdditiveSides; ++side) {
      begin[side] = size;
      if (wanted[side]) size += args.rows[side] * lanes_of(args.rows[side]);
    }
    count = std::clamp<int64_t>(args.batch / std::max<int64_t>(2 * size, kAdditiveBlock), 1, kMostChunks);
    tables.resize(static_cast<size_t>(count * size));
  }

  void scatter(int64_t chunk, const std::array<bool, kAdditiveSides>& sides) {
    double* sums[kAdditiveSides];
    for (size_t side = 0; side < kAdditiveSides; ++side)
      sums[side] = sides[side] ? tables.data() + chunk * size + begin[side] : nullptr;
    const int64_t blocks = block_count(args.batch, kAdditiveBlock);
    for (int64_t b = blocks * chunk / count; b < blocks * (chunk + 1) / count; ++b) {
      const int64_t first = b * kAdditiveBlock, last = std::min(first + kAdditiveBlock, args.batch);
      for (int side = 0; side < kAdditiveSides; ++side)
        if (sums[side] && any_out_of_range(args.indices[side], args.rows[side], first, last)) return bad.found(side);
      simd_run<ScatterBlock<T, Index>>(&args, first, last, static_cast<double* const*>(sums));
    }
  }

  int run() {
    const int64_t serial_below = args.batch <= kAdditiveSerialBelow ? std::numeric_limits<int64_t>::max() : 0;
    if (count > 1) {
      parallel_blocks(count, 1, serial_below, [&](int64_t chunk, int64_t, int64_t) { scatter(chunk, wanted); });
    } else {  // large tables: a thread a side
      parallel_blocks(kAdditiveSides, 1, serial_below, [&](int64_t side, int64_t, int64_t) {
        std::array<bool, kAdditiveSides> one{};
        one[static_cast<size_t>(side)] = wanted[static_cast<size_t>(side)];
        if (wanted[static_cast<size_t>(side)]) scatter(0, one);
      });
    }
    if (bad.get() >= 0) return bad.get();
    for (size_t side = 0; side < kAdditiveSides; ++side)
      if (wanted[side]) finish(side);
    return -1;
  }

  void finish(size_t side) const {
    const int64_t rows = args.rows[side], copies = lanes_of(rows);
    parallel_blocks(rows, kAdditiveBlock, kAdditiveSerialBelow, [&](int64_t, int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < count; ++chunk)
          for (int64_t copy = 0; copy < copies; ++copy)
            sum += tables[static_cast<size_t>(chunk * size + begin[side] + copy * rows + row)];
        args.sums[side][row] = static_cast<T>(sum * args.inverse_temperature);
      }
    });
  }
};

}  // namespace

namespace cpu {

template <class T, class Index>
int additive_gradient(const AdditiveGradientArgs<T, Index>& args) {
  std::array<bool, kAdditiveSides> scattered{};
  bool any = false;
  for (int side = 0; side < kAdditiveSides; ++side) {
    if (!args.sums[side]) continue;
    const bool large = args.rows[side] > 4 * args.batch;
    if (large && any_out_of_range(args.indices[side], args.rows[side], 0, args.batch)) return side;
    if (large) gradient_by_segments(args, side);
    scattered[static_cast<size_t>(side)] = !large;
    any |= !large;
  }
  return any ? Chunks<T, Index>(args, scattered).run() : -1;
}

#define DEBIAS_INSTANTIATE(T, Index) template int additive_gradient(const AdditiveGradientArgs<T, Index>&);
DEBIAS_INSTANTIATE(float, int32_t)
DEBIAS_INSTANTIATE(float, int64_t)
DEBIAS_INSTANTIATE(double, int32_t)
DEBIAS_INSTANTIATE(double, int64_t)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
