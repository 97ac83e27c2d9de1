// Where rated pairs stand by user and by item; the sorts themselves are torch's.
#include "block/block_device.cuh"

namespace debias {
namespace {

constexpr int kThreads = 256;

template <class Index>
__global__ void rated_keys_kernel(const Index* rows, const Index* columns, int64_t count, int64_t m, int64_t n,
                                  int64_t* keys) {
  for (int64_t k = first_thread(); k < count; k += thread_stride()) {
    const int64_t row = static_cast<int64_t>(rows[k]), column = static_cast<int64_t>(columns[k]);
    const bool valid = in_range(row, m) && in_range(column, n);
    keys[k] = valid ? row * n + column : m * n;
  }
}

// offsets[r] = the first of `sorted` that is not below r * step
__global__ void offsets_kernel(const int64_t* sorted, int64_t count, int64_t rows, int64_t step, int64_t* offsets) {
  for (int64_t r = first_thread(); r <= rows; r += thread_stride()) offsets[r] = lower_bound(sorted, count, r * step);
}

__global__ void columns_kernel(const int64_t* keys, int64_t count, int64_t m, int64_t n, int64_t* columns) {
  for (int64_t k = first_thread(); k < count; k += thread_stride()) columns[k] = keys[k] < m * n ? keys[k] % n : n;
}

}  // namespace

namespace cuda {

template <class Index>
void rated_keys(const Index* rows, const Index* columns, int64_t count, int64_t m, int64_t n, int64_t* keys,
                void* stream) {
  launch(rated_keys_kernel<Index>, grid_size(count, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), rows,
         columns, count, m, n, keys);
}

void rated_places(const int64_t* keys, int64_t count, int64_t m, int64_t n, int64_t* offsets, int64_t* columns,
                  void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  launch(offsets_kernel, grid_size(m + 1, kThreads), kThreads, 0, on, keys, count, m, n, offsets);
  launch(columns_kernel, grid_size(count, kThreads), kThreads, 0, on, keys, count, m, n, columns);
}

void item_offsets(const int64_t* sorted_columns, int64_t count, int64_t n, int64_t* offsets, void* stream) {
  launch(offsets_kernel, grid_size(n + 1, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), sorted_columns,
         count, n, int64_t{1}, offsets);
}

template void rated_keys(const int32_t*, const int32_t*, int64_t, int64_t, int64_t, int64_t*, void*);
template void rated_keys(const int64_t*, const int64_t*, int64_t, int64_t, int64_t, int64_t*, void*);

}  // namespace cuda
}  // namespace debias
