#include "common/device.cuh"
#include "optimizer_step/optimizer_step_kernels.h"
#include "optimizer_step/update_one.cuh"

namespace debias {
namespace {

constexpr int kThreads = 256;

struct Place {
  int64_t at, from;  // of a parameter and its gradient; -1: nothing to update, no gradient
};

// The k-th parameter that the step visits.
template <class Storage>
__device__ __forceinline__ Place place_of(const TableStep<Storage>& step, int64_t k) {
  if (!step.sparse) return {k, k};
  const int64_t d = step.width, visited = k / d, f = k % d;
  if (step.every_row) {
    const int64_t j = lower_bound(step.rows, step.touched, visited);
    return {k, j < step.touched && step.rows[j] == visited ? j * d + f : -1};
  }
  const int64_t row = step.rows[visited];
  const bool legal = in_range(row, step.n) && (visited == 0 || step.rows[visited - 1] < row);
  return {legal ? row * d + f : -1, k};
}

template <class Rule, class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    optimizer_kernel(TableStep<Storage> step, StepRule<accumulator_t<Storage>> rule, accumulator_t<Storage> decay,
                     int64_t values) {
  using T = accumulator_t<Storage>;
  for (int64_t k = first_thread(); k < values; k += thread_stride()) {
    const Place place = place_of(step, k);
    if (place.at < 0) continue;
    const T g = place.from < 0 ? T(0) : static_cast<T>(to_float(step.gradient[place.from]));
    update_one<Rule>(step.table, step.first, step.second, place.at, g, decay, rule);
  }
}

}  // namespace

namespace cuda {

template <class Storage>
void optimizer_step(const TableStep<Storage>& step, const TableRule& given, void* stream) {
  using T = accumulator_t<Storage>;
  const int64_t values = step.visited() * step.width;
  with_rule(given.optimizer.kind, [&](auto rule) {
    launch(optimizer_kernel<decltype(rule), Storage>, grid_size(values, kThreads), kThreads, 0,
           static_cast<cudaStream_t>(stream), step, step_rule<T>(given.optimizer), static_cast<T>(given.weight_decay),
           values);
  });
}

#define DEBIAS_INSTANTIATE(T) template void optimizer_step(const TableStep<T>&, const TableRule&, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
