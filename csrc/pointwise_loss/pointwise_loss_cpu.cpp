#include <type_traits>

#include "pointwise_loss/pointwise_loss_math.h"
#include "pointwise_loss/row_blocks.h"

namespace debias {
namespace {

using namespace row_blocks;

constexpr int64_t kTile = 256;  // rows summed in T, 16 additions a lane of AVX-512, before a sum in float64

// The sets of outputs that training asks for have loops of their own; `source` is what the weights are made of.
// Sums alone are the first pass of SNIPS, which subtracts their quotient from the rows: they are exact to float64.
enum class Outputs { sums, scores, scores_and_source, all };

template <Outputs outputs, class T>
using TileSum = std::conditional_t<outputs == Outputs::sums, double, T>;

template <class Loss, class WeightOf, Outputs outputs, class T>
struct WeightedLossBlock {
  static DEBIAS_HD void run(const WeightedLossArgs<T>* args, int64_t begin, int64_t end, BlockSums* sums) {
    constexpr bool all = outputs == Outputs::all, with_source = all || outputs == Outputs::scores_and_source;
    alignas(64) T scratch[all ? 4 : (with_source ? 2 : 1)][kBlock];
    const T* __restrict scores = args->scores + begin;
    const T* __restrict targets = args->targets + begin;
    const T* __restrict source = WeightOf::given ? args->source + begin : scores;
    T* __restrict grad_scores = rows_or_scratch(args->grad_scores, begin, scratch[0]);
    T* __restrict grad_source = with_source ? rows_or_scratch(args->grad_source, begin, scratch[1]) : nullptr;
    T* __restrict values = all ? rows_or_scratch(args->values, begin, scratch[2]) : nullptr;
    T* __restrict grad_targets = all ? rows_or_scratch(args->grad_targets, begin, scratch[3]) : nullptr;
    const PropensityBounds<T> bounds{static_cast<T>(args->floor), static_cast<T>(args->largest_weight)};
    const T coefficient = static_cast<T>(args->coefficient), baseline = static_cast<T>(args->baseline);
    const int64_t n = end - begin;
    double loss = 0, total = 0;
    int invalid = 0;
    for (int64_t tile = 0; tile < n; tile += kTile) {
      TileSum<outputs, T> tile_loss = 0, tile_total = 0;
      const int64_t tile_end = tile + kTile < n ? tile + kTile : n;
#pragma omp simd reduction(+ : tile_loss, tile_total) reduction(| : invalid)
      for (int64_t k = tile; k < tile_end; ++k) {
        const Weight<T> weight = WeightOf::at(source[k], bounds);
        const Slopes<T> row = Loss::at(scores[k], targets[k]);
        const T value = weight.value * row.value;
        if constexpr (outputs != Outputs::sums) grad_scores[k] = coefficient * weight.value * row.score;
        if constexpr (with_source) grad_source[k] = coefficient * (row.value - baseline) * weight.slope;
        if constexpr (all) {
          values[k] = value;
          grad_targets[k] = coefficient * weight.value * row.target;
        }
        tile_loss += static_cast<TileSum<outputs, T>>(value);
        tile_total += static_cast<TileSum<outputs, T>>(weight.value);
        invalid |= !weight.valid;
      }
      loss += static_cast<double>(tile_loss);
      total += static_cast<double>(tile_total);
    }
    *sums = {loss, total, invalid};
  }
};

template <class Loss, Outputs outputs, class T>
struct DoublyRobustBlock {
  static DEBIAS_HD void run(const DoublyRobustArgs<T>* args, int64_t begin, int64_t end, BlockSums* sums) {
    constexpr bool all = outputs == Outputs::all, with_source = all || outputs == Outputs::scores_and_source;
    alignas(64) T scratch[all ? 5 : (with_source ? 2 : 1)][kBlock];
    const T* __restrict scores = args->scores + begin;
    const T* __restrict targets = args->targets + begin;
    const T* __restrict pseudo_targets = args->pseudo_targets + begin;
    const T* __restrict propensities = args->propensities + begin;
    const auto* __restrict observed = reinterpret_cast<const unsigned char*>(args->observed) + begin;
    T* __restrict grad_scores = rows_or_scratch(args->grad_scores, begin, scratch[0]);
    T* __restrict grad_propensities =
        with_source ? rows_or_scratch(args->grad_propensities, begin, scratch[1]) : nullptr;
    T* __restrict values = all ? rows_or_scratch(args->values, begin, scratch[2]) : nullptr;
    T* __restrict grad_targets = all ? rows_or_scratch(args->grad_targets, begin, scratch[3]) : nullptr;
    T* __restrict grad_pseudo = all ? rows_or_scratch(args->grad_pseudo_targets, begin, scratch[4]) : nullptr;
    const T coefficient = static_cast<T>(args->coefficient);
    const int64_t n = end - begin;
    double loss = 0;
    int invalid = 0;
    for (int64_t tile = 0; tile < n; tile += kTile) {
      TileSum<outputs, T> tile_loss = 0;
      const int64_t tile_end = tile + kTile < n ? tile + kTile : n;
#pragma omp simd reduction(+ : tile_loss) reduction(| : invalid)
      for (int64_t k = tile; k < tile_end; ++k) {
        const DoublyRobust<T> row = doubly_robust<Loss>(scores[k], targets[k], pseudo_targets[k], propensities[k],
                                                        static_cast<T>(static_cast<int>(observed[k])));
        grad_scores[k] = coefficient * row.score;
        if constexpr (with_source) grad_propensities[k] = coefficient * row.propensity;
        if constexpr (all) {
          values[k] = row.value;
          grad_targets[k] = coefficient * row.target;
          grad_pseudo[k] = coefficient * row.pseudo_target;
        }
        tile_loss += static_cast<TileSum<outputs, T>>(row.value);
        invalid |= !row.valid;
      }
      loss += static_cast<double>(tile_loss);
    }
    *sums = {loss, 0.0, invalid};
  }
};

template <class Loss, class WeightOf, class T>
RowSums weighted_loss_of(const WeightedLossArgs<T>& args) {
  if (args.values || args.grad_targets) return run_blocks<WeightedLossBlock<Loss, WeightOf, Outputs::all, T>>(args);
  if (args.grad_source) return run_blocks<WeightedLossBlock<Loss, WeightOf, Outputs::scores_and_source, T>>(args);
  if (args.grad_scores) return run_blocks<WeightedLossBlock<Loss, WeightOf, Outputs::scores, T>>(args);
  return run_blocks<WeightedLossBlock<Loss, WeightOf, Outputs::sums, T>>(args);
}

template <class Loss, class T>
RowSums weighted_loss_of(WeightKind weight, const WeightedLossArgs<T>& args) {
  switch (weight) {
    case WeightKind::given: return weighted_loss_of<Loss, GivenWeight>(args);
    case WeightKind::propensity: return weighted_loss_of<Loss, InversePropensity>(args);
    case WeightKind::propensity_logit: return weighted_loss_of<Loss, InversePropensityLogit>(args);
    case WeightKind::unit: break;
  }
  return weighted_loss_of<Loss, UnitWeight>(args);
}

template <class Loss, class T>
RowSums doubly_robust_of(const DoublyRobustArgs<T>& args) {
  if (args.values || args.grad_targets || args.grad_pseudo_targets)
    return run_blocks<DoublyRobustBlock<Loss, Outputs::all, T>>(args);
  if (args.grad_propensities) return run_blocks<DoublyRobustBlock<Loss, Outputs::scores_and_source, T>>(args);
  return run_blocks<DoublyRobustBlock<Loss, Outputs::scores, T>>(args);
}

}  // namespace

namespace cpu {

template <class T>
RowSums weighted_loss(LossKind loss, WeightKind weight, const WeightedLossArgs<T>& args) {
  switch (loss) {
    case LossKind::mae: return weighted_loss_of<AbsoluteError>(weight, args);
    case LossKind::bce: return weighted_loss_of<BinaryCrossEntropy>(weight, args);
    case LossKind::mse: break;
  }
  return weighted_loss_of<SquaredError>(weight, args);
}

template <class T>
RowSums doubly_robust_loss(LossKind loss, const DoublyRobustArgs<T>& args) {
  switch (loss) {
    case LossKind::mae: return doubly_robust_of<AbsoluteError>(args);
    case LossKind::bce: return doubly_robust_of<BinaryCrossEntropy>(args);
    case LossKind::mse: break;
  }
  return doubly_robust_of<SquaredError>(args);
}

template RowSums weighted_loss<float>(LossKind, WeightKind, const WeightedLossArgs<float>&);
template RowSums weighted_loss<double>(LossKind, WeightKind, const WeightedLossArgs<double>&);
template RowSums doubly_robust_loss<float>(LossKind, const DoublyRobustArgs<float>&);
template RowSums doubly_robust_loss<double>(LossKind, const DoublyRobustArgs<double>&);

}  // namespace cpu
}  // namespace debias
