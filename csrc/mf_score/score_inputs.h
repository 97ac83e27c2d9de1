// The arguments of a factor model's scores, checked once for every operator that computes them.
#pragma once

#include <optional>

#include "common/check.h"
#include "mf_score/mf_score_kernels.h"

namespace debias {

struct Tables {
  Tensor user_factors, item_factors, users, items;
};

// Shapes, dtypes and devices; the indices are not looked at.
void check_table_shapes(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                        const Tensor& items);
// Names the first index out of range; waits for the stream on CUDA.
void check_table_indices(const char* name, const Tensor& indices, int64_t rows);
// Contiguous; indices are looked at on the CPU always, on CUDA if `validate`.
Tables checked_tables(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users, const Tensor& items,
                      bool validate);

struct ScoreInputs {
  Tables tables;
  std::optional<Tensor> user_bias, item_bias, offset;
  double offset_value;
};

ScoreInputs checked_score_inputs(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                                 const Tensor& items, const std::optional<Tensor>& user_bias,
                                 const std::optional<Tensor>& item_bias, const std::optional<Tensor>& offset,
                                 double offset_value, bool validate);

template <class T, class Index>
MFScoreArgs<T, Index> score_args(const ScoreInputs& in, T* scores) {
  const Tables& tables = in.tables;
  return {pointer<T>(tables.user_factors),
          pointer<T>(tables.item_factors),
          pointer<Index>(tables.users),
          pointer<Index>(tables.items),
          pointer<T>(in.user_bias),
          pointer<T>(in.item_bias),
          pointer<T>(in.offset),
          in.offset_value,
          scores,
          tables.users.numel(),
          tables.user_factors.size(1),
          tables.user_factors.size(0),
          tables.item_factors.size(0)};
}

}  // namespace debias
