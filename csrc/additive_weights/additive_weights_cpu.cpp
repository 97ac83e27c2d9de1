#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "additive_weights/additive_weights_kernels.h"
#include "common/index_check.h"
#include "common/math.h"
#include "common/parallel.h"
#include "common/segment.h"
#include "common/simd.h"

namespace debias {
namespace {

constexpr int64_t kBlock = 4096;         // samples of one task
constexpr int64_t kSerialBelow = 16384;  // samples that a second thread does not pay for
constexpr int64_t kLanes = 8;            // copies of a tiny table: no addition waits for the one before it
constexpr int64_t kTinyTable = 64;
constexpr int64_t kMostChunks = 16;

// exp(a) exp(b) exp(c) is as good as exp(a + b + c) while no partial product can leave the normal numbers.
template <class T>
constexpr T kLargestFactor = sizeof(T) == 4 ? T(40) : T(350);

template <class T>
struct Exponentials {  // *outside = 1 where a logarithm is NaN or too large for a factor of its own
  static DEBIAS_HD void run(const T* values, int64_t begin, int64_t end, T inverse_temperature, T* out, int* outside) {
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t row = begin; row < end; ++row) {
      const T logarithm = values[row] * inverse_temperature;
      out[row] = exp(logarithm);
      any |= !(absolute(logarithm) <= kLargestFactor<T>);
    }
    *outside = any;
  }
};

// factors: exp(value / temperature) of each table; or null, and `values` hold the logarithms times the temperature.
template <bool with_labels, bool factors, class T, class Index>
struct WeightBlock {
  static DEBIAS_HD void run(const AdditiveWeightsArgs<T, Index>* args, int64_t begin, int64_t end) {
    const T* __restrict a = args->tables[kUserSide].values;
    const T* __restrict b = args->tables[kItemSide].values;
    const T* __restrict c = args->tables[kLabelSide].values;
    const Index* __restrict users = args->tables[kUserSide].indices;
    const Index* __restrict items = args->tables[kItemSide].indices;
    const Index* __restrict labels = args->tables[kLabelSide].indices;
    T* __restrict weights = args->weights;
    const T inverse_temperature = static_cast<T>(args->inverse_temperature);
#pragma omp simd
    for (int64_t k = begin; k < end; ++k) {
      if constexpr (factors) {
        const T pair = a[users[k]] * b[items[k]];
        weights[k] = with_labels ? pair * c[labels[k]] : pair;
      } else {
        const T pair = a[users[k]] + b[items[k]];
        weights[k] = exp((with_labels ? pair + c[labels[k]] : pair) * inverse_temperature);
      }
    }
  }
};

template <class Index>
bool any_out_of_range(const Index* indices, int64_t rows, int64_t begin, int64_t end) {
  int outside = 0;
  const auto limit = static_cast<Index>(std::min<int64_t>(rows, std::numeric_limits<Index>::max()));
  simd_run<OutOfRange<Index>>(indices, begin, end, limit, &outside);
  return outside;
}

// The first side that a task found an index out of range in; tasks may ask at the same time.
class BadSide {
 public:
  void found(int side) {
    int seen = side_.load();
    while (side < seen && !side_.compare_exchange_weak(seen, side)) {
    }
  }
  int get() const { return side_ == kAdditiveSides ? -1 : side_.load(); }

 private:
  std::atomic<int> side_{kAdditiveSides};
};

// Each block is checked, then computed while its indices are in the cache.
template <bool with_labels, bool factors, class T, class Index>
int run(const AdditiveWeightsArgs<T, Index>& args) {
  BadSide bad;
  parallel_blocks(args.batch, kBlock, kSerialBelow, [&](int64_t, int64_t begin, int64_t end) {
    for (int side = 0; side < kAdditiveSides; ++side) {
      const AdditiveTable<T, Index>& table = args.tables[side];
      if (table.indices && any_out_of_range(table.indices, table.rows, begin, end)) return bad.found(side);
    }
    simd_run<WeightBlock<with_labels, factors, T, Index>>(&args, begin, end);
  });
  return bad.get();
}

template <bool factors, class T, class Index>
int run(const AdditiveWeightsArgs<T, Index>& args) {
  return args.tables[kLabelSide].indices ? run<true, factors>(args) : run<false, factors>(args);
}

template <class T, class Index>
int64_t all_rows(const AdditiveWeightsArgs<T, Index>& args) {
  int64_t rows = 0;
  for (const auto& table : args.tables) rows += table.indices ? table.rows : 0;
  return rows;
}

// One task's share of the gradient: samples [begin, end), added to one table of doubles a side.
template <class T, class Index>
struct ScatterBlock {
  static DEBIAS_HD void run(const AdditiveGradientArgs<T, Index>* args, int64_t begin, int64_t end,
                            double* const* sums) {
    const T* __restrict grad = args->grad;
    const T* __restrict weights = args->weights;
    alignas(64) double products[kBlock];
#pragma omp simd
    for (int64_t k = begin; k < end; ++k)
      products[k - begin] = static_cast<double>(grad[k]) * static_cast<double>(weights[k]);
    for (int side = 0; side < kAdditiveSides; ++side) {
      if (!sums[side]) continue;
      const Index* indices = args->indices[side] + begin;
      double* out = sums[side];
      const int64_t n = end - begin, lanes = args->rows[side] <= kTinyTable ? kLanes : 1, rows = args->rows[side];
      if (lanes == 1) {
        for (int64_t k = 0; k < n; ++k) out[indices[k]] += products[k];
      } else {
        for (int64_t k = 0; k < n; ++k) out[(k % kLanes) * rows + indices[k]] += products[k];
      }
    }
  }
};

int64_t lanes_of(int64_t rows) { return rows <= kTinyTable ? kLanes : 1; }

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
    count = std::clamp<int64_t>(args.batch / std::max<int64_t>(2 * size, kBlock), 1, kMostChunks);
    tables.resize(static_cast<size_t>(count * size));
  }

  void scatter(int64_t chunk, const std::array<bool, kAdditiveSides>& sides) {
    double* sums[kAdditiveSides];
    for (size_t side = 0; side < kAdditiveSides; ++side)
      sums[side] = sides[side] ? tables.data() + chunk * size + begin[side] : nullptr;
    const int64_t blocks = block_count(args.batch, kBlock);
    for (int64_t b = blocks * chunk / count; b < blocks * (chunk + 1) / count; ++b) {
      const int64_t first = b * kBlock, last = std::min(first + kBlock, args.batch);
      for (int side = 0; side < kAdditiveSides; ++side)
        if (sums[side] && any_out_of_range(args.indices[side], args.rows[side], first, last)) return bad.found(side);
      simd_run<ScatterBlock<T, Index>>(&args, first, last, static_cast<double* const*>(sums));
    }
  }

  int run() {
    const int64_t serial_below = args.batch <= kSerialBelow ? std::numeric_limits<int64_t>::max() : 0;
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
    parallel_blocks(rows, kBlock, kSerialBelow, [&](int64_t, int64_t first, int64_t last) {
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
int additive_weights(const AdditiveWeightsArgs<T, Index>& args) {
  const int64_t rows = all_rows(args);
  if (rows > args.batch) return run<false>(args);
  std::vector<T> factors(static_cast<size_t>(rows));
  AdditiveWeightsArgs<T, Index> with_factors = args;
  std::atomic<int> outside{0};
  T* out = factors.data();
  for (auto& table : with_factors.tables) {
    if (!table.indices) continue;
    const T* values = table.values;
    const T inverse_temperature = static_cast<T>(args.inverse_temperature);
    parallel_blocks(table.rows, kBlock, kSerialBelow, [&](int64_t, int64_t begin, int64_t end) {
      int any = 0;
      simd_run<Exponentials<T>>(values, begin, end, inverse_temperature, out, &any);
      if (any) outside = 1;
    });
    table.values = out;
    out += table.rows;
  }
  return outside ? run<false>(args) : run<true>(with_factors);
}

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

#define DEBIAS_INSTANTIATE(T, Index)                                   \
  template int additive_weights(const AdditiveWeightsArgs<T, Index>&); \
  template int additive_gradient(const AdditiveGradientArgs<T, Index>&);
DEBIAS_INSTANTIATE(float, int32_t)
DEBIAS_INSTANTIATE(float, int64_t)
DEBIAS_INSTANTIATE(double, int32_t)
DEBIAS_INSTANTIATE(double, int64_t)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
