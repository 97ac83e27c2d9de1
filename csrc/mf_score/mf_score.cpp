// Matrix-factorisation scores s = P[u].Q[i] + a[u] + b[i] + offset, and the gradients of its tables.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "common/dispatch.h"
#include "mf_score/row_gradients.h"

namespace debias {
namespace {

Tensor mf_score(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users, const Tensor& items,
                const std::optional<Tensor>& user_bias, const std::optional<Tensor>& item_bias,
                const std::optional<Tensor>& offset, double offset_value, bool validate) {
  const ScoreInputs in = checked_score_inputs(user_factors, item_factors, users, items, user_bias, item_bias, offset,
                                              offset_value, validate);
  const Tensor scores = torch::stable::new_empty(in.tables.user_factors, {users.numel()});
  const auto call = [&](auto type, auto&& kernel) {
    using T = typename decltype(type)::type;
    dispatch_index(users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      kernel(score_args<T, Index>(in, output<T>(scores)));
    });
  };
  on_device_of(
      scores,
      [&] {
        dispatch_float(scores.scalar_type(),
                       [&](auto type) { call(type, [](const auto& args) { cpu::mf_score(args); }); });
      },
      [&](void* stream) {
        dispatch_storage(scores.scalar_type(),
                         [&](auto type) { call(type, [&](const auto& args) { cuda::mf_score(args, stream); }); });
      });
  return scores;
}

struct BackwardInputs {
  Tables tables;
  Tensor grad;
};

BackwardInputs checked_backward(const Tensor& grad, const Tensor& user_factors, const Tensor& item_factors,
                                const Tensor& users, const Tensor& items) {
  // The forward validated the indices; the CPU looks again, since this operator can be called by itself.
  const BackwardInputs in{checked_tables(user_factors, item_factors, users, items, false),
                          torch::stable::contiguous(grad)};
  check_same_shape("grad", grad, "users", users);
  check_same_dtype("grad", grad, "user_factors", user_factors);
  check_same_device("grad", grad, "user_factors", user_factors);
  return in;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mf_score_backward(const Tensor& grad, const Tensor& user_factors,
                                                                     const Tensor& item_factors, const Tensor& users,
                                                                     const Tensor& items, int64_t needs) {
  const BackwardInputs in = checked_backward(grad, user_factors, item_factors, users, items);
  const Sides sides = sides_of(in.tables, needs);
  const auto segments = sort_sides(sides);
  const auto [user_rows, user_bias] = dense_gradient(sides[0], in.grad, segments[0]);
  const auto [item_rows, item_bias] = dense_gradient(sides[1], in.grad, segments[1]);
  return {user_rows, item_rows, user_bias, item_bias, offset_gradient(in.grad, needs)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> mf_score_backward_sparse(
    const Tensor& grad, const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
    const Tensor& items, int64_t needs) {
  const BackwardInputs in = checked_backward(grad, user_factors, item_factors, users, items);
  const Sides sides = sides_of(in.tables, needs);
  const auto segments = sort_sides(sides);
  const auto [user_indices, user_rows, user_bias] = sparse_gradient(sides[0], in.grad, segments[0]);
  const auto [item_indices, item_rows, item_bias] = sparse_gradient(sides[1], in.grad, segments[1]);
  return {user_indices, user_rows, user_bias, item_indices, item_rows, item_bias, offset_gradient(in.grad, needs)};
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "mf_score(Tensor user_factors, Tensor item_factors, Tensor users, Tensor items, Tensor? user_bias, "
      "Tensor? item_bias, Tensor? offset, float offset_value, bool validate) -> Tensor");
  m.def(
      "mf_score_backward(Tensor grad, Tensor user_factors, Tensor item_factors, Tensor users, Tensor items, int needs) "
      "-> (Tensor grad_user_factors, Tensor grad_item_factors, Tensor grad_user_bias, Tensor grad_item_bias, "
      "Tensor grad_offset)");
  m.def(
      "mf_score_backward_sparse(Tensor grad, Tensor user_factors, Tensor item_factors, Tensor users, Tensor items, "
      "int needs) -> (Tensor user_indices, Tensor grad_user_rows, Tensor grad_user_bias, Tensor item_indices, "
      "Tensor grad_item_rows, Tensor grad_item_bias, Tensor grad_offset)");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("mf_score", TORCH_BOX(&debias::mf_score));
  m.impl("mf_score_backward", TORCH_BOX(&debias::mf_score_backward));
  m.impl("mf_score_backward_sparse", TORCH_BOX(&debias::mf_score_backward_sparse));
}
