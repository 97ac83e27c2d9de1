// The steps of a plan on CUDA: gathered, sorted and launched batch by batch on one stream, without waiting for it.
#pragma once

#include <algorithm>
#include <vector>

#include "common/torch_ops.h"
#include "mf_step/mf_step_kernels.h"

namespace debias {

template <class T, class Index>
void device_step(const Model<T, accumulator_t<T>>& model, const Samples<T, Index>& samples, const Tensor& like,
                 const int64_t* order, int64_t begin, int64_t n, const StepOptions& options, double* total,
                 void* stream) {
  using A = accumulator_t<T>;
  const auto room = [&](int64_t size, ScalarType type) { return torch::stable::new_empty(like, {size}, type); };
  const auto indices = [&](const Index* table, int64_t rows) {
    const Tensor gathered = room(n, ScalarType::Long);
    cuda::gather_indices(table, order, begin, n, samples.n, rows, output<int64_t>(gathered), stream);
    return gathered;
  };
  std::vector<Tensor> columns;
  const auto values = [&](const T* column) -> const T* {
    if (!column || !order) return column ? column + begin : nullptr;
    columns.push_back(room(n, like.scalar_type()));
    cuda::gather_values(column, order, begin, n, samples.n, output<T>(columns.back()), stream);
    return pointer<T>(columns.back());
  };
  const Tensor users = indices(samples.users, model.users.n), items = indices(samples.items, model.items.n);
  const T *targets = values(samples.targets), *weights = values(samples.weights);
  const T *exposures = values(samples.exposures), *pseudo_targets = values(samples.pseudo_targets);
  const auto [sorted_users, user_order] = sort(users);
  const auto [sorted_items, item_order] = sort(items);
  const ScalarType accumulator = sizeof(A) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  const Tensor slopes = room(n, accumulator), losses = room(n, accumulator);
  const Tensor saved = room(n * model.factors, like.scalar_type()), saved_row = room(n, ScalarType::Long);
  cuda::mf_step(model,
                cuda::DeviceBatch<T>{n, pointer<int64_t>(users), pointer<int64_t>(items), targets, weights, exposures,
                                     pseudo_targets, pointer<int64_t>(sorted_users), pointer<int64_t>(user_order),
                                     pointer<int64_t>(sorted_items), pointer<int64_t>(item_order), output<A>(slopes),
                                     output<A>(losses), output<T>(saved), output<int64_t>(saved_row), total},
                options, stream);
}

// `total` becomes the sum of the losses; `like` is a tensor of the tables' dtype and device.
template <class T, class Index>
void device_steps(const Model<T, accumulator_t<T>>& model, const Samples<T, Index>& samples, const Tensor& like,
                  const EpochPlan& plan, StepOptions options, double* total, void* stream) {
  cuda::set_zero(total, stream);
  for (int64_t batch = plan.start; batch < plan.stop; ++batch, ++options.optimizer.step) {
    const int64_t begin = batch * plan.batch_size;
    const int64_t n = std::min(plan.batch_size, samples.n - begin);
    device_step(model, samples, like, plan.order, begin, n, options, total, stream);
  }
}

}  // namespace debias
