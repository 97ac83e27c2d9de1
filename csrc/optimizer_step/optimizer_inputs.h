// What the operators with an optimiser inside ask of its options, of its state, and of what they write.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "common/check.h"
#include "optimizer_step/optimizer_step_math.h"

namespace debias {

inline OptimizerKind optimizer_kind(const std::string& name) {
  if (name == "sgd") return OptimizerKind::sgd;
  if (name == "adagrad") return OptimizerKind::adagrad;
  if (name == "rowwise_adagrad") return OptimizerKind::rowwise_adagrad;
  if (name == "lazy_adam") return OptimizerKind::lazy_adam;
  if (name == "adam") return OptimizerKind::adam;
  value_error("optimizer must be 'sgd', 'adagrad', 'rowwise_adagrad', 'lazy_adam' or 'adam', got '", name, "'");
}

inline void check_optimizer(const OptimizerOptions& options) {
  if (!(options.lr >= 0)) value_error("lr must not be negative, got ", options.lr);
  if (!(options.eps >= 0)) value_error("eps must not be negative, got ", options.eps);
  for (double beta : {options.beta1, options.beta2})
    if (!(beta >= 0 && beta < 1)) value_error("betas must be in [0, 1), got ", beta);
  if (options.step < 1) value_error("step must be at least 1, got ", options.step);
}

inline bool has_first_moment(OptimizerKind kind) {
  return kind == OptimizerKind::lazy_adam || kind == OptimizerKind::adam;
}

inline bool has_second_moment(OptimizerKind kind) { return kind != OptimizerKind::sgd; }

// What is written in place: contiguous, and with no byte in common with another such tensor.
inline void check_in_place(const std::vector<std::pair<const char*, const Tensor*>>& written) {
  using Extent = std::pair<const char*, const char*>;
  std::vector<std::pair<Extent, const char*>> extents;
  for (const auto& [name, tensor] : written) {
    if (!tensor->is_contiguous()) value_error(name, " is written in place and must be contiguous");
    const char* begin = static_cast<const char*>(tensor->const_data_ptr());
    const int64_t bytes = tensor->numel() * static_cast<int64_t>(tensor->element_size());
    if (bytes > 0) extents.push_back({{begin, begin + bytes}, name});
  }
  std::sort(extents.begin(), extents.end());
  for (size_t k = 1; k < extents.size(); ++k)
    if (extents[k].first.first < extents[k - 1].first.second)
      value_error(extents[k].second, " and ", extents[k - 1].second, " are written in place and must not overlap");
}

inline ScalarType state_type(const Tensor& factors) {
  return factors.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// A moment of the table `like`; its address is added to what is written.
inline void check_moment(const char* name, const Tensor& moment, const Tensor& like, bool by_row,
                         std::vector<std::pair<const char*, const Tensor*>>& written) {
  if (by_row)
    check_shape(name, moment, {like.size(0)});
  else
    check_same_shape(name, moment, "its table", like);
  if (moment.scalar_type() != state_type(like))
    value_error(name, " must be ", dtype_name(state_type(like)), ", got ", dtype_name(moment.scalar_type()));
  check_same_device(name, moment, "its table", like);
  written.push_back({name, &moment});
}

}  // namespace debias
