// One step of an optimiser over several tables, in place.
#include <torch/csrc/stable/library.h>

#include <string>
#include <vector>

#include "common/dispatch.h"
#include "mf_score/score_inputs.h"
#include "optimizer_step/optimizer_inputs.h"
#include "optimizer_step/optimizer_step_kernels.h"

namespace debias {
namespace {

using Tensors = std::vector<Tensor>;

struct StepLists {
  Tensors tables, gradients, rows, first, second;  // no rows: every gradient is dense
};

// A dense gradient has no row in its list.
bool is_sparse(const StepLists& in, size_t k) {
  if (in.rows.empty()) return false;
  return in.rows[k].numel() > 0 || (in.tables[k].numel() > 0 && in.gradients[k].numel() == 0);
}

std::string item_of(const char* list, size_t k) { return std::string(list) + '[' + std::to_string(k) + ']'; }

void check_length(const char* name, const Tensors& list, size_t length) {
  if (list.size() != length) value_error(name, " must have ", length, " tensor(s), got ", list.size());
}

void check_rows(const std::string& name, const Tensor& rows, int64_t table_rows, bool validate) {
  check_dim(name.c_str(), rows, 1);
  if (rows.scalar_type() != ScalarType::Long) value_error(name, " must be int64, got ", dtype_name(rows.scalar_type()));
  if (validate || !runs_cuda_kernels(rows)) check_table_indices(name.c_str(), rows, table_rows);
  if (runs_cuda_kernels(rows)) return;  // the kernel leaves out what is not ascending
  const auto* row = pointer<int64_t>(rows);
  for (int64_t j = 1; j < rows.numel(); ++j)
    if (row[j - 1] >= row[j]) value_error(name, " must be ascending, got ", row[j], " after ", row[j - 1]);
}

void check_gradient(const StepLists& in, size_t k, bool validate) {
  const Tensor &table = in.tables[k], &gradient = in.gradients[k];
  const std::string name = item_of("gradients", k), table_name = item_of("tables", k);
  check_same_device(name.c_str(), gradient, "tables[0]", in.tables[0]);
  check_same_dtype(name.c_str(), gradient, "tables[0]", in.tables[0]);
  if (!is_sparse(in, k)) return check_same_shape(name.c_str(), gradient, table_name.c_str(), table);
  const std::string rows = item_of("rows", k);
  check_same_device(rows.c_str(), in.rows[k], "tables[0]", in.tables[0]);
  bool same = table.dim() > 0 && gradient.dim() == table.dim() && gradient.size(0) == in.rows[k].numel();
  for (int64_t axis = 1; same && axis < table.dim(); ++axis) same = gradient.size(axis) == table.size(axis);
  if (!same)
    value_error(name, " must have a row like those of ", table_name, ", ", shape_of(table), ", for each of ", rows,
                ", ", in.rows[k].numel(), ", got ", shape_of(gradient));
  check_rows(rows, in.rows[k], table.size(0), validate);
}

// Everything by name, before a parameter changes; gradients and rows become contiguous.
void check(StepLists& in, OptimizerKind kind, bool validate) {
  const size_t n = in.tables.size();
  check_length("gradients", in.gradients, n);
  check_length("rows", in.rows, in.rows.empty() ? 0 : n);
  check_length("first", in.first, has_first_moment(kind) ? n : 0);
  check_length("second", in.second, has_second_moment(kind) ? n : 0);
  std::vector<std::string> names;
  names.reserve(3 * n);  // the checks keep pointers to them
  std::vector<std::pair<const char*, const Tensor*>> written;
  const auto name = [&](const char* list, size_t k) { return names.emplace_back(item_of(list, k)).c_str(); };
  for (size_t k = 0; k < n; ++k) {
    const char* table = name("tables", k);
    check_float(table, in.tables[k]);
    check_same_device(table, in.tables[k], "tables[0]", in.tables[0]);
    check_same_dtype(table, in.tables[k], "tables[0]", in.tables[0]);
    written.push_back({table, &in.tables[k]});
    if (!in.first.empty()) check_moment(name("first", k), in.first[k], in.tables[k], false, written);
    if (!in.second.empty()) check_moment(name("second", k), in.second[k], in.tables[k], false, written);
    in.gradients[k] = torch::stable::contiguous(in.gradients[k]);
    if (!in.rows.empty()) in.rows[k] = torch::stable::contiguous(in.rows[k]);
    check_gradient(in, k, validate);
  }
  check_in_place(written);
}

template <class T>
std::vector<TableStep<T>> steps_of(const StepLists& in, const TableRule& rule) {
  using A = accumulator_t<T>;
  const bool every_row = rule.optimizer.kind == OptimizerKind::adam || rule.weight_decay != 0;
  std::vector<TableStep<T>> steps;
  for (size_t k = 0; k < in.tables.size(); ++k) {
    const Tensor& table = in.tables[k];
    if (table.numel() == 0) continue;
    TableStep<T> step{};
    step.table = output<T>(table);
    if (!in.first.empty()) step.first = output<A>(in.first[k]);
    if (!in.second.empty()) step.second = output<A>(in.second[k]);
    step.gradient = pointer<T>(in.gradients[k]);
    step.sparse = is_sparse(in, k);
    if (step.sparse) step.rows = pointer<int64_t>(in.rows[k]), step.touched = in.rows[k].numel();
    step.n = table.dim() == 0 ? 1 : table.size(0);
    step.width = table.numel() / step.n;
    step.every_row = every_row;
    steps.push_back(step);
  }
  return steps;
}

void optimizer_step_(Tensors tables, Tensors gradients, Tensors rows, Tensors first, Tensors second,
                     const std::string& kind, double lr, double beta1, double beta2, double eps, int64_t step,
                     double weight_decay, bool validate) {
  const TableRule rule{{optimizer_kind(kind), lr, beta1, beta2, eps, step}, weight_decay};
  if (rule.optimizer.kind != OptimizerKind::sgd && rule.optimizer.kind != OptimizerKind::adagrad &&
      rule.optimizer.kind != OptimizerKind::adam)
    value_error("kind must be 'sgd', 'adagrad' or 'adam', got '", kind, "'");
  check_optimizer(rule.optimizer);
  if (!(weight_decay >= 0)) value_error("weight_decay must not be negative, got ", weight_decay);
  StepLists in{std::move(tables), std::move(gradients), std::move(rows), std::move(first), std::move(second)};
  check(in, rule.optimizer.kind, validate);
  if (in.tables.empty()) return;
  on_device_of(
      in.tables[0],
      [&] {
        dispatch_float(in.tables[0].scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cpu::optimizer_step(steps_of<T>(in, rule), rule);
        });
      },
      [&](void* stream) {
        dispatch_storage(in.tables[0].scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          for (const auto& table : steps_of<T>(in, rule)) cuda::optimizer_step(table, rule, stream);
        });
      });
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "optimizer_step_(Tensor(a!)[] tables, Tensor[] gradients, Tensor[] rows, Tensor(b!)[] first, "
      "Tensor(c!)[] second, str kind, float lr, float beta1, float beta2, float eps, int step, float weight_decay, "
      "bool validate) -> ()");
}

DEBIAS_IMPLEMENT(m) { m.impl("optimizer_step_", TORCH_BOX(&debias::optimizer_step_)); }
