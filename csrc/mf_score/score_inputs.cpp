#include "mf_score/score_inputs.h"

#include "common/dispatch.h"
#include "common/index_check.h"

namespace debias {
namespace {

template <class Index>
void check_indices(const char* name, const Tensor& indices, int64_t rows) {
  const Index* values = pointer<Index>(indices);
  on_device_of(
      indices, [&] { check_indices_cpu(name, values, indices.numel(), rows); },
      [&](void* stream) {
        const Tensor workspace = torch::stable::new_empty(indices, {1}, ScalarType::Long);
        const int64_t at = cuda::first_out_of_range(values, indices.numel(), rows, output<int64_t>(workspace), stream);
        if (at >= 0) index_error(name, " must be in [0, ", rows, "), got another index at position ", at);
      });
}

void check_bias(const char* name, const std::optional<Tensor>& bias, const Tensor& factors) {
  if (!bias) return;
  check_shape(name, *bias, {factors.size(0)});
  check_same_dtype(name, *bias, "user_factors", factors);
  check_same_device(name, *bias, "user_factors", factors);
}

}  // namespace

void check_table_shapes(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                        const Tensor& items) {
  check_dim("user_factors", user_factors, 2);
  check_float("user_factors", user_factors);
  check_dim("item_factors", item_factors, 2);
  check_same_dtype("item_factors", item_factors, "user_factors", user_factors);
  check_same_device("item_factors", item_factors, "user_factors", user_factors);
  if (item_factors.size(1) != user_factors.size(1))
    value_error("item_factors must have as many columns as user_factors, ", user_factors.size(1), ", got ",
                item_factors.size(1));
  check_dim("users", users, 1);
  check_index("users", users);
  check_same_device("users", users, "user_factors", user_factors);
  check_like("items", items, "users", users);
}

void check_table_indices(const char* name, const Tensor& indices, int64_t rows) {
  dispatch_index(indices.scalar_type(), [&](auto index) {
    using Index = typename decltype(index)::type;
    check_indices<Index>(name, indices, rows);
  });
}

Tables checked_tables(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users, const Tensor& items,
                      bool validate) {
  check_table_shapes(user_factors, item_factors, users, items);
  const Tables tables{torch::stable::contiguous(user_factors), torch::stable::contiguous(item_factors),
                      torch::stable::contiguous(users), torch::stable::contiguous(items)};
  if (validate || !runs_cuda_kernels(users)) {
    check_table_indices("users", tables.users, user_factors.size(0));
    check_table_indices("items", tables.items, item_factors.size(0));
  }
  return tables;
}

ScoreInputs checked_score_inputs(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                                 const Tensor& items, const std::optional<Tensor>& user_bias,
                                 const std::optional<Tensor>& item_bias, const std::optional<Tensor>& offset,
                                 double offset_value, bool validate) {
  const Tables tables = checked_tables(user_factors, item_factors, users, items, validate);
  check_bias("user_bias", user_bias, user_factors);
  check_bias("item_bias", item_bias, item_factors);
  check_finite("offset", offset_value);
  if (offset) {
    check_shape("offset", *offset, {});
    check_same_dtype("offset", *offset, "user_factors", user_factors);
    check_same_device("offset", *offset, "user_factors", user_factors);
  }
  return {tables, contiguous(user_bias), contiguous(item_bias), offset, offset_value};
}

}  // namespace debias
