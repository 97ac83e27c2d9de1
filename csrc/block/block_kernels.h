// What the op files of the block losses ask of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a
// .cu file.
#pragma once

#include <cstdint>
#include <memory>

#include "block/gram.h"

namespace debias {

// s = P[u].Q[i] + a[u] + b[i] over m users and n items
template <class T>
struct FactorTables {
  const T* user_factors;  // [m, d]
  const T* item_factors;  // [n, d]
  const T* user_bias;     // [m] or null
  const T* item_bias;     // [n] or null
  int64_t d;
};

// The two sides of the tables for their Gram matrices, the scores less c = value + value_number.
template <class Storage>
GramRows<Storage> user_rows(const FactorTables<Storage>& tables, int64_t m, const Storage* weight) {
  return {tables.user_factors, tables.user_bias, weight, nullptr, 0.0, m, tables.d, 1.0, true};
}

template <class Storage>
GramRows<Storage> item_rows(const FactorTables<Storage>& tables, int64_t n, const Storage* weight, const Storage* value,
                            double value_number) {
  return {tables.item_factors, tables.item_bias, weight, value, value_number, n, tables.d, 1.0, false};
}

// Rated pairs in any order, and where they stand when sorted by user, then item, then position.
template <class T>
struct RatedPairs {
  const T* targets;          // [pairs]
  const T* weights;          // [pairs] or null: 1
  const int64_t* offsets;    // [m + 1]
  const int64_t* columns;    // [pairs], sorted
  const int64_t* positions;  // [pairs], of the sorted pairs among those given
  int64_t count;             // offsets[m], but for pairs out of range, which CUDA may meet
};

// Null where not wanted.
template <class T>
struct BlockGradients {
  T* user_factors;  // [m, d]
  T* item_factors;  // [n, d]
  T* user_bias;     // [m]
  T* item_bias;     // [n]
  T* targets;       // [pairs]
  T* weights;       // [pairs]
};

// Gradients are multiplied by scale, the loss by loss_scale: the same, or NaN for the mean of no pairs.
template <class T>
struct BlockArgs {
  FactorTables<T> student;
  int64_t m, n;
  RatedPairs<T> rated;
  double scale, loss_scale;
  BlockGradients<T> gradients;
};

// A_u B_i (s_ui - c)^2 over all pairs. Rated pairs leave it where `replace`, or have a weight and a target of their own
// there where these are given.
template <class T>
struct ConstantTargetArgs {
  const T* value;  // [1] or null: added to value_number
  double value_number;
  const T* user_weight;    // [m] or null: 1
  const T* item_weight;    // [n] or null: 1
  const T* rated_weights;  // [pairs] or null
  const T* rated_values;   // [pairs], with rated_weights
  bool replace;
  T* grad_value;  // [1]; these too null where not wanted
  T* grad_user_weight;
  T* grad_item_weight;
  T* grad_rated_weights;
  T* grad_rated_values;
};

enum class TileKind { label, interd_soft, interd_hard, interd_zero, interd_attached };

// Terms that are nonlinear in the score: pair by pair over tiles. others: the imputation model (label), or the biased
// and the debiased teacher.
template <class T>
struct TileArgs {
  TileKind kind;
  FactorTables<T> others[2];
  double gamma, beta, epsilon;  // of InterD
};

// Rated pairs by user, then item. Stable.
struct RatedOrder {
  std::unique_ptr<int64_t[]> offsets, columns, positions;
};

namespace cpu {
template <class Index>
RatedOrder sort_rated(const Index* rows, const Index* columns, int64_t count, int64_t m, int64_t n);
// Each returns the loss.
template <class T>
double block_constant(const BlockArgs<T>& args, const ConstantTargetArgs<T>& target);
template <class T>
double block_residual(const BlockArgs<T>& args, const FactorTables<T>& imputation);
template <class T>
double block_tiles(const BlockArgs<T>& args, const TileArgs<T>& target);
}  // namespace cpu

namespace cuda {
// keys[k] = rows[k] n + columns[k], or m n where one of them is out of range: to be sorted, stable.
template <class Index>
void rated_keys(const Index* rows, const Index* columns, int64_t count, int64_t m, int64_t n, int64_t* keys,
                void* stream);
// offsets [m + 1] and columns [count] of sorted keys; column n where one was out of range.
void rated_places(const int64_t* keys, int64_t count, int64_t m, int64_t n, int64_t* offsets, int64_t* columns,
                  void* stream);
// The sorted pairs once more, by item: sorted_columns[order[k]] ascend; offsets [n + 1].
void item_offsets(const int64_t* sorted_columns, int64_t count, int64_t n, int64_t* offsets, void* stream);
struct ItemOrder {
  const int64_t* offsets;  // [n + 1]
  const int64_t* order;    // [count]
};
// Bytes of device memory that the functions below need; the residual form passes the imputation's factors as well.
int64_t block_gram_workspace(int64_t m, int64_t n, int64_t pairs, int64_t d, int64_t imputation_d);
int64_t block_tiles_workspace(int64_t m, int64_t n, int64_t d);
template <class T>
void block_constant(const BlockArgs<T>& args, const ConstantTargetArgs<T>& target, const ItemOrder& items,
                    void* workspace, T* loss, void* stream);
template <class T>
void block_residual(const BlockArgs<T>& args, const FactorTables<T>& imputation, const ItemOrder& items,
                    void* workspace, T* loss, void* stream);
template <class T>
void block_tiles(const BlockArgs<T>& args, const TileArgs<T>& target, void* workspace, T* loss, void* stream);
}  // namespace cuda

}  // namespace debias
