// What the CPU kernel makes of its arguments before the inner loops: scaled, reordered, in tiles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <new>
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

// Starts where a cache line does, so that no vector of a tile straddles two.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};

  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, line); }
  template <class U>
  bool operator==(const LineAllocator<U>&) const {
    return true;
  }
  template <class U>
  bool operator!=(const LineAllocator<U>&) const {
    return false;
  }
};

template <class T>
using Lines = std::vector<T, LineAllocator<T>>;

// The context, [tile][unit][kTile]; past the end it is zero.
template <class T>
struct Prepared {
  explicit Prepared(const FrontdoorArgs<T>& args)
      : tiles(block_count(args.n_context, kTile)),
        hidden(args.hidden),
        weight(args.weight),
        context(static_cast<size_t>(tiles * hidden * kTile)) {
    parallel_blocks(tiles, 1, 64, [&](int64_t which, int64_t, int64_t) {
      const int64_t h = args.hidden, begin = which * kTile, n = std::min(kTile, args.n_context - begin);
      T* out = context.data() + which * h * kTile;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t u = 0; u < h; ++u) out[u * kTile + j] = args.context[(begin + j) * h + u];
    });
  }

  const T* tile(int64_t which) const { return context.data() + which * hidden * kTile; }

  int64_t tiles, hidden;
  const T* weight;
  Lines<T> context;
};

// Rows [begin, end) of the mediators, negated, and the logit that each starts from; padded to whole groups with rows of
// zeros.
template <class T>
struct RowBlock {
  RowBlock(const FrontdoorArgs<T>& args, int64_t begin, int64_t end, const T* coefficients)
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
      T sum = args.bias[0];
      for (int64_t u = 0; u < h; ++u) {
        out[u] = -c[u];
        sum += args.weight[u] * c[u];
      }
      start[static_cast<size_t>(row - begin)] = sum;
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
