#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "common/simd.h"
#include "frontdoor/frontdoor_kernels.h"
#include "frontdoor/frontdoor_prepare.h"
#include "frontdoor/frontdoor_tiles.h"

namespace debias {
namespace {

using namespace frontdoor;

constexpr int64_t kForwardRows = 64;           // rows of mediators of one task
constexpr int64_t kBackwardRows = 64;          // rows whose sums stay in the second-level cache
constexpr int64_t kBackwardTasks = 32;         // at most: each has a gradient of the context of its own
constexpr int64_t kPartialFloats = 4 << 20;    // of all these together; more context rows take another pass
constexpr int64_t kSerialBelowWork = 1 << 16;  // (row, context row, unit) that a second thread does not pay for
constexpr int64_t kLargestLanes = 16;

// Half a line at a time is at least as fast as a line where the units are half as wide.
constexpr int logit_bytes(int bytes) { return bytes < 32 ? bytes : 32; }

template <class T, int Bytes>
struct ForwardRows {
  static DEBIAS_HD void run(const Prepared<T>* in, RowBlock<T>* rows, double* sums) {
    alignas(64) T z[kTileRows * kTile];
    const int64_t h = in->hidden;
    for (int64_t tile = 0; tile < in->tiles; ++tile) {
      const bool masked = rows->mark_samples(tile);
      for (int64_t row = 0; row < rows->padded; row += kTileRows) {
        tile_logits<T, logit_bytes(Bytes)>(in->tile(tile), rows->negated.data() + row * h, rows->start.data() + row,
                                           in->weight, h, z);
        for (int64_t r = 0; r < kTileRows; ++r) {
          T sum = probabilities(z + r * kTile);
          if (masked) sum = leave_out(z + r * kTile, rows->samples, rows->sample_of(row + r));
          sums[row + r] += static_cast<double>(sum);
        }
      }
    }
  }
};

// Tiles [first, last): partial context gradients [tile][unit][kTile], row sums [row][unit][lanes], sums of the slopes.
template <class T, int Bytes>
struct BackwardRows {
  static DEBIAS_HD void run(const Prepared<T>* in, RowBlock<T>* rows, int64_t first, int64_t last, T* context_sums,
                            T* row_sums, double* slope_sum) {
    alignas(64) T z[kTileRows * kTile];
    constexpr int64_t lanes = Vector<T, Bytes>::lanes;
    const int64_t h = in->hidden;
    for (int64_t tile = first; tile < last; ++tile) {
      const bool masked = rows->mark_samples(tile);
      for (int64_t row = 0; row < rows->padded; row += kTileRows) {
        const T* negated = rows->negated.data() + row * h;
        tile_logits<T, logit_bytes(Bytes)>(in->tile(tile), negated, rows->start.data() + row, in->weight, h, z);
        for (int64_t r = 0; r < kTileRows; ++r) {
          if (row + r >= rows->count) {
            std::fill_n(z + r * kTile, kTile, T(0));
            continue;
          }
          T sum = slopes(z + r * kTile, rows->coefficient[static_cast<size_t>(row + r)]);
          if (masked) sum = leave_out(z + r * kTile, rows->samples, rows->sample_of(row + r));
          *slope_sum += static_cast<double>(sum);
        }
        tile_gates<T, Bytes>(in->tile(tile), negated, z, h, context_sums + (tile - first) * h * kTile,
                             row_sums + row * h * lanes);
      }
    }
    // One number per row and unit, over the lanes that have been read.
    for (int64_t k = 0; k < rows->padded * h; ++k) row_sums[k] = sum_of<lanes>(row_sums + k * lanes);
  }
};

template <class T>
void aggregate_rows(const FrontdoorArgs<T>& args, const T* means, T* out) {
  const int64_t teachers = args.n_teachers;
  parallel_blocks(args.n_samples, 1024, 4096, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T *alpha = args.attention + i * teachers, *mean = means + i * teachers;
      const Attention<T> attention = attention_of<T>(alpha, teachers, args.logits);
      out[i] = attended(attention, alpha, mean, teachers);
    }
  });
}

// The coefficients of the rows' slopes, d loss / d mean[i, k] / count_i, and the gradient of the attention.
template <class T>
std::vector<T> row_coefficients(const FrontdoorArgs<T>& args, const Counts& counts, const T* grad, const T* means,
                                T* grad_attention) {
  const int64_t teachers = args.n_teachers;
  std::vector<T> coefficients(static_cast<size_t>(args.rows()));
  parallel_blocks(args.n_samples, 1024, 4096, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T *alpha = args.attention + i * teachers, *mean = means + i * teachers;
      const Attention<T> attention = attention_of<T>(alpha, teachers, args.logits);
      const T total = attended(attention, alpha, mean, teachers);
      for (int64_t k = 0; k < teachers; ++k) {
        const int64_t row = i * teachers + k;
        coefficients[static_cast<size_t>(row)] =
            grad[i] * attention.weight(alpha[k]) / static_cast<T>(std::max<int64_t>(counts.of(i), 1));
        if (grad_attention) grad_attention[row] = grad[i] * attention_slope(attention, alpha[k], mean[k], total);
      }
    }
  });
  return coefficients;
}

template <class T>
int64_t serial_rows(const FrontdoorArgs<T>& args) {
  return kSerialBelowWork / std::max<int64_t>(args.n_context * args.hidden, 1);
}

// What the tasks of the backward pass leave: added up in their order.
template <class T>
struct Partials {
  Lines<T> context;                       // [task][tile of the pass][unit][kTile]
  std::vector<double> weight, bias;       // [task][unit], [task]
  std::vector<double> weight_of_context;  // [tile][unit]
};

// c . gate sums: the mediators' share of the weight gradient, and the mediators' gradient.
template <class T>
void finish_rows(const FrontdoorArgs<T>& args, int64_t begin, int64_t end, const T* row_sums, int add,
                 T* grad_mediators, double* weight) {
  const int64_t h = args.hidden;
  for (int64_t row = begin; row < end; ++row) {
    const T* c = args.mediators + row * h;
    for (int64_t u = 0; u < h; ++u) {
      const T sum = row_sums[(row - begin) * h + u];
      weight[u] += gated_product(static_cast<double>(c[u]), static_cast<double>(sum));
      if (!grad_mediators) continue;
      T& out = grad_mediators[row * h + u];
      out = gated_product(args.weight[u], sum) + (add ? out : T(0));
    }
  }
}

// One tile: adds the tasks' partial sums, writes the context's gradient, and its share of the weight gradient.
template <class T>
void finish_tile(const FrontdoorArgs<T>& args, Partials<T>& partials, int64_t tasks, int64_t stride, int64_t tile,
                 int64_t tile_of_pass, T* grad_context) {
  const int64_t h = args.hidden, begin = tile * kTile, n = std::min(kTile, args.n_context - begin);
  T* sums = partials.context.data() + tile_of_pass * h * kTile;
  for (int64_t task = 1; task < tasks; ++task) {
    const T* other = sums + task * stride;
    for (int64_t k = 0; k < h * kTile; ++k) sums[k] += other[k];
  }
  for (int64_t u = 0; u < h; ++u) {
    const T weight = args.weight[u];
    double total = 0;
    for (int64_t j = 0; j < n; ++j) {
      const int64_t at = (begin + j) * h + u;
      const T sum = sums[u * kTile + j];
      total += gated_product(static_cast<double>(args.context[at]), static_cast<double>(sum));
      if (grad_context) grad_context[at] = gated_product(weight, sum);
    }
    partials.weight_of_context[static_cast<size_t>(tile * h + u)] = total;
  }
}

}  // namespace

namespace cpu {

template <class T>
void frontdoor_aggregate(const FrontdoorArgs<T>& args, T* out, T* means) {
  const Prepared<T> in(args);
  const Counts counts(args);
  parallel_blocks(args.rows(), kForwardRows, serial_rows(args), [&](int64_t, int64_t begin, int64_t end) {
    RowBlock<T> rows(args, begin, end, nullptr);
    double sums[kForwardRows] = {};
    simd_run_vectors<ForwardRows, T>(&in, &rows, static_cast<double*>(sums));
    for (int64_t row = begin; row < end; ++row)
      means[row] = static_cast<T>(sums[row - begin] / static_cast<double>(counts.of(row / args.n_teachers)));
  });
  aggregate_rows(args, means, out);
}

template <class T>
void frontdoor_backward(const FrontdoorArgs<T>& args, const T* grad, const T* means,
                        const FrontdoorGradients<T>& gradients) {
  const Counts counts(args);
  const std::vector<T> coefficients = row_coefficients(args, counts, grad, means, gradients.attention);
  if (!gradients.context && !gradients.mediators && !gradients.weight && !gradients.bias) return;

  const Prepared<T> in(args);
  const int64_t rows = args.rows(), h = args.hidden, unit_floats = std::max<int64_t>(h * kTile, 1);
  const int64_t most_tasks = std::clamp<int64_t>(kPartialFloats / unit_floats, 1, kBackwardTasks);
  const int64_t block = std::max(block_count(block_count(rows, most_tasks), kTileRows) * kTileRows, 4 * kTileRows);
  const int64_t tasks = block_count(rows, block);
  const int64_t pass = std::clamp<int64_t>(kPartialFloats / (unit_floats * std::max<int64_t>(tasks, 1)), 1,
                                           std::max<int64_t>(in.tiles, 1));
  Partials<T> partials{Lines<T>(static_cast<size_t>(tasks * pass * h * kTile)),
                       std::vector<double>(static_cast<size_t>(tasks * h)), std::vector<double>(tasks),
                       std::vector<double>(static_cast<size_t>(in.tiles * h))};
  const int64_t stride = pass * h * kTile;
  if (in.tiles == 0 && gradients.mediators) std::fill_n(gradients.mediators, rows * h, T(0));
  if (rows == 0 && gradients.context) std::fill_n(gradients.context, args.n_context * h, T(0));

  for (int64_t first = 0; first < in.tiles && rows > 0; first += pass) {
    const int64_t last = std::min(in.tiles, first + pass);
    parallel_blocks(rows, block, serial_rows(args), [&](int64_t task, int64_t begin, int64_t end) {
      T* context_sums = partials.context.data() + task * stride;
      std::fill_n(context_sums, stride, T(0));
      Lines<T> row_sums(static_cast<size_t>(kBackwardRows * h * kLargestLanes));
      for (int64_t from = begin; from < end; from += kBackwardRows) {
        const int64_t to = std::min(end, from + kBackwardRows);
        RowBlock<T> part(args, from, to, coefficients.data());
        std::fill(row_sums.begin(), row_sums.end(), T(0));
        simd_run_vectors<BackwardRows, T>(&in, &part, first, last, context_sums, row_sums.data(),
                                          &partials.bias[static_cast<size_t>(task)]);
        finish_rows(args, from, to, row_sums.data(), first > 0, gradients.mediators, partials.weight.data() + task * h);
      }
    });
    parallel_blocks(last - first, 1, serial_rows(args) / kTile, [&](int64_t tile, int64_t, int64_t) {
      finish_tile(args, partials, tasks, stride, first + tile, tile, gradients.context);
    });
  }

  if (gradients.bias) {
    double total = 0;
    for (double part : partials.bias) total += part;
    gradients.bias[0] = static_cast<T>(total);
  }
  if (!gradients.weight) return;
  for (int64_t u = 0; u < h; ++u) {
    double total = 0;
    for (int64_t task = 0; task < tasks; ++task) total += partials.weight[static_cast<size_t>(task * h + u)];
    for (int64_t tile = 0; tile < in.tiles; ++tile)
      total += partials.weight_of_context[static_cast<size_t>(tile * h + u)];
    gradients.weight[u] = static_cast<T>(total);
  }
}

template void frontdoor_aggregate(const FrontdoorArgs<float>&, float*, float*);
template void frontdoor_aggregate(const FrontdoorArgs<double>&, double*, double*);
template void frontdoor_backward(const FrontdoorArgs<float>&, const float*, const float*,
                                 const FrontdoorGradients<float>&);
template void frontdoor_backward(const FrontdoorArgs<double>&, const double*, const double*,
                                 const FrontdoorGradients<double>&);

}  // namespace cpu
}  // namespace debias
