#include "block/block_inputs.h"

#include <limits>

#include "common/torch_ops.h"
#include "mf_score/score_inputs.h"

namespace debias {
namespace {

void check_rated(const RatedTensors& rated, const Tensor& user_factors) {
  check_dim("rated rows", rated.rows, 1);
  check_index("rated rows", rated.rows);
  check_same_device("rated rows", rated.rows, "user_factors", user_factors);
  check_like("rated columns", rated.columns, "rated rows", rated.rows);
  check_same_shape("rated targets", rated.targets, "rated rows", rated.rows);
  check_same_dtype("rated targets", rated.targets, "user_factors", user_factors);
  check_same_device("rated targets", rated.targets, "user_factors", user_factors);
  check_like_pairs("rated weights", rated.weights, rated.targets);
}

RatedPlaces sorted_places(const RatedTensors& rated, int64_t m, int64_t n) {
  RatedPlaces places;
  const int64_t count = rated.rows.numel();
  dispatch_index(rated.rows.scalar_type(), [&](auto index) {
    using Index = typename decltype(index)::type;
    const Index *rows = pointer<Index>(rated.rows), *columns = pointer<Index>(rated.columns);
    on_device_of(
        rated.rows, [&] { places.order = cpu::sort_rated(rows, columns, count, m, n); },
        [&](void* stream) {
          const auto integers = [&](int64_t size) {
            return torch::stable::new_empty(rated.rows, {size}, ScalarType::Long);
          };
          const Tensor keys = integers(count);
          cuda::rated_keys(rows, columns, count, m, n, output<int64_t>(keys), stream);
          const auto [sorted, positions] = sort(keys);
          places.positions = positions;
          places.offsets = integers(m + 1), places.columns = integers(count);
          cuda::rated_places(pointer<int64_t>(sorted), count, m, n, output<int64_t>(*places.offsets),
                             output<int64_t>(*places.columns), stream);
        });
  });
  return places;
}

double pairs_scale(const std::string& reduction, int64_t m, int64_t n) {
  if (reduction == "sum") return 1.0;
  if (reduction != "mean") value_error("reduction must be 'sum' or 'mean', got '", reduction, "'");
  return m == 0 || n == 0 ? 1.0 : 1.0 / (static_cast<double>(m) * static_cast<double>(n));
}

}  // namespace

TableTensors checked_tables(const std::string& name, const TableTensors& tables, const Tensor& user_factors,
                            const Tensor& item_factors) {
  const auto check = [&](const char* part, const Tensor& tensor, int64_t rows, bool factors) {
    const std::string full = name + part;
    check_same_device(full.c_str(), tensor, "user_factors", user_factors);
    check_same_dtype(full.c_str(), tensor, "user_factors", user_factors);
    check_dim(full.c_str(), tensor, factors ? 2 : 1);
    if (tensor.size(0) != rows) value_error(full, " must have ", rows, " rows, got shape ", shape_of(tensor));
  };
  check("user_factors", tables.user_factors, user_factors.size(0), true);
  check("item_factors", tables.item_factors, item_factors.size(0), true);
  if (tables.item_factors.size(1) != tables.user_factors.size(1))
    value_error(name, "item_factors must have as many columns as ", name, "user_factors, ", tables.user_factors.size(1),
                ", got ", tables.item_factors.size(1));
  if (tables.user_bias) check("user_bias", *tables.user_bias, user_factors.size(0), false);
  if (tables.item_bias) check("item_bias", *tables.item_bias, item_factors.size(0), false);
  return {torch::stable::contiguous(tables.user_factors), torch::stable::contiguous(tables.item_factors),
          contiguous(tables.user_bias), contiguous(tables.item_bias)};
}

void check_like_pairs(const char* name, const std::optional<Tensor>& values, const Tensor& targets) {
  if (values) check_like(name, *values, "rated targets", targets);
}

BlockInputs checked_block(const TableTensors& student, const RatedTensors& rated, const std::string& reduction,
                          bool validate) {
  check_dim("user_factors", student.user_factors, 2);
  check_float("user_factors", student.user_factors);
  check_dim("item_factors", student.item_factors, 2);
  const int64_t m = student.user_factors.size(0), n = student.item_factors.size(0);
  BlockInputs in;
  in.student = checked_tables("", student, student.user_factors, student.item_factors);
  check_rated(rated, student.user_factors);
  in.rated = {torch::stable::contiguous(rated.targets), contiguous(rated.weights),
              torch::stable::contiguous(rated.rows), torch::stable::contiguous(rated.columns)};
  in.scale = pairs_scale(reduction, m, n);
  const bool mean_of_nothing = reduction == "mean" && (m == 0 || n == 0);
  in.loss_scale = mean_of_nothing ? std::numeric_limits<double>::quiet_NaN() : in.scale;
  if (validate || !runs_cuda_kernels(rated.rows)) {
    check_table_indices("rated rows", in.rated.rows, m);
    check_table_indices("rated columns", in.rated.columns, n);
  }
  in.places = sorted_places(in.rated, m, n);
  return in;
}

}  // namespace debias
