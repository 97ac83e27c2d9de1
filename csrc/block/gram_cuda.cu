#include "block/gram.h"
#include "common/device.cuh"

namespace debias {
namespace {

constexpr int kThreads = 256;
constexpr int kLanesPerRow = 32;
constexpr int64_t kRowsPerShare = 256;  // at least; the shares depend on the rows alone
constexpr int64_t kMaxShares = 128;

int64_t share_rows(int64_t rows) {
  const int64_t share = (rows + kMaxShares - 1) / kMaxShares;
  return share < kRowsPerShare ? kRowsPerShare : share;
}

int64_t share_count(int64_t rows) { return (rows + share_rows(rows) - 1) / share_rows(rows); }

// Component j of [factors, bias, unit] or [factors, unit, bias - c], 0 beyond.
template <class Storage>
__device__ __forceinline__ double component(const GramRows<Storage>& rows, int64_t r, int64_t j, double shift) {
  if (j < rows.d) return static_cast<double>(to_float(rows.factors[r * rows.d + j]));
  if (j == rows.bias_component()) return rows.bias_of(r, shift);
  return j == rows.unit_component() ? rows.unit : 0.0;
}

// One thread an entry of the matrix, one block row of the grid a share of the rows.
template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    products_kernel(GramRows<Storage> x, GramRows<Storage> y, int64_t share, int64_t size, double* partial) {
  const int64_t y_width = gram_width(y.d);
  const double x_shift = x.shift(), y_shift = y.shift();
  const int64_t first = static_cast<int64_t>(blockIdx.y) * share;
  const int64_t last = first + share < x.rows ? first + share : x.rows;
  for (int64_t entry = first_thread(); entry < size; entry += thread_stride()) {
    double sum = 0;
    for (int64_t r = first; r < last; ++r)
      sum += x.weight_of(r) * component(x, r, entry / y_width, x_shift) * component(y, r, entry % y_width, y_shift);
    partial[blockIdx.y * size + entry] = sum;
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    add_shares_kernel(const double* partial, int64_t shares, int64_t size, double* sums) {
  for (int64_t entry = first_thread(); entry < size; entry += thread_stride()) {
    double sum = 0;
    for (int64_t share = 0; share < shares; ++share) sum += partial[share * size + entry];
    sums[entry] = sum;
  }
}

// (M x)_j = sum_k x_k matrix[k][j]
template <class Storage>
__device__ __forceinline__ double product(const GramRows<Storage>& x, int64_t r, double shift, const double* matrix,
                                          int64_t width, int64_t j) {
  double sum = 0;
  for (int64_t k = 0; k < x.d + 2; ++k) sum += component(x, r, k, shift) * matrix[k * width + j];
  return sum;
}

// One warp a row.
template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    gradients_kernel(GramRows<Storage> x, const double* matrix, GramGradients<Storage> out, bool accumulate) {
  using T = accumulator_t<Storage>;
  const int lane = threadIdx.x % kLanesPerRow;
  const int64_t width = gram_width(out.d), warps = static_cast<int64_t>(gridDim.x) * (kThreads / kLanesPerRow);
  const double shift = x.shift();
  const auto write = [&](Storage* to, double value) {
    *to = from_float<Storage>(static_cast<T>(value) + (accumulate ? static_cast<T>(to_float(*to)) : T(0)));
  };
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanesPerRow) + threadIdx.x / kLanesPerRow;
       r < x.rows; r += warps) {
    const double factor = out.scale * x.weight_of(r);
    double square = 0;
    for (int64_t j = lane; j < out.d + 2; j += kLanesPerRow) {
      const double value = product(x, r, shift, matrix, width, j);
      if (out.factors && j < out.d) write(out.factors + r * out.d + j, factor * value);
      if (out.bias && j == out.bias_component) write(out.bias + r, factor * value);
      if (out.weight) square += component(x, r, j, shift) * value;
    }
    if (!out.weight) continue;
    square = lanes_sum<kLanesPerRow>(square);
    if (lane == 0) out.weight[r] = from_float<Storage>(static_cast<T>(out.weight_scale * square));
  }
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    contractions_kernel(GramRows<Storage> x, GramRows<Storage> directions, const double* gram, const double* cross,
                        double scale, Storage* out) {
  using T = accumulator_t<Storage>;
  const int lane = threadIdx.x % kLanesPerRow;
  const int64_t width = gram_width(x.d), warps = static_cast<int64_t>(gridDim.x) * (kThreads / kLanesPerRow);
  const double shift = x.shift();
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanesPerRow) + threadIdx.x / kLanesPerRow;
       r < x.rows; r += warps) {
    double sum = 0;
    for (int64_t j = lane; j < x.d + 2; j += kLanesPerRow)
      sum += component(directions, r, j, 0.0) * product(x, r, shift, gram, width, j) +
             component(x, r, j, shift) * product(x, r, shift, cross, width, j);
    sum = lanes_sum<kLanesPerRow>(sum);
    if (lane == 0) out[r] = from_float<Storage>(static_cast<T>(scale * sum));
  }
}

}  // namespace

namespace cuda {

int64_t gram_products_workspace(int64_t rows, int64_t x_factors, int64_t y_factors) {
  return share_count(rows) * (x_factors + 2) * gram_width(y_factors);
}

template <class T>
void gram_products(const GramRows<T>& x, const GramRows<T>& y, double* workspace, double* sums, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const int64_t size = (x.d + 2) * gram_width(y.d), shares = share_count(x.rows);
  const unsigned columns = grid_size(size, kThreads);
  launch(products_kernel<T>, dim3(columns, static_cast<unsigned>(shares), 1), kThreads, 0, on, x, y, share_rows(x.rows),
         size, workspace);
  launch(add_shares_kernel, columns, kThreads, 0, on, static_cast<const double*>(workspace), shares, size, sums);
}

template <class T>
void gram_gradients(const GramRows<T>& x, const double* matrix, const GramGradients<T>& out, bool accumulate,
                    void* stream) {
  launch(gradients_kernel<T>, grid_size(x.rows, kThreads / kLanesPerRow), kThreads, 0,
         static_cast<cudaStream_t>(stream), x, matrix, out, accumulate);
}

template <class T>
void gram_contractions(const GramRows<T>& x, const GramRows<T>& directions, const double* other_gram,
                       const double* other_cross, double scale, T* out, void* stream) {
  launch(contractions_kernel<T>, grid_size(x.rows, kThreads / kLanesPerRow), kThreads, 0,
         static_cast<cudaStream_t>(stream), x, directions, other_gram, other_cross, scale, out);
}

#define DEBIAS_INSTANTIATE(T)                                                                                       \
  template void gram_products(const GramRows<T>&, const GramRows<T>&, double*, double*, void*);                     \
  template void gram_gradients(const GramRows<T>&, const double*, const GramGradients<T>&, bool, void*);            \
  template void gram_contractions(const GramRows<T>&, const GramRows<T>&, const double*, const double*, double, T*, \
                                  void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
