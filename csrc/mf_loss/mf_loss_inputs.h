// The arguments of a factor model's loss, checked once, and the outputs of its one pass over the batch.
#pragma once

#include <string>
#include <tuple>

#include "mf_loss/mf_loss_kernels.h"
#include "mf_score/score_inputs.h"
#include "pointwise_loss/row_loss.h"

namespace debias {

// Bits of `needs` beside those of mf_score's arguments.
enum ColumnNeed { kScores = 31, kTargets = 32, kWeights = 64, kExposures = 128, kPseudoTargets = 256 };

// The loss; slopes in the scores, targets, weights, exposures and pseudo targets.
using LossAndSlopes = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The kind of loss, with the columns that it reads and no other.
RowLossKind checked_kind(const std::string& loss, bool exposures, bool pseudo_targets);

struct RowInputs {
  Tensor targets;
  std::optional<Tensor> weights, exposures, pseudo_targets;
};

struct MFLossCall {
  RowLossChoice loss;
  ScoreInputs score;
  RowInputs rows;
  double scale;
  bool validate;
};

MFLossCall checked_call(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                        const Tensor& items, const std::optional<Tensor>& user_bias,
                        const std::optional<Tensor>& item_bias, const std::optional<Tensor>& offset,
                        const Tensor& targets, const std::optional<Tensor>& weights,
                        const std::optional<Tensor>& exposures, const std::optional<Tensor>& pseudo_targets,
                        double offset_value, const std::string& loss, const std::string& reduction, bool validate);

LossAndSlopes loss_outputs(const MFLossCall& call, int64_t needs);

template <class T>
LossRows<T> loss_rows(const MFLossCall& call, const LossAndSlopes& out) {
  const RowInputs& in = call.rows;
  return {pointer<T>(in.targets),      pointer<T>(in.weights),
          pointer<T>(in.exposures),    pointer<T>(in.pseudo_targets),
          output<T>(std::get<1>(out)), output<T>(std::get<2>(out)),
          output<T>(std::get<3>(out)), output<T>(std::get<4>(out)),
          output<T>(std::get<5>(out)), call.scale};
}

// Of targets that are no clicks, or of exposures outside their range.
[[noreturn]] void click_error(const RowLossChoice& loss, bool bad_targets, const std::string& where);

// Names the first row that broke the contract.
template <class T>
[[noreturn]] void row_error(const RowLossChoice& loss, const LossRows<T>& rows, int64_t batch) {
  const auto legal = [&](int64_t k) {
    return with_row_loss(loss.kind, false, [&](auto row_loss) {
      return decltype(row_loss)::at(T(0), rows.targets[k], T(1), rows.source[k], T(0)).valid;
    });
  };
  int64_t k = 0;
  while (k + 1 < batch && legal(k)) ++k;
  const bool bad_target = !is_click(rows.targets[k]);
  click_error(loss, bad_target, message(bad_target ? rows.targets[k] : rows.source[k], " at row ", k));
}

}  // namespace debias
