#include "common/device.cuh"
#include "fm_interaction/fm_kernels.h"

namespace debias {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 8;  // threads that share one sample

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1) fm_kernel(FMArgs<Storage> args, Storage* out) {
  using T = accumulator_t<Storage>;
  const int lane = threadIdx.x % kLanes;
  const int64_t groups = thread_stride() / kLanes, first = first_thread() / kLanes;
  // Every lane makes every round, so that the shuffles always meet.
  for (int64_t round = 0; round * groups < args.batch; ++round) {
    const int64_t b = round * groups + first;
    T sum = 0;
    if (b < args.batch)
      for (int64_t i = lane; i < args.width; i += kLanes) {
        const Storage* component = args.fields + b * args.n_fields * args.width + i;
        T total;
        fm::pairs(args.n_fields, [&](int64_t f, T& value) { value = to_float(component[f * args.width]); }, total);
        sum += total;
      }
    sum = lanes_sum<kLanes>(sum);
    if (b < args.batch && lane == 0) out[b] = from_float<Storage>(sum);
  }
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    fm_backward_kernel(FMArgs<Storage> args, const Storage* grad, Storage* to_fields) {
  using T = accumulator_t<Storage>;
  for (int64_t k = first_thread(); k < args.batch * args.width; k += thread_stride()) {
    const int64_t b = k / args.width, begin = b * args.n_fields * args.width + k % args.width;
    fm::slopes<T>(
        args.n_fields, to_float(grad[b]),
        [&](int64_t f, T& value) { value = to_float(args.fields[begin + f * args.width]); },
        [&](int64_t f, T slope) { to_fields[begin + f * args.width] = from_float<Storage>(slope); });
  }
}

}  // namespace

namespace cuda {

template <class Storage>
void fm_interaction(const FMArgs<Storage>& args, Storage* out, void* stream) {
  launch(fm_kernel<Storage>, grid_size(args.batch, kThreads / kLanes), kThreads, 0, static_cast<cudaStream_t>(stream),
         args, out);
}

template <class Storage>
void fm_interaction_backward(const FMArgs<Storage>& args, const Storage* grad, Storage* to_fields, void* stream) {
  launch(fm_backward_kernel<Storage>, grid_size(args.batch * args.width, kThreads), kThreads, 0,
         static_cast<cudaStream_t>(stream), args, grad, to_fields);
}

#define DEBIAS_INSTANTIATE(T)                                \
  template void fm_interaction(const FMArgs<T>&, T*, void*); \
  template void fm_interaction_backward(const FMArgs<T>&, const T*, T*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
