#include "mf_score/row_gradients.h"

#include <algorithm>

#include "common/dispatch.h"
#include "common/parallel.h"
#include "common/torch_ops.h"

namespace debias {
namespace {

constexpr int64_t kSortApart = 1024;  // samples from which a second thread pays for sorting the second side

SparseRows sparse_outputs(const Side& side, const Tensor& like, int64_t distinct) {
  return {torch::stable::new_empty(like, {distinct}, ScalarType::Long),
          side.want_rows ? torch::stable::new_empty(like, {distinct, side.other_factors.size(1)})
                         : torch::stable::new_empty(like, {0}),
          side.want_bias ? torch::stable::new_empty(like, {distinct}) : torch::stable::new_empty(like, {0})};
}

void gradient_cpu(const Side& side, const Tensor& grad, const Segments& segments, bool compact, const Tensor& rows,
                  const Tensor& bias) {
  dispatch_index(side.indices.scalar_type(), [&](auto index) {
    using Index = typename decltype(index)::type;
    dispatch_float(grad.scalar_type(), [&](auto type) {
      using T = typename decltype(type)::type;
      cpu::row_gradient(row_gradient_args<T, Index>(side, grad, rows, bias), segments, compact);
    });
  });
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
    cuda::compact_row_gradient(row_gradient_args<T, Index>(side, grad, std::get<1>(out), std::get<2>(out)),
                               pointer<Index>(sorted), pointer<int64_t>(order), pointer<int64_t>(slots), batch,
                               side.table_rows, output<int64_t>(std::get<0>(out)), stream);
  });
  return out;
}

}  // namespace

Sides sides_of(const Tables& tables, int64_t needs) {
  const auto has = [&](Need bit) { return (needs & bit) != 0; };
  return {Side{tables.users, tables.item_factors, tables.items, tables.user_factors.size(0), has(kUserFactors),
               has(kUserBias)},
          Side{tables.items, tables.user_factors, tables.users, tables.item_factors.size(0), has(kItemFactors),
               has(kItemBias)}};
}

std::array<Segments, 2> sort_sides(const Sides& sides) {
  std::array<Segments, 2> segments;
  const Tensor& users = sides[0].indices;
  const int64_t batch = users.numel();
  const auto sort_side = [&](int64_t which, int64_t, int64_t) {
    const Side& side = sides[static_cast<size_t>(which)];
    if (!side.wanted()) return;
    dispatch_index(side.indices.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      segments[static_cast<size_t>(which)] = make_segments(pointer<Index>(side.indices), batch, side.table_rows);
    });
  };
  on_device_of(users, [&] { parallel_blocks(2, 1, batch < kSortApart ? 2 : 0, sort_side); }, [](void*) {});
  return segments;
}

RowsAndBias dense_gradient(const Side& side, const Tensor& grad, const Segments& segments) {
  const int64_t d = side.other_factors.size(1);
  const RowsAndBias out{
      side.want_rows ? torch::stable::new_zeros(grad, {side.table_rows, d}) : torch::stable::new_empty(grad, {0}),
      side.want_bias ? torch::stable::new_zeros(grad, {side.table_rows}) : torch::stable::new_empty(grad, {0})};
  if (!side.wanted() || grad.numel() == 0) return out;
  const auto& [rows, bias] = out;
  on_device_of(
      grad, [&] { gradient_cpu(side, grad, segments, false, rows, bias); },
      [&](void* stream) {
        const auto [sorted, order] = sort(side.indices);
        dispatch_index(side.indices.scalar_type(), [&](auto index) {
          using Index = typename decltype(index)::type;
          dispatch_storage(grad.scalar_type(), [&](auto type) {
            using T = typename decltype(type)::type;
            cuda::row_gradient(row_gradient_args<T, Index>(side, grad, rows, bias), pointer<Index>(sorted),
                               pointer<int64_t>(order), grad.numel(), side.table_rows, stream);
          });
        });
      });
  return out;
}

SparseRows sparse_gradient(const Side& side, const Tensor& grad, const Segments& segments) {
  SparseRows out = sparse_outputs(side, grad, static_cast<int64_t>(segments.rows.size()));
  if (!side.wanted() || grad.numel() == 0) return out;
  on_device_of(
      grad,
      [&] {
        std::copy(segments.rows.begin(), segments.rows.end(), output<int64_t>(std::get<0>(out)));
        gradient_cpu(side, grad, segments, true, std::get<1>(out), std::get<2>(out));
      },
      [&](void* stream) {
        dispatch_index(side.indices.scalar_type(), [&](auto index) {
          using Index = typename decltype(index)::type;
          out = sparse_gradient_cuda<Index>(side, grad, stream);
        });
      });
  return out;
}

Tensor offset_gradient(const Tensor& grad, int64_t needs) {
  if (!(needs & kOffset)) return torch::stable::new_empty(grad, {0});
  const Tensor sum = torch::stable::new_empty(grad, {});
  on_device_of(
      sum,
      [&] {
        dispatch_float(grad.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          *output<T>(sum) = static_cast<T>(cpu::ordered_sum(pointer<T>(grad), grad.numel()));
        });
      },
      [&](void* stream) {
        dispatch_storage(grad.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          cuda::ordered_sum(pointer<T>(grad), grad.numel(), output<T>(sum), stream);
        });
      });
  return sum;
}

}  // namespace debias
