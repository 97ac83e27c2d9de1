// What the CPU kernel makes of its arguments before the inner loops: scaled, reordered, in tiles.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "common/parallel.h"
#include "frontdoor/frontdoor_kernels.h"
#include "frontdoor/frontdoor_tiles.h"

namespace debias {
namespace frontdoor {

// How many context rows the mean of a sample runs over.
class Counts {
 public:
  template <class T>
  explicit Counts(const FrontdoorArgs<T>& args)
      : all_(args.n_context - (args.exclude_self && !args.context_index ? 1 : 0)) {
    if (!args.exclude_self || !args.context_index) return;
    of_sample_.assign(static_cast<size_t>(args.n_samples), all_);
    for (int64_t j = 0; j < args.n_context; ++j) --of_sample_[static_cast<size_t>(args.context_index[j])];
  }

  int64_t of(int64_t sample) const { return of_sample_.empty() ? all_ : of_sample_[static_cast<size_t>(sample)]; }

 private:
  int64_t all_;
  std::vector<int64_t> of_sample_;
};

// The context, [tile][unit][kTile], scaled by |v|, and the order of the units. Past the end it is zero.
template <class T>
struct Prepared {
  explicit Prepared(const FrontdoorArgs<T>& args) : tiles(block_count(args.n_context, kTile)), args_(args) {
    order_units();
    context.resize(static_cast<size_t>(tiles * args.hidden * kTile));
    parallel_blocks(tiles, 1, 64, [&](int64_t tile, int64_t, int64_t) { fill(tile); });
  }

  const T* tile(int64_t which) const { return context.data() + which * units.hidden * kTile; }

  int64_t tiles;
  std::vector<int64_t> column;  // unit -> column of the arguments
  std::vector<T> weight, scale;
  Units<T> units;
  std::vector<T> context;

 private:
  void order_units() {
    constexpr T smallest = T(1e-18);  // below, products with |v| could lose digits
    const auto place = [&](auto&& belongs) {
      for (int64_t c = 0; c < args_.hidden; ++c)
        if (belongs(args_.weight[c])) column.push_back(c);
      return static_cast<int64_t>(column.size());
    };
    const auto finite = [](T v) { return v - v == T(0); };
    const int64_t positive = place([&](T v) { return finite(v) && v >= smallest; });
    const int64_t negative = place([&](T v) { return finite(v) && v <= -smallest; });
    place([&](T v) { return !(finite(v) && (v >= smallest || v <= -smallest)); });
    for (int64_t u = 0; u < args_.hidden; ++u) {
      weight.push_back(args_.weight[column[static_cast<size_t>(u)]]);
      scale.push_back(u < negative ? std::abs(weight.back()) : T(1));
    }
    units = {weight.data(), positive, negative, args_.hidden};
  }

  void fill(int64_t which) {
    const int64_t h = args_.hidden, begin = which * kTile, n = std::min(kTile, args_.n_context - begin);
    T* out = context.data() + which * h * kTile;
    for (int64_t u = 0; u < h; ++u) {
      const T factor = scale[static_cast<size_t>(u)];
      const T* from = args_.context + begin * h + column[static_cast<size_t>(u)];
      for (int64_t j = 0; j < n; ++j) out[u * kTile + j] = factor * from[j * h];
    }
  }

  const FrontdoorArgs<T>& args_;
};

// Rows [begin, end) of the mediators, negated and scaled, and the logit that each starts from; padded to whole groups
// with rows of zeros.
template <class T>
struct RowBlock {
  RowBlock(const FrontdoorArgs<T>& args, const Prepared<T>& in, int64_t begin, int64_t end, const T* coefficients)
      : count(end - begin),
        padded(block_count(count, kTileRows) * kTileRows),
        negated(static_cast<size_t>(padded * args.hidden)),
        start(static_cast<size_t>(padded)),
        coefficient(static_cast<size_t>(padded)),
        args_(args),
        begin_(begin),
        end_(end) {
    const int64_t h = args.hidden;
    for (int64_t row = begin; row < end; ++row) {
      const T* c = args.mediators + row * h;
      T* out = negated.data() + (row - begin) * h;
      double sum = static_cast<double>(args.bias[0]);
      for (int64_t u = 0; u < h; ++u) {
        const T scaled = in.scale[static_cast<size_t>(u)] * c[in.column[static_cast<size_t>(u)]];
        const double term = static_cast<double>(scaled);
        out[u] = -scaled;
        sum += u < in.units.positive ? term : u < in.units.negative ? -term : in.units.weight[u] * term;
      }
      start[static_cast<size_t>(row - begin)] = static_cast<T>(sum);
      if (coefficients) coefficient[static_cast<size_t>(row - begin)] = coefficients[row];
    }
  }

  // Writes to samples[j] the sample, counted from the block's first, that row j of the tile must be left out of, or
  // that there is none. False where there is nothing to leave out.
  bool mark_samples(int64_t tile) {
    const int64_t first = begin_ / args_.n_teachers, last = (end_ - 1) / args_.n_teachers, from = tile * kTile;
    if (!args_.exclude_self && from + kTile <= args_.n_context) return false;
    bool any = false;
    for (int64_t j = 0; j < kTile; ++j) {
      const int64_t at = from + j;
      samples[j] = at < args_.n_context ? kNoSample : kPastTheEnd;
      if (args_.exclude_self && at < args_.n_context) {
        const int64_t sample = args_.context_index ? args_.context_index[at] : at;
        if (sample >= first && sample <= last) samples[j] = static_cast<int32_t>(sample - first);
      }
      any |= samples[j] != kNoSample;
    }
    return any;
  }

  int32_t sample_of(int64_t row) const {
    return static_cast<int32_t>((begin_ + row) / args_.n_teachers - begin_ / args_.n_teachers);
  }

  int64_t count, padded;
  std::vector<T> negated, start, coefficient;
  int32_t samples[kTile];

 private:
  const FrontdoorArgs<T>& args_;
  int64_t begin_, end_;
};

}  // namespace frontdoor
}  // namespace debias
