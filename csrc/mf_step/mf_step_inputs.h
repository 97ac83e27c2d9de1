// The contract of the training steps: everything is checked here, by name, before a parameter changes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/dispatch.h"
#include "mf_loss/mf_loss_inputs.h"
#include "mf_score/score_inputs.h"
#include "mf_step/mf_step_kernels.h"
#include "optimizer_step/optimizer_inputs.h"

namespace debias {

struct StateTensors {
  std::optional<Tensor> first, second, bias_first, bias_second;
};

struct StepTensors {
  Tensor user_factors, item_factors, users, items, targets;
  std::optional<Tensor> weights, exposures, pseudo_targets, user_bias, item_bias;
  StateTensors user_state, item_state;
};

inline StepOptions step_options(RowLossKind loss, const std::string& reduction, double offset,
                                const OptimizerOptions& optimizer, double l2, bool all_rows, bool decay_bias) {
  if (reduction != "sum" && reduction != "mean")
    value_error("reduction must be 'sum' or 'mean', got '", reduction, "'");
  if (!(l2 >= 0)) value_error("l2 must not be negative, got ", l2);
  check_optimizer(optimizer);
  return {optimizer, loss, l2, decay_bias ? l2 : 0.0, offset, all_rows, reduction == "mean"};
}

inline void check_state(const char* name, const std::optional<Tensor>& state, bool wanted, const Tensor& like,
                        bool by_row, std::vector<std::pair<const char*, const Tensor*>>& written) {
  if (!wanted) return;
  if (!state) value_error(name, " is part of this optimizer's state and must be given");
  check_moment(name, *state, like, by_row, written);
}

inline void check_bias(const char* name, const std::optional<Tensor>& bias, const Tensor& factors,
                       std::vector<std::pair<const char*, const Tensor*>>& written) {
  if (!bias) return;
  check_shape(name, *bias, {factors.size(0)});
  check_same_dtype(name, *bias, "user_factors", factors);
  check_same_device(name, *bias, "user_factors", factors);
  written.push_back({name, &*bias});
}

inline void check_column(const char* name, const std::optional<Tensor>& column, const StepTensors& in) {
  if (!column) return;
  check_same_device(name, *column, "user_factors", in.user_factors);
  check_same_dtype(name, *column, "user_factors", in.user_factors);
  check_same_shape(name, *column, "users", in.users);
}

inline void check_written(const StepTensors& in, OptimizerKind kind) {
  std::vector<std::pair<const char*, const Tensor*>> written{{"user_factors", &in.user_factors},
                                                             {"item_factors", &in.item_factors}};
  check_bias("user_bias", in.user_bias, in.user_factors, written);
  check_bias("item_bias", in.item_bias, in.item_factors, written);
  const bool first = has_first_moment(kind), second = has_second_moment(kind);
  const bool by_row = kind == OptimizerKind::rowwise_adagrad;
  check_state("user_first", in.user_state.first, first, in.user_factors, false, written);
  check_state("user_second", in.user_state.second, second, in.user_factors, by_row, written);
  check_state("item_first", in.item_state.first, first, in.item_factors, false, written);
  check_state("item_second", in.item_state.second, second, in.item_factors, by_row, written);
  if (in.user_bias) {
    check_state("user_bias_first", in.user_state.bias_first, first, *in.user_bias, false, written);
    check_state("user_bias_second", in.user_state.bias_second, second, *in.user_bias, false, written);
  }
  if (in.item_bias) {
    check_state("item_bias_first", in.item_state.bias_first, first, *in.item_bias, false, written);
    check_state("item_bias_second", in.item_state.bias_second, second, *in.item_bias, false, written);
  }
  check_in_place(written);
}

// Targets that are clicks, and exposures in their range, where the loss has such a contract.
inline void check_clicks(const StepTensors& in, RowLossKind kind) {
  if (!reads_exposures(kind)) return;
  const int64_t n = in.targets.numel();
  const RowLossChoice choice{kind, false};
  on_device_of(
      in.targets,
      [&] {
        dispatch_float(in.targets.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          LossRows<T> rows{};
          rows.targets = pointer<T>(in.targets);
          rows.source = pointer<T>(in.exposures);
          if (!cpu::all_legal(kind, rows.targets, rows.source, n)) row_error(choice, rows, n);
        });
      },
      [&](void* stream) {
        const Tensor illegal = torch::stable::new_empty(in.targets, {1}, ScalarType::Long);
        dispatch_storage(in.targets.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto found = cuda::illegal_rows(kind, pointer<T>(in.targets), pointer<T>(in.exposures), n,
                                                output<int64_t>(illegal), stream);
          if (found != 0) click_error(choice, found == 2, "other values");
        });
      });
}

// The same tensors, the columns of the samples contiguous.
inline StepTensors checked(StepTensors in, OptimizerKind kind, RowLossKind loss, bool validate) {
  check_table_shapes(in.user_factors, in.item_factors, in.users, in.items);
  check_column("targets", in.targets, in);
  check_column("weights", in.weights, in);
  check_column("exposures", in.exposures, in);
  check_column("pseudo_targets", in.pseudo_targets, in);
  check_written(in, kind);
  in.users = torch::stable::contiguous(in.users);
  in.items = torch::stable::contiguous(in.items);
  in.targets = torch::stable::contiguous(in.targets);
  in.weights = contiguous(in.weights);
  in.exposures = contiguous(in.exposures);
  in.pseudo_targets = contiguous(in.pseudo_targets);
  if (validate) {
    check_clicks(in, loss);
    check_table_indices("users", in.users, in.user_factors.size(0));
    check_table_indices("items", in.items, in.item_factors.size(0));
  }
  return in;
}

template <class V>
V* mutable_pointer(const std::optional<Tensor>& tensor) {
  return tensor ? static_cast<V*>(tensor->mutable_data_ptr()) : nullptr;
}

template <class T>
SideTables<T, accumulator_t<T>> side_of(const Tensor& factors, const std::optional<Tensor>& bias,
                                        const StateTensors& state) {
  return {static_cast<T*>(factors.mutable_data_ptr()),
          mutable_pointer<accumulator_t<T>>(state.first),
          mutable_pointer<accumulator_t<T>>(state.second),
          mutable_pointer<T>(bias),
          mutable_pointer<accumulator_t<T>>(state.bias_first),
          mutable_pointer<accumulator_t<T>>(state.bias_second),
          factors.size(0)};
}

template <class T>
Model<T, accumulator_t<T>> model_of(const StepTensors& in) {
  return {side_of<T>(in.user_factors, in.user_bias, in.user_state),
          side_of<T>(in.item_factors, in.item_bias, in.item_state), in.user_factors.size(1)};
}

template <class T, class Index>
Samples<T, Index> samples_of(const StepTensors& in) {
  return {pointer<Index>(in.users), pointer<Index>(in.items),      pointer<T>(in.targets), pointer<T>(in.weights),
          pointer<T>(in.exposures), pointer<T>(in.pseudo_targets), in.users.numel()};
}

}  // namespace debias
