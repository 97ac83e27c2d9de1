// What the op files ask of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>
#include <limits>

namespace debias {

enum class LossKind { mse, mae, bce };
enum class WeightKind { unit, given, propensity, propensity_logit };

// sum_k w_k ell(s_k, t_k) and its gradients; null outputs are not computed.
// grad_*[k] = coefficient * d/d* of w_k ell_k, and for the weight source coefficient * (ell_k - baseline) * dw_k.
template <class T>
struct WeightedLossArgs {
  const T* scores;
  const T* targets;
  const T* source;  // weights, propensities or their logits; null for WeightKind::unit
  T* values;
  T* grad_scores;
  T* grad_targets;
  T* grad_source;
  int64_t n;
  double coefficient;
  double baseline;
  double floor;
  double largest_weight;
};

template <class T>
struct DoublyRobustArgs {
  const T* scores;
  const T* targets;
  const T* pseudo_targets;
  const T* propensities;
  const bool* observed;
  T* values;
  T* grad_scores;
  T* grad_targets;
  T* grad_pseudo_targets;
  T* grad_propensities;
  int64_t n;
  double coefficient;
};

struct RowSums {
  double loss = 0, weight = 0;  // sum of w ell, sum of w
  bool valid = true;            // every propensity lies in (0, 1], no logit is NaN
};

namespace cpu {
template <class T>
RowSums weighted_loss(LossKind loss, WeightKind weight, const WeightedLossArgs<T>& args);
template <class T>
RowSums doubly_robust_loss(LossKind loss, const DoublyRobustArgs<T>& args);
}  // namespace cpu

namespace cuda {
// Device workspace of row_loss_workspace(n) doubles; the first three become the sums (loss, weight, invalid rows).
int64_t row_loss_workspace(int64_t n);
// `sums` is null, or the workspace of an earlier pass: the coefficient is then divided by the sum of weights, and the
// baseline is that pass's loss / weight. Nothing is read back by the host.
template <class Storage>
void weighted_loss(LossKind loss, WeightKind weight, const WeightedLossArgs<Storage>& args, const double* sums,
                   double* workspace, void* stream);
template <class Storage>
void doubly_robust_loss(LossKind loss, const DoublyRobustArgs<Storage>& args, double* workspace, void* stream);
// *loss = scale * sums.loss, divided by sums.weight when self_normalised
template <class Storage>
void write_loss(const double* sums, double scale, bool self_normalised, Storage* loss, void* stream);
RowSums read_sums(const double* sums, void* stream);  // waits for the stream
}  // namespace cuda

}  // namespace debias
