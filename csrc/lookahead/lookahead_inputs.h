// The arguments of the look-ahead operators: checked by name, made contiguous, and handed to the kernels as pointers.
#pragma once

#include <array>
#include <string>

#include "common/dispatch.h"
#include "lookahead/lookahead_kernels.h"
#include "pointwise_loss/row_loss.h"

namespace debias {

using Moments = std::array<std::optional<Tensor>, 4>;  // of user_factors, item_factors, user_bias, item_bias

// A gradient that starts as zeros; without elements where it is not wanted, or there is nothing to differentiate.
Tensor zeros_if(bool wanted, const std::optional<Tensor>& like, const Tensor& dtype);

AssumedStep checked_step(double lr, double l2, int64_t step, double beta1, double beta2, double eps);
LookaheadKind checked_kind(const std::string& side, const std::string& loss, const std::string& source,
                           std::optional<double> clip_min, std::optional<double> floor);

struct LookaheadTables {
  LookaheadTables(const Tensor& user_factors, const Tensor& item_factors, const std::optional<Tensor>& user_bias,
                  const std::optional<Tensor>& item_bias, const Moments& exp_avg, const Moments& exp_avg_sq,
                  const AssumedStep& step);

  template <class T>
  LookaheadTableArgs<T> users() const {
    return table<T>(user_factors, user_bias, 0);
  }
  template <class T>
  LookaheadTableArgs<T> items() const {
    return table<T>(item_factors, item_bias, 1);
  }

  Tensor user_factors, item_factors;
  std::optional<Tensor> user_bias, item_bias;
  Moments exp_avg, exp_avg_sq;
  AssumedStep step;

 private:
  template <class T>
  LookaheadTableArgs<T> table(const Tensor& factors, const std::optional<Tensor>& bias, size_t at) const {
    return {pointer<T>(factors),
            pointer<T>(bias),
            pointer<T>(exp_avg[at]),
            pointer<T>(exp_avg_sq[at]),
            pointer<T>(exp_avg[at + 2]),
            pointer<T>(exp_avg_sq[at + 2]),
            factors.size(0)};
  }
};

struct LookaheadRows {
  LookaheadRows(const std::string& side, const LookaheadTables& tables, const Tensor& users, const Tensor& items,
                const Tensor& targets, const std::optional<Tensor>& source, const std::optional<Tensor>& imputations,
                const std::optional<Tensor>& observed, const LookaheadKind& kind, const std::string& reduction,
                double missing_scale);

  // Indices and propensities; on CUDA only when `validate` asks for it.
  void check_values(const LookaheadTables& tables, bool validate) const;

  template <class T, class Index>
  LookaheadRowsArgs<T, Index> args() const {
    LookaheadRowsArgs<T, Index> rows{};
    rows.users = pointer<Index>(users);
    rows.items = pointer<Index>(items);
    rows.targets = pointer<T>(targets);
    rows.source = pointer<T>(source);
    rows.imputations = pointer<T>(imputations);
    rows.observed = pointer<bool>(observed);
    rows.n = users.numel();
    rows.n_rated = targets.numel();
    rows.coefficient = reduction_scale(reduction, rows.n_rated);
    rows.missing_coefficient = missing_scale * reduction_scale(reduction, rows.n - rows.n_rated);
    rows.kind = kind;
    return rows;
  }

  Tensor users, items, targets;
  std::optional<Tensor> source, imputations, observed;

 private:
  std::string name(const char* key) const { return side + "['" + key + "']"; }
  void check_ranges() const;

  std::string side;
  LookaheadKind kind;
  Reduction reduction;
  double missing_scale;
};

}  // namespace debias
