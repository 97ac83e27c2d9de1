#include <atomic>
#include <limits>
#include <vector>

#include "additive_weights/additive_blocks.h"
#include "common/math.h"

namespace debias {
namespace {

// exp(a) exp(b) exp(c) is as good as exp(a + b + c) while no partial product can leave the normal numbers.
template <class T>
constexpr T kLargestFactor = sizeof(T) == 4 ? T(40) : T(350);

template <class T>
struct Exponentials {  // *outside = 1 where a logarithm is finite, but too large for a factor of its own
  static DEBIAS_HD void run(const T* values, int64_t begin, int64_t end, T inverse_temperature, T* out, int* outside) {
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int64_t row = begin; row < end; ++row) {
      const T logarithm = values[row] * inverse_temperature;
      out[row] = exp(logarithm);
      const T size = absolute(logarithm);
      const int large = size > kLargestFactor<T>, finite = size <= std::numeric_limits<T>::max();
      any |= large & finite;
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

// Each block is checked, then computed while its indices are in the cache.
template <bool with_labels, bool factors, class T, class Index>
int run(const AdditiveWeightsArgs<T, Index>& args) {
  BadSide bad;
  parallel_blocks(args.batch, kAdditiveBlock, kAdditiveSerialBelow, [&](int64_t, int64_t begin, int64_t end) {
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
    parallel_blocks(table.rows, kAdditiveBlock, kAdditiveSerialBelow, [&](int64_t, int64_t begin, int64_t end) {
      int any = 0;
      simd_run<Exponentials<T>>(values, begin, end, inverse_temperature, out, &any);
      if (any) outside = 1;
    });
    table.values = out;
    out += table.rows;
  }
  return outside ? run<false>(args) : run<true>(with_factors);
}

#define DEBIAS_INSTANTIATE(T, Index) template int additive_weights(const AdditiveWeightsArgs<T, Index>&);
DEBIAS_INSTANTIATE(float, int32_t)
DEBIAS_INSTANTIATE(float, int64_t)
DEBIAS_INSTANTIATE(double, int32_t)
DEBIAS_INSTANTIATE(double, int64_t)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
