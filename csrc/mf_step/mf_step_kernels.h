// What the op files ask of the kernels of the fused training step. Raw pointers only.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "mf_loss/row_slope.h"
#include "optimizer_step/optimizer_step_math.h"

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
// Every target is a click, and every exposure within the domain of the loss.
template <class T>
bool all_legal(RowLossKind loss, const T* targets, const T* exposures, int64_t n);
}  // namespace cpu

namespace cuda {

// One batch on the device, and the working memory of its step.
template <class T>
struct DeviceBatch {
  using A = accumulator_t<T>;
  int64_t n;
  const int64_t *users, *items;  // -1: out of range
  const T *targets, *weights, *exposures, *pseudo_targets;
  const int64_t *sorted_users, *user_order;  // users ascending, and the samples they belong to
  const int64_t *sorted_items, *item_order;
  A* slopes;           // [n]
  A* losses;           // [n]
  T* saved;            // [n, d]: the user rows before the step
  int64_t* saved_row;  // [n]: of each sample
  double* total;       // [1]: the losses are added to it
};

// indices[k] = table[order[begin + k]] (of `table` itself without an order), or -1 where that is outside [0, rows)
template <class Index>
void gather_indices(const Index* table, const int64_t* order, int64_t begin, int64_t n, int64_t samples, int64_t rows,
                    int64_t* indices, void* stream);
// values[k] = table[order[begin + k]]
template <class T>
void gather_values(const T* table, const int64_t* order, int64_t begin, int64_t n, int64_t samples, T* values,
                   void* stream);
template <class T>
void mf_step(const Model<T, accumulator_t<T>>& model, const DeviceBatch<T>& batch, const StepOptions& options,
             void* stream);
// 0: all rows are legal; 1: an exposure is out of range; 2: a target is no click. Waits for the stream.
template <class T>
int64_t illegal_rows(RowLossKind loss, const T* targets, const T* exposures, int64_t n, int64_t* workspace,
                     void* stream);
void set_zero(double* value, void* stream);
}  // namespace cuda

}  // namespace debias
