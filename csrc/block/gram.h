// All pairs of a user block and an item block at the cost of their rows. With
//   x_u = [P[u], a[u], 1]   and   y_i = [Q[i], 1, b[i] - c]   the product x_u.y_i is s_ui - c, so that
//   sum_ui A_u B_i (s_ui - c)^2 = <G, H>,   G = sum_u A_u x_u x_u',   H = sum_i B_i y_i y_i'     (the Gram matrices)
// and the gradients to row u and to A_u follow from H x_u alone, those to row i and to B_i from G y_i.
// Along directions g_u = [GP[u], Ga[u], 0] and h_i = [GQ[i], 0, Gb[i]] the score s_ui moves by D_ui = g_u.y_i +
// x_u.h_i:
//   sum_i B_i (s_ui - c) D_ui = x_u'H g_u + x_u'(sum_i B_i y_i h_i') x_u, and the same with the sides exchanged.
// Everything is summed in double. Matrices are row-major with rows of gram_width(d), zero beyond d + 2.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "common/hostdevice.h"

namespace debias {

DEBIAS_HD int64_t gram_width(int64_t factors) { return (factors + 2 + 7) / 8 * 8; }

// One side of a block. `unit` is 1 in tables and 0 in directions, which have no value either.
template <class T>
struct GramRows {
  const T* factors;     // [rows, d]
  const T* bias;        // [rows] or null: 0
  const T* weight;      // [rows] or null: 1
  const T* value;       // [1] or null: added to value_number; c, of the item side
  double value_number;  // 0 on the user side
  int64_t rows, d;
  double unit;
  bool is_user;

  DEBIAS_HD int64_t bias_component() const { return is_user ? d : d + 1; }
  DEBIAS_HD int64_t unit_component() const { return is_user ? d + 1 : d; }
  DEBIAS_HD double shift() const { return value_number + (value ? static_cast<double>(to_float(*value)) : 0.0); }
  DEBIAS_HD double bias_of(int64_t row, double shift_of_all) const {
    return (bias ? static_cast<double>(to_float(bias[row])) : 0.0) - shift_of_all;
  }
  DEBIAS_HD double weight_of(int64_t row) const { return weight ? static_cast<double>(to_float(weight[row])) : 1.0; }
};

// Gradients to one side: null where not wanted. factors and bias get scale * weight * (M x), weight gets
// weight_scale * x'M x (of a square M).
template <class T>
struct GramGradients {
  T* factors;  // [rows, d]
  T* bias;     // [rows]
  T* weight;   // [rows]
  int64_t d;
  int64_t bias_component;  // of M x: bias_component() of the side that the gradients belong to
  double scale, weight_scale;
};

// Sums over the entries first, first + step, ...: the threads of a block share one sum.

// <G, H>
DEBIAS_HD double gram_inner(const double* user_matrix, const double* item_matrix, int64_t factors, int64_t first = 0,
                            int64_t step = 1) {
  const int64_t width = gram_width(factors);
  double sum = 0;
  for (int64_t k = first; k < (factors + 2) * width; k += step) sum += user_matrix[k] * item_matrix[k];
  return sum;
}

// sum_ui A_u B_i (s_ui - c); minus twice this is the derivative of <G, H> in c.
DEBIAS_HD double gram_residual_sum(const double* user_gram, const double* item_gram, int64_t factors, int64_t first = 0,
                                   int64_t step = 1) {
  const int64_t width = gram_width(factors);
  const double* users = user_gram + (factors + 1) * width;  // sum A x
  const double* items = item_gram + factors * width;        // sum B y
  double sum = 0;
  for (int64_t k = first; k < factors + 2; k += step) sum += users[k] * items[k];
  return sum;
}

// sum_ui A_u B_i D_ui. user_cross = sum_u A_u x_u g_u', item_cross = sum_i B_i y_i h_i'.
DEBIAS_HD double gram_direction_sum(const double* user_gram, const double* item_gram, const double* user_cross,
                                    const double* item_cross, int64_t factors, int64_t first = 0, int64_t step = 1) {
  const int64_t width = gram_width(factors), user_row = (factors + 1) * width, item_row = factors * width;
  double sum = 0;
  for (int64_t k = first; k < factors + 2; k += step)
    sum += item_gram[item_row + k] * user_cross[user_row + k] + user_gram[user_row + k] * item_cross[item_row + k];
  return sum;
}

namespace cpu {
// sums = sum_r x.weight_r x_r y_r', [x.d + 2, gram_width(y.d)]. The Gram matrix of one side when y is x; the cross
// matrix when y holds directions.
template <class T>
void gram_products(const GramRows<T>& x, const GramRows<T>& y, double* sums);
// matrix: [x.d + 2, gram_width(out.d)]; M x = sum_k x_k matrix[k], that is, the transpose of `matrix` times x. With
// accumulate the factors and biases are added to what is there.
template <class T>
void gram_gradients(const GramRows<T>& x, const double* matrix, const GramGradients<T>& out, bool accumulate);
// out[r] = scale (x_r'M g_r + x_r'C x_r), without the weight of r: the derivative of the weights along the directions.
// M is the Gram matrix of the other side and C its cross matrix.
template <class T>
void gram_contractions(const GramRows<T>& x, const GramRows<T>& directions, const double* other_gram,
                       const double* other_cross, double scale, T* out);
}  // namespace cpu

namespace cuda {
// The same; the matrices are on the device, and so is the workspace of gram_products_workspace(x, y) doubles.
int64_t gram_products_workspace(int64_t rows, int64_t x_factors, int64_t y_factors);
template <class T>
void gram_products(const GramRows<T>& x, const GramRows<T>& y, double* workspace, double* sums, void* stream);
template <class T>
void gram_gradients(const GramRows<T>& x, const double* matrix, const GramGradients<T>& out, bool accumulate,
                    void* stream);
template <class T>
void gram_contractions(const GramRows<T>& x, const GramRows<T>& directions, const double* other_gram,
                       const double* other_cross, double scale, T* out, void* stream);
}  // namespace cuda

}  // namespace debias
