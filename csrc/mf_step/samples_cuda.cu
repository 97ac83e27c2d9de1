// The columns of a batch, gathered on the device and looked at before a step changes anything.
#include "common/device.cuh"
#include "common/read_back.cuh"
#include "mf_step/mf_step_kernels.h"

namespace debias {
namespace {

constexpr int kThreads = 256;

__global__ void zero_kernel(double* value) { *value = 0; }

template <class Row, class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    illegal_rows_kernel(const Storage* targets, const Storage* exposures, int64_t n, unsigned long long* found) {
  using T = accumulator_t<Storage>;
  for (int64_t k = first_thread(); k < n; k += thread_stride()) {
    const T t = static_cast<T>(to_float(targets[k])), x = static_cast<T>(to_float(exposures[k]));
    if (!Row::at(T(0), t, T(1), x, T(0)).valid) atomicMax(found, is_click(t) ? 1ull : 2ull);
  }
}

template <class Index>
__global__ void gather_indices_kernel(const Index* table, const int64_t* order, int64_t begin, int64_t n,
                                      int64_t samples, int64_t rows, int64_t* indices) {
  for (int64_t k = first_thread(); k < n; k += thread_stride()) {
    const int64_t from = order ? order[begin + k] : begin + k;
    const int64_t index = in_range(from, samples) ? static_cast<int64_t>(table[from]) : -1;
    indices[k] = in_range(index, rows) ? index : -1;
  }
}

template <class T>
__global__ void gather_values_kernel(const T* table, const int64_t* order, int64_t begin, int64_t n, int64_t samples,
                                     T* values) {
  for (int64_t k = first_thread(); k < n; k += thread_stride()) {
    const int64_t from = order[begin + k];
    if (in_range(from, samples)) values[k] = table[from];
  }
}

}  // namespace

namespace cuda {

template <class Index>
void gather_indices(const Index* table, const int64_t* order, int64_t begin, int64_t n, int64_t samples, int64_t rows,
                    int64_t* indices, void* stream) {
  launch(gather_indices_kernel<Index>, grid_size(n, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), table,
         order, begin, n, samples, rows, indices);
}

template <class T>
void gather_values(const T* table, const int64_t* order, int64_t begin, int64_t n, int64_t samples, T* values,
                   void* stream) {
  launch(gather_values_kernel<T>, grid_size(n, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), table, order,
         begin, n, samples, values);
}

template <class T>
int64_t illegal_rows(RowLossKind loss, const T* targets, const T* exposures, int64_t n, int64_t* workspace,
                     void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  set_zero(reinterpret_cast<double*>(workspace), stream);  // the bits of 0.0 are those of 0
  with_row_loss(loss, false, [&](auto row) {
    launch(illegal_rows_kernel<decltype(row), T>, grid_size(n, kThreads), kThreads, 0, on, targets, exposures, n,
           reinterpret_cast<unsigned long long*>(workspace));
  });
  return read_back(workspace, on);
}

void set_zero(double* value, void* stream) { launch(zero_kernel, 1u, 1, 0, static_cast<cudaStream_t>(stream), value); }

#define DEBIAS_INSTANTIATE(T)                                                               \
  template int64_t illegal_rows(RowLossKind, const T*, const T*, int64_t, int64_t*, void*); \
  template void gather_values(const T*, const int64_t*, int64_t, int64_t, int64_t, T*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE
template void gather_indices(const int32_t*, const int64_t*, int64_t, int64_t, int64_t, int64_t, int64_t*, void*);
template void gather_indices(const int64_t*, const int64_t*, int64_t, int64_t, int64_t, int64_t, int64_t*, void*);

}  // namespace cuda
}  // namespace debias
