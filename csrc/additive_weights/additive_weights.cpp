// Additive log-weights exp((a[u] + b[i] + c[l]) / T), and the segment sums that are their gradients (Chen et al. 2021).
#include <torch/csrc/stable/library.h>

#include <array>
#include <cmath>
#include <tuple>

#include "additive_weights/additive_weights_kernels.h"
#include "common/dispatch.h"
#include "common/torch_ops.h"
#include "mf_score/score_inputs.h"

namespace debias {
namespace {

using Optional = std::optional<Tensor>;

constexpr const char* kIndexNames[kAdditiveSides] = {"users", "items", "labels"};
constexpr const char* kTableNames[kAdditiveSides] = {"user_table", "item_table", "label_table"};

void check_temperature(double temperature) {
  if (!(temperature > 0 && std::isfinite(temperature)))
    value_error("temperature must be positive and finite, got ", temperature);
}

void check_indices(const Tensor& users, const Tensor& items, const Optional& labels) {
  check_dim("users", users, 1);
  check_index("users", users);
  check_like("items", items, "users", users);
  if (labels) check_like("labels", *labels, "users", users);
}

using Indices = std::array<Optional, kAdditiveSides>;

// After a kernel has found one: names the first on the CPU, and on CUDA looks for one at all.
void refuse_out_of_range(const Indices& indices, const std::array<int64_t, kAdditiveSides>& rows, int side) {
  const auto at = static_cast<size_t>(side);
  check_table_indices(kIndexNames[side], *indices[at], rows[at]);
}

Tensor additive_weights(const Tensor& user_table, const Tensor& item_table, const Optional& label_table,
                        const Tensor& users, const Tensor& items, const Optional& labels, double temperature,
                        bool validate) {
  const std::array<Optional, kAdditiveSides> tables{contiguous(Optional(user_table)), contiguous(Optional(item_table)),
                                                    contiguous(label_table)};
  check_float("user_table", user_table);
  for (size_t side = 0; side < kAdditiveSides; ++side) {
    if (!tables[side]) continue;
    check_dim(kTableNames[side], *tables[side], 1);
    check_same_dtype(kTableNames[side], *tables[side], "user_table", user_table);
    check_same_device(kTableNames[side], *tables[side], "user_table", user_table);
  }
  check_indices(users, items, labels);
  check_same_device("users", users, "user_table", user_table);
  if (label_table.has_value() != labels.has_value())
    value_error("label_table and labels must be given together, got ", labels ? "labels" : "label_table", " alone");
  check_temperature(temperature);
  const Indices indices{contiguous(Optional(users)), contiguous(Optional(items)), contiguous(labels)};
  std::array<int64_t, kAdditiveSides> rows{};
  for (size_t side = 0; side < kAdditiveSides; ++side) rows[side] = tables[side] ? tables[side]->numel() : 0;
  const Tensor weights = torch::stable::new_empty(user_table, {users.numel()});
  const auto call = [&](auto type, auto&& kernel) {
    using T = typename decltype(type)::type;
    dispatch_index(users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      AdditiveWeightsArgs<T, Index> args{{}, output<T>(weights), users.numel(), 1.0 / temperature};
      for (size_t side = 0; side < kAdditiveSides; ++side)
        args.tables[side] = {pointer<T>(tables[side]), pointer<Index>(indices[side]), rows[side]};
      kernel(args);
    });
  };
  on_device_of(
      weights,
      [&] {
        dispatch_float(weights.scalar_type(), [&](auto type) {
          call(type, [&](const auto& args) {
            const int bad = cpu::additive_weights(args);
            if (bad >= 0) refuse_out_of_range(indices, rows, bad);
          });
        });
      },
      [&](void* stream) {
        for (int side = 0; validate && side < kAdditiveSides; ++side)
          if (indices[static_cast<size_t>(side)]) refuse_out_of_range(indices, rows, side);
        dispatch_storage(weights.scalar_type(), [&](auto type) {
          call(type, [&](const auto& args) { cuda::additive_weights(args, stream); });
        });
      });
  return weights;
}

template <class T, class Index>
void gradient_on_cuda(const AdditiveGradientArgs<T, Index>& args, const Indices& indices, const Tensor& grad,
                      void* stream) {
  for (int s = 0; s < kAdditiveSides; ++s) {
    const auto side = static_cast<AdditiveSide>(s);
    if (!args.sums[s] || args.batch == 0) continue;
    if (args.rows[s] <= cuda::kCountedRows) {
      const int64_t size = cuda::counted_workspace(args.rows[s], args.batch);
      const Tensor workspace = torch::stable::new_empty(grad, {size}, ScalarType::Double);
      cuda::counted_gradient(args, side, output<double>(workspace), stream);
    } else {
      const auto [sorted, order] = sort(*indices[static_cast<size_t>(s)]);
      cuda::additive_gradient(args, side, pointer<Index>(sorted), pointer<int64_t>(order), stream);
    }
  }
}

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

// `needs`: bit 0 the user table, bit 1 the item table, bit 2 the label table.
Gradients additive_weights_backward(const Tensor& grad, const Tensor& weights, const Tensor& users, const Tensor& items,
                                    const Optional& labels, int64_t user_rows, int64_t item_rows, int64_t label_rows,
                                    double temperature, int64_t needs) {
  check_float("grad", grad);
  check_like("weights", weights, "grad", grad);
  check_indices(users, items, labels);
  check_same_shape("grad", grad, "users", users);
  check_same_device("users", users, "grad", grad);
  check_temperature(temperature);
  const std::array<int64_t, kAdditiveSides> rows{user_rows, item_rows, label_rows};
  const Indices indices{contiguous(Optional(users)), contiguous(Optional(items)), contiguous(labels)};
  const Tensor g = torch::stable::contiguous(grad), w = torch::stable::contiguous(weights);
  std::array<Optional, kAdditiveSides> sums;
  for (int side = 0; side < kAdditiveSides; ++side) {
    const auto s = static_cast<size_t>(side);
    const bool wanted = ((needs >> side) & 1) && indices[s];
    if (rows[s] < 0) value_error(kTableNames[s], " must have at least 0 rows, got ", rows[s]);
    sums[s] = wanted ? torch::stable::new_zeros(grad, {rows[s]}) : torch::stable::new_empty(grad, {0});
  }
  const auto call = [&](auto type, auto&& kernel) {
    using T = typename decltype(type)::type;
    dispatch_index(users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      AdditiveGradientArgs<T, Index> args{};
      args.grad = pointer<T>(g);
      args.weights = pointer<T>(w);
      args.batch = g.numel();
      args.inverse_temperature = 1.0 / temperature;
      for (size_t side = 0; side < kAdditiveSides; ++side) {
        args.indices[side] = pointer<Index>(indices[side]);
        args.sums[side] = output<T>(*sums[side]);
        args.rows[side] = rows[side];
      }
      kernel(args);
    });
  };
  on_device_of(
      g,
      [&] {
        dispatch_float(g.scalar_type(), [&](auto type) {
          call(type, [&](const auto& args) {
            const int bad = cpu::additive_gradient(args);
            if (bad >= 0) refuse_out_of_range(indices, rows, bad);
          });
        });
      },
      [&](void* stream) {
        dispatch_storage(g.scalar_type(), [&](auto type) {
          call(type, [&](const auto& args) { gradient_on_cuda(args, indices, g, stream); });
        });
      });
  return {*sums[kUserSide], *sums[kItemSide], *sums[kLabelSide]};
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "additive_weights(Tensor user_table, Tensor item_table, Tensor? label_table, Tensor users, Tensor items, "
      "Tensor? labels, float temperature, bool validate) -> Tensor");
  m.def(
      "additive_weights_backward(Tensor grad, Tensor weights, Tensor users, Tensor items, Tensor? labels, "
      "int user_rows, int item_rows, int label_rows, float temperature, int needs) "
      "-> (Tensor grad_user_table, Tensor grad_item_table, Tensor grad_label_table)");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("additive_weights", TORCH_BOX(&debias::additive_weights));
  m.impl("additive_weights_backward", TORCH_BOX(&debias::additive_weights_backward));
}
