// What the op files ask of the kernels of the fused training step. Raw pointers only.
#pragma once

#include <cstdint>

#include "common/segment.h"
#include "mf_loss/row_slope.h"
#include "mf_step/mf_step_math.h"

namespace debias {

// One side of the model: its factor rows, its biases, and the optimiser's state of both.
template <class T, class State = T>
struct SideTables {
  T* rows;        // [n, d]
  State* first;   // [n, d] or null
  State* second;  // [n, d], [n] for row-wise Adagrad, or null
  T* bias;        // [n] or null
  State* bias_first;
  State* bias_second;
  int64_t n;
};

template <class T, class State = T>
struct Model {
  SideTables<T, State> users, items;
  int64_t factors;
};

struct StepOptions {
  OptimizerOptions optimizer;
  RowLossKind loss;
  double l2, l2_bias;
  double offset;
  bool all_rows;  // l2 acts on every row, not on the touched ones alone
  bool mean;      // gradients are divided by the number of rows of the batch
  // Rows (biases) without a sample change as well.
  bool dense_biases() const { return optimizer.kind == OptimizerKind::adam || (all_rows && l2_bias != 0); }
  bool dense() const { return optimizer.kind == OptimizerKind::adam || (all_rows && l2 != 0); }
};

// The columns of the samples; null where they are not given.
template <class T, class Index>
struct Samples {
  const Index* users;
  const Index* items;
  const T* targets;
  const T* weights;
  const T* exposures;
  const T* pseudo_targets;
  int64_t n;
};

// The batches [start, stop) of an epoch that visits the samples in the given order (null: as they stand).
struct EpochPlan {
  const int64_t* order;
  int64_t batch_size, start, stop;
};

namespace cpu {
// Runs the steps, and returns the sum of the row losses before their updates. options.optimizer.step counts on from
// the first of them. Throws IndexError before the first step of a chunk that has an index out of range.
template <class T, class Index>
double mf_steps(const Model<T>& model, const Samples<T, Index>& samples, const EpochPlan& plan, StepOptions options);
}  // namespace cpu

}  // namespace debias
