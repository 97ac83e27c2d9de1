// What mf_loss.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

#include "mf_loss/row_slope.h"
#include "mf_score/mf_score_kernels.h"
#include "pointwise_loss/pointwise_loss_kernels.h"

namespace debias {

struct RowLossChoice {
  RowLossKind kind;
  bool pseudo_targets;
};

// Rows of a loss beside their scores: what they read, and coefficient * the slopes. Null slopes are not wanted.
template <class T>
struct LossRows {
  const T* targets;
  const T* weights;  // null: 1
  const T* source;   // null unless the loss reads it, and so pseudo_targets
  const T* pseudo_targets;
  T* grad_scores;
  T* grad_targets;
  T* grad_weights;
  T* grad_source;
  T* grad_pseudo_targets;
  double coefficient;
};

namespace cpu {
// score.scores is not used: no score is kept.
template <class T, class Index>
RowSums mf_loss(const RowLossChoice& loss, const MFScoreArgs<T, Index>& score, const LossRows<T>& rows);
}  // namespace cpu

namespace cuda {
// Workspace and sums as for weighted_loss (pointwise_loss_kernels.h), of row_loss_workspace(batch) doubles; the sum of
// weights counts the targets that are no clicks, where the loss asks for them.
template <class Storage, class Index>
void mf_loss(const RowLossChoice& loss, const MFScoreArgs<Storage, Index>& score, const LossRows<Storage>& rows,
             double* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
