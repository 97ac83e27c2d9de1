#include "block/gram.h"

#include <algorithm>
#include <vector>

#include "common/parallel.h"
#include "common/simd.h"

namespace debias {
namespace {

constexpr int64_t kRowsAtOnce = 4;            // rows that share one pass over the sums
constexpr int64_t kProductRows = 256;         // rows of one partial sum, at least
constexpr int64_t kMaxPartials = 64;          // a function of the rows alone, whatever the threads
constexpr int64_t kApplyRows = 128;           // rows of one task
constexpr int64_t kSerialBelowFlops = 40000;  // multiplications that a second thread does not pay for

// The row [factors, bias, unit] or [factors, unit, bias - c] in double, zero up to its padded width.
template <class T>
DEBIAS_HD void read_row(const GramRows<T>& rows, int64_t r, double shift, int64_t width, double* __restrict out) {
  const int64_t d = rows.d;
  const T* __restrict factors = rows.factors + r * d;
  for (int64_t j = 0; j < d; ++j) out[j] = static_cast<double>(factors[j]);
  for (int64_t j = d; j < width; ++j) out[j] = 0;
  out[rows.bias_component()] = rows.bias_of(r, shift);
  out[rows.unit_component()] = rows.unit;
}

template <class T>
struct ProductsBlock {
  // buffer: kRowsAtOnce rows of each table; the rows behind the last one are zero.
  static DEBIAS_HD void run(const GramRows<T>* x, const GramRows<T>* y, int64_t begin, int64_t end, double* buffer,
                            double* __restrict sums) {
    const int64_t x_width = gram_width(x->d), y_width = gram_width(y->d), x_components = x->d + 2;
    const double x_shift = x->shift(), y_shift = y->shift();
    double* const x_rows = buffer;
    double* const y_rows = buffer + kRowsAtOnce * x_width;
    for (int64_t first = begin; first < end; first += kRowsAtOnce) {
      for (int64_t r = 0; r < kRowsAtOnce; ++r) {
        double* const x_row = x_rows + r * x_width;
        if (first + r < end) {
          read_row(*x, first + r, x_shift, x_width, x_row);
          read_row(*y, first + r, y_shift, y_width, y_rows + r * y_width);
          const double weight = x->weight_of(first + r);
          for (int64_t k = 0; k < x_width; ++k) x_row[k] *= weight;
        } else {
          std::fill(x_row, x_row + x_width, 0.0);
          std::fill(y_rows + r * y_width, y_rows + (r + 1) * y_width, 0.0);
        }
      }
      const double *y0 = y_rows, *y1 = y0 + y_width, *y2 = y1 + y_width, *y3 = y2 + y_width;
      for (int64_t k = 0; k < x_components; ++k) {
        const double x0 = x_rows[k], x1 = x_rows[x_width + k], x2 = x_rows[2 * x_width + k],
                     x3 = x_rows[3 * x_width + k];
        double* __restrict to = sums + k * y_width;
#pragma omp simd
        for (int64_t j = 0; j < y_width; ++j) to[j] += (x0 * y0[j] + x1 * y1[j]) + (x2 * y2[j] + x3 * y3[j]);
      }
    }
  }
};

// products[r] = M x_r = sum_k x_rk matrix[k] of kRowsAtOnce rows, which share the loads of the matrix
DEBIAS_HD void multiply(const double* matrix, const double* rows, int64_t x_width, int64_t components, int64_t width,
                        double* products) {
  typedef double Lanes __attribute__((vector_size(64), aligned(8)));
  const double *x0 = rows, *x1 = x0 + x_width, *x2 = x1 + x_width, *x3 = x2 + x_width;
  for (int64_t j = 0; j < width; j += 8) {
    Lanes sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {};
    for (int64_t k = 0; k < components; ++k) {
      const Lanes row = *reinterpret_cast<const Lanes*>(matrix + k * width + j);
      sum0 += x0[k] * row;
      sum1 += x1[k] * row;
      sum2 += x2[k] * row;
      sum3 += x3[k] * row;
    }
    *reinterpret_cast<Lanes*>(products + j) = sum0;
    *reinterpret_cast<Lanes*>(products + width + j) = sum1;
    *reinterpret_cast<Lanes*>(products + 2 * width + j) = sum2;
    *reinterpret_cast<Lanes*>(products + 3 * width + j) = sum3;
  }
}

DEBIAS_HD double dot(const double* a, const double* b, int64_t width) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < width; ++j) sum += a[j] * b[j];
  return sum;
}

template <class T>
DEBIAS_HD void write_gradients(const GramRows<T>& x, const GramGradients<T>& out, bool accumulate, int64_t r,
                               const double* row, const double* product) {
  const int64_t d = out.d;
  const double factor = out.scale * x.weight_of(r);
  if (T* const to = out.factors ? out.factors + r * d : nullptr) {
    if (accumulate)
      for (int64_t j = 0; j < d; ++j) to[j] += static_cast<T>(factor * product[j]);
    else
      for (int64_t j = 0; j < d; ++j) to[j] = static_cast<T>(factor * product[j]);
  }
  if (out.bias) {
    const T bias = static_cast<T>(factor * product[out.bias_component]);
    out.bias[r] = accumulate ? out.bias[r] + bias : bias;
  }
  if (out.weight) out.weight[r] = static_cast<T>(out.weight_scale * dot(row, product, gram_width(x.d)));
}

template <class T>
struct GradientsBlock {
  static DEBIAS_HD void run(const GramRows<T>* x, const double* matrix, const GramGradients<T>* out, bool accumulate,
                            int64_t begin, int64_t end, double* buffer) {
    const int64_t width = gram_width(x->d), out_width = gram_width(out->d), components = x->d + 2;
    const double shift = x->shift();
    double *const rows = buffer, *const products = buffer + kRowsAtOnce * width;
    for (int64_t first = begin; first < end; first += kRowsAtOnce) {
      const int64_t count = std::min(kRowsAtOnce, end - first);
      for (int64_t r = 0; r < count; ++r) read_row(*x, first + r, shift, width, rows + r * width);
      multiply(matrix, rows, width, components, out_width, products);
      for (int64_t r = 0; r < count; ++r)
        write_gradients(*x, *out, accumulate, first + r, rows + r * width, products + r * out_width);
    }
  }
};

template <class T>
struct ContractionsBlock {
  static DEBIAS_HD void run(const GramRows<T>* x, const GramRows<T>* directions, const double* gram,
                            const double* cross, double scale, T* out, int64_t begin, int64_t end, double* buffer) {
    const int64_t width = gram_width(x->d), components = x->d + 2, size = kRowsAtOnce * width;
    const double shift = x->shift();
    double *const rows = buffer, *const along = rows + size, *const products = along + size;
    double* const crossed = products + size;
    for (int64_t first = begin; first < end; first += kRowsAtOnce) {
      const int64_t count = std::min(kRowsAtOnce, end - first);
      for (int64_t r = 0; r < count; ++r) {
        read_row(*x, first + r, shift, width, rows + r * width);
        read_row(*directions, first + r, 0.0, width, along + r * width);
      }
      multiply(gram, rows, width, components, width, products);
      multiply(cross, rows, width, components, width, crossed);
      for (int64_t r = 0; r < count; ++r)
        out[first + r] = static_cast<T>(scale * (dot(products + r * width, along + r * width, width) +
                                                 dot(crossed + r * width, rows + r * width, width)));
    }
  }
};

std::vector<double> doubles(int64_t count) { return std::vector<double>(static_cast<size_t>(count)); }

int64_t serial_rows(int64_t components, int64_t width) { return kSerialBelowFlops / (components * width); }

}  // namespace

namespace cpu {

template <class T>
void gram_products(const GramRows<T>& x, const GramRows<T>& y, double* sums) {
  const int64_t size = (x.d + 2) * gram_width(y.d);
  const int64_t block = std::max(kProductRows, block_count(x.rows, kMaxPartials));
  const int64_t blocks = block_count(x.rows, block);
  std::vector<double> partial = doubles(blocks * size);
  parallel_blocks(x.rows, block, serial_rows(x.d + 2, gram_width(y.d)), [&](int64_t b, int64_t begin, int64_t end) {
    std::vector<double> buffer = doubles(kRowsAtOnce * (gram_width(x.d) + gram_width(y.d)));
    simd_run<ProductsBlock<T>>(&x, &y, begin, end, buffer.data(), partial.data() + b * size);
  });
  std::fill(sums, sums + size, 0.0);
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t k = 0; k < size; ++k) sums[k] += partial[static_cast<size_t>(b * size + k)];
}

template <class T>
void gram_gradients(const GramRows<T>& x, const double* matrix, const GramGradients<T>& out, bool accumulate) {
  const int64_t out_width = gram_width(out.d);
  parallel_blocks(x.rows, kApplyRows, serial_rows(x.d + 2, out_width), [&](int64_t, int64_t begin, int64_t end) {
    std::vector<double> buffer = doubles(kRowsAtOnce * (gram_width(x.d) + out_width));
    simd_run<GradientsBlock<T>>(&x, matrix, &out, accumulate, begin, end, buffer.data());
  });
}

template <class T>
void gram_contractions(const GramRows<T>& x, const GramRows<T>& directions, const double* other_gram,
                       const double* other_cross, double scale, T* out) {
  const int64_t width = gram_width(x.d);
  parallel_blocks(x.rows, kApplyRows, serial_rows(x.d + 2, 2 * width), [&](int64_t, int64_t begin, int64_t end) {
    std::vector<double> buffer = doubles(4 * kRowsAtOnce * width);
    simd_run<ContractionsBlock<T>>(&x, &directions, other_gram, other_cross, scale, out, begin, end, buffer.data());
  });
}

#define DEBIAS_INSTANTIATE(T)                                                                     \
  template void gram_products(const GramRows<T>&, const GramRows<T>&, double*);                   \
  template void gram_gradients(const GramRows<T>&, const double*, const GramGradients<T>&, bool); \
  template void gram_contractions(const GramRows<T>&, const GramRows<T>&, const double*, const double*, double, T*);
DEBIAS_INSTANTIATE(float)
DEBIAS_INSTANTIATE(double)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
