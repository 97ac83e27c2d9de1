// Matrix-factorisation scores s = P[u].Q[i] + a[u] + b[i] + offset, and the gradients of its tables.
#include <torch/csrc/stable/library.h>

#include <array>
#include <tuple>

#include "common/dispatch.h"
#include "common/parallel.h"
#include "common/torch_ops.h"
#include "mf_score/mf_score_kernels.h"
#include "mf_score/score_inputs.h"

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

constexpr int64_t kSortApart = 1024;  // samples from which a second thread pays for sorting the second side

// One side of the backward pass: samples grouped by `indices`, weighted rows of the other table summed.
struct Side {
  const Tensor& indices;
  const Tensor& other_factors;
  const Tensor& other;
  int64_t table_rows;
  bool want_rows, want_bias;
};

template <class T, class Index>
RowGradientArgs<T, Index> arguments(const Side& side, const Tensor& grad, const Tensor& rows, const Tensor& bias) {
  return {pointer<T>(grad),
          pointer<T>(side.other_factors),
          pointer<Index>(side.other),
          side.other_factors.size(1),
          side.other_factors.size(0),
          output<T>(rows),
          output<T>(bias)};
}

using RowsAndBias = std::tuple<Tensor, Tensor>;

// Dense: a full table of zeros where no sample points.
RowsAndBias dense_gradient(const Side& side, const Tensor& grad, const Segments& segments) {
  const int64_t d = side.other_factors.size(1);
  const bool work = side.want_rows || side.want_bias;
  const RowsAndBias out{
      side.want_rows ? torch::stable::new_zeros(grad, {side.table_rows, d}) : torch::stable::new_empty(grad, {0}),
      side.want_bias ? torch::stable::new_zeros(grad, {side.table_rows}) : torch::stable::new_empty(grad, {0})};
  if (!work || grad.numel() == 0) return out;
  const auto& [rows, bias] = out;
  dispatch_index(side.indices.scalar_type(), [&](auto index) {
    using Index = typename decltype(index)::type;
    on_device_of(
        grad,
        [&] {
          dispatch_float(grad.scalar_type(), [&](auto type) {
            using T = typename decltype(type)::type;
            cpu::row_gradient(arguments<T, Index>(side, grad, rows, bias), segments, false);
          });
        },
        [&](void* stream) {
          const auto [sorted, order] = sort(side.indices);
          dispatch_storage(grad.scalar_type(), [&](auto type) {
            using T = typename decltype(type)::type;
            cuda::row_gradient(arguments<T, Index>(side, grad, rows, bias), pointer<Index>(sorted),
                               pointer<int64_t>(order), grad.numel(), side.table_rows, stream);
          });
        });
  });
  return out;
}

using SparseRows = std::tuple<Tensor, Tensor, Tensor>;  // row indices, values, bias values

SparseRows sparse_outputs(const Side& side, const Tensor& grad, int64_t distinct) {
  return {torch::stable::new_empty(grad, {distinct}, ScalarType::Long),
          side.want_rows ? torch::stable::new_empty(grad, {distinct, side.other_factors.size(1)})
                         : torch::stable::new_empty(grad, {0}),
          side.want_bias ? torch::stable::new_empty(grad, {distinct}) : torch::stable::new_empty(grad, {0})};
}

template <class Index>
SparseRows sparse_gradient_cpu(const Side& side, const Tensor& grad, const Segments& segments) {
  const SparseRows out = sparse_outputs(side, grad, static_cast<int64_t>(segments.rows.size()));
  std::copy(segments.rows.begin(), segments.rows.end(), static_cast<int64_t*>(std::get<0>(out).mutable_data_ptr()));
  dispatch_float(grad.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cpu::row_gradient(arguments<T, Index>(side, grad, std::get<1>(out), std::get<2>(out)), segments, true);
  });
  return out;
}

template <class Index>
SparseRows sparse_gradient_cuda(const Side& side, const Tensor& grad, void* stream) {
  const int64_t batch = grad.numel();
  const auto [sorted, order] = sort(side.indices);
  const Tensor heads = torch::stable::new_empty(grad, {batch}, ScalarType::Long);
  cuda::segment_heads(pointer<Index>(sorted), batch, output<int64_t>(heads), stream);
  const Tensor slots = cumsum(heads);
  const int64_t distinct = cuda::read_last(pointer<int64_t>(slots), batch, stream);
  const SparseRows out = sparse_outputs(side, grad, distinct);
  dispatch_storage(grad.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::compact_row_gradient(arguments<T, Index>(side, grad, std::get<1>(out), std::get<2>(out)),
                               pointer<Index>(sorted), pointer<int64_t>(order), pointer<int64_t>(slots), batch,
                               side.table_rows, output<int64_t>(std::get<0>(out)), stream);
  });
  return out;
}

SparseRows sparse_gradient(const Side& side, const Tensor& grad, const Segments& segments) {
  SparseRows out = sparse_outputs(side, grad, 0);
  if (!(side.want_rows || side.want_bias) || grad.numel() == 0) return out;
  dispatch_index(side.indices.scalar_type(), [&](auto index) {
    using Index = typename decltype(index)::type;
    on_device_of(
        grad, [&] { out = sparse_gradient_cpu<Index>(side, grad, segments); },
        [&](void* stream) { out = sparse_gradient_cuda<Index>(side, grad, stream); });
  });
  return out;
}

// Bits of `needs`, in the order of the differentiable arguments of mf_score.
enum Need { kUserFactors = 1, kItemFactors = 2, kUserBias = 4, kItemBias = 8, kOffset = 16 };

struct BackwardInputs {
  Tables tables;
  Tensor grad;
  Side users() const { return side(tables.users, tables.item_factors, tables.items, tables.user_factors.size(0)); }
  Side items() const { return side(tables.items, tables.user_factors, tables.users, tables.item_factors.size(0)); }
  int64_t needs;

 private:
  Side side(const Tensor& indices, const Tensor& other_factors, const Tensor& other, int64_t rows) const {
    const bool user = &indices == &tables.users;
    return {indices,
            other_factors,
            other,
            rows,
            (needs & (user ? kUserFactors : kItemFactors)) != 0,
            (needs & (user ? kUserBias : kItemBias)) != 0};
  }
};

BackwardInputs checked_backward(const Tensor& grad, const Tensor& user_factors, const Tensor& item_factors,
                                const Tensor& users, const Tensor& items, int64_t needs) {
  // The forward validated the indices; the CPU looks again, since this operator can be called by itself.
  BackwardInputs in{checked_tables(user_factors, item_factors, users, items, false), torch::stable::contiguous(grad),
                    needs};
  check_same_shape("grad", grad, "users", users);
  check_same_dtype("grad", grad, "user_factors", user_factors);
  check_same_device("grad", grad, "user_factors", user_factors);
  return in;
}

// On the CPU the samples of both sides are grouped at the same time; on CUDA each side sorts by itself.
std::array<Segments, 2> sort_sides(const BackwardInputs& in) {
  std::array<Segments, 2> segments;
  const std::array<Side, 2> sides{in.users(), in.items()};
  const int64_t batch = in.grad.numel();
  if (batch == 0) return segments;
  const auto sort_side = [&](int64_t which, int64_t, int64_t) {
    const Side& side = sides[static_cast<size_t>(which)];
    if (!(side.want_rows || side.want_bias)) return;
    dispatch_index(side.indices.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      segments[static_cast<size_t>(which)] = make_segments(pointer<Index>(side.indices), batch, side.table_rows);
    });
  };
  on_device_of(in.grad, [&] { parallel_blocks(2, 1, batch < kSortApart ? 2 : 0, sort_side); }, [](void*) {});
  return segments;
}

Tensor offset_gradient(const BackwardInputs& in) {
  if (!(in.needs & kOffset)) return torch::stable::new_empty(in.grad, {0});
  const Tensor sum = torch::stable::new_empty(in.grad, {});
  on_device_of(
      sum,
      [&] {
        dispatch_float(in.grad.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          *output<T>(sum) = static_cast<T>(cpu::ordered_sum(pointer<T>(in.grad), in.grad.numel()));
        });
      },
      [&](void* stream) {
        dispatch_storage(in.grad.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::ordered_sum(pointer<T>(in.grad), in.grad.numel(), output<T>(sum), stream);
        });
      });
  return sum;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> mf_score_backward(const Tensor& grad, const Tensor& user_factors,
                                                                     const Tensor& item_factors, const Tensor& users,
                                                                     const Tensor& items, int64_t needs) {
  const BackwardInputs in = checked_backward(grad, user_factors, item_factors, users, items, needs);
  const auto segments = sort_sides(in);
  const auto [user_rows, user_bias] = dense_gradient(in.users(), in.grad, segments[0]);
  const auto [item_rows, item_bias] = dense_gradient(in.items(), in.grad, segments[1]);
  return {user_rows, item_rows, user_bias, item_bias, offset_gradient(in)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> mf_score_backward_sparse(
    const Tensor& grad, const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
    const Tensor& items, int64_t needs) {
  const BackwardInputs in = checked_backward(grad, user_factors, item_factors, users, items, needs);
  const auto segments = sort_sides(in);
  const auto [user_indices, user_rows, user_bias] = sparse_gradient(in.users(), in.grad, segments[0]);
  const auto [item_indices, item_rows, item_bias] = sparse_gradient(in.items(), in.grad, segments[1]);
  return {user_indices, user_rows, user_bias, item_indices, item_rows, item_bias, offset_gradient(in)};
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
