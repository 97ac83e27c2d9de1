// Losses whose all-pairs term has a Gram form: that term by rows, the rated pairs one by one.
#include "block/block_math.h"
#include "block/workspace.h"
#include "common/factor_rows.h"
#include "common/parallel.h"
#include "common/simd.h"

namespace debias {
namespace {

constexpr int64_t kItemFloats = 1 << 22;  // of the sums of all blocks over the items, about

// Blocks of users in the rated pass: fewer where each would hold sums of many items.
int64_t rated_blocks(int64_t m, int64_t item_floats) {
  const int64_t fit = std::max<int64_t>(4, kItemFloats / std::max<int64_t>(1, item_floats));
  return std::max<int64_t>(1, std::min({kUserBlocks, fit, m}));
}

// Packed rows [tables' width] of both sides.
template <class T>
struct PackedTables {
  PackedTables(const FactorTables<T>& tables, int64_t m, int64_t n)
      : width(round_up(tables.d + 2, kLanes)), users(m * width), items(n * width) {
    const int64_t row_width = width;
    T *const to_users = users.data(), *const to_items = items.data();
    parallel_blocks(m, 512, serial_below(width), [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t u = begin; u < end; ++u) pack_user(tables, u, row_width, to_users + u * row_width);
    });
    parallel_blocks(n, 512, serial_below(width), [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) pack_item(tables, i, row_width, 1, to_items + i * row_width);
    });
  }
  int64_t width;
  Workspace<T> users, items;
};

template <class T>
struct PackedView {
  const T* users;
  const T* items;
  int64_t width;
  DEBIAS_HD T score(int64_t u, int64_t i) const {
    const T* const p = users + u * width;
    const T* const q = items + i * width;
    Lanes<T> sum = lanes(p) * lanes(q);
    for (int64_t f = kLanes; f < width; f += kLanes) sum += lanes(p + f) * lanes(q + f);
    const T* const values = reinterpret_cast<const T*>(&sum);
    T score = 0;
#pragma omp simd reduction(+ : score)
    for (int64_t k = 0; k < kLanes; ++k) score += values[k];
    return score;
  }
};

template <class T>
PackedView<T> view(const PackedTables<T>& tables) {
  return {tables.users.data(), tables.items.data(), tables.width};
}

struct RatedSums {
  double value = 0, to_value = 0;
};

// Sums of one task over the items.
template <class T>
struct ItemSums {
  T* rows;     // [n, width]
  T* weights;  // [n], of constant targets
};

template <class T>
struct ConstantRated {
  PackedView<T> student;
  ConstantTargetArgs<T> target;
  T constant;

  // The rated pair at `k`, the sorted place; `first`: no pair before it has the same user and item.
  DEBIAS_HD RatedTerm<T> term(const BlockArgs<T>& args, int64_t u, int64_t i, int64_t position, bool first,
                              const ItemSums<T>& items, T* to_user_weight, RatedSums* sums) const {
    const T s = student.score(u, i), scale = static_cast<T>(args.scale);
    RatedTerm<T> term =
        weighted_square(s, args.rated.targets[position], args.rated.weights ? args.rated.weights[position] : T(1));
    const bool own = target.rated_weights != nullptr;
    if (!own && !target.replace) return term;
    const T a = first && target.user_weight ? target.user_weight[u] : T(first);
    const T b = first && target.item_weight ? target.item_weight[i] : T(first);
    const Replacement<T> change = replacement(s, constant, a, b, own ? target.rated_values[position] : T(0),
                                              own ? target.rated_weights[position] : T(0));
    term.value += change.value;
    term.slope += change.slope;
    *to_user_weight += change.to_user_weight;
    sums->to_value += static_cast<double>(change.to_value);
    if (items.weights) items.weights[i] += change.to_item_weight;
    if (target.grad_rated_values) target.grad_rated_values[position] = scale * change.own.to_target;
    if (target.grad_rated_weights) target.grad_rated_weights[position] = scale * change.own.to_weight;
    return term;
  }
};

template <class T>
struct ResidualRated {
  PackedView<T> student, imputation;

  DEBIAS_HD RatedTerm<T> term(const BlockArgs<T>& args, int64_t u, int64_t i, int64_t position, bool,
                              const ItemSums<T>&, T*, RatedSums*) const {
    const T weight = args.rated.weights ? args.rated.weights[position] : T(1);
    return residual_imputation(student.score(u, i), imputation.score(u, i), args.rated.targets[position], weight);
  }
};

// narrow: packed rows are kLanes wide, so that a user's sums stay in a register.
template <class T, class Kind, bool narrow>
struct RatedBlock {
  static DEBIAS_HD void run(const BlockArgs<T>* args, const Kind* shared_kind, int64_t begin, int64_t end,
                            T* to_user_weight, T* user_row, ItemSums<T> items, RatedSums* all_sums) {
    const Kind kind = *shared_kind;
    const BlockArgs<T> local = *args;
    const RatedPairs<T> rated = local.rated;
    const BlockGradients<T> out = local.gradients;
    const int64_t width = narrow ? kLanes : kind.student.width, d = local.student.d;
    const T scale = static_cast<T>(local.scale);
    RatedSums sums;
    for (int64_t u = begin; u < end; ++u) {
      const int64_t first = rated.offsets[u], last = rated.offsets[u + 1];
      if (first == last) continue;
      const T* const p = kind.student.users + u * width;
      Lanes<T> row = {};
      std::fill(user_row, user_row + width, T(0));
      T weight_sum = 0;
      for (int64_t k = first; k < last; ++k) {
        const int64_t i = rated.columns[k], position = rated.positions[k];
        const bool fresh = k == first || rated.columns[k - 1] != i;
        const RatedTerm<T> term = kind.term(local, u, i, position, fresh, items, &weight_sum, &sums);
        sums.value += static_cast<double>(term.value);
        if (out.targets) out.targets[position] = scale * term.to_target;
        if (out.weights) out.weights[position] = scale * term.to_weight;
        const T* const q = kind.student.items + i * width;
        if (narrow) row += term.slope * lanes(q);
        for (int64_t f = 0; f < width; f += kLanes) {
          if (!narrow) lanes(user_row + f) += term.slope * lanes(q + f);
          if (items.rows) lanes(items.rows + i * width + f) += term.slope * lanes(p + f);
        }
      }
      if (narrow) lanes(user_row) = row;
      if (T* const to = out.user_factors)
        for (int64_t f = 0; f < d; ++f) to[u * d + f] += scale * user_row[f];
      if (out.user_bias) out.user_bias[u] += scale * user_row[d];
      if (to_user_weight) to_user_weight[u] += scale * weight_sum;
    }
    *all_sums = sums;
  }
};

// Adds what the rated pairs contribute to gradients that the all-pairs term has written.
template <class T, class Kind>
RatedSums add_rated(const BlockArgs<T>& args, const Kind& kind, T* to_user_weight, T* to_item_weight) {
  const BlockGradients<T>& out = args.gradients;
  const int64_t pairs = args.rated.offsets[args.m], width = kind.student.width, d = args.student.d, n = args.n;
  RatedSums total;
  if (pairs == 0) return total;
  const int64_t block = block_count(args.m, rated_blocks(args.m, n * width)), blocks = block_count(args.m, block);
  const bool want_items = out.item_factors || out.item_bias;
  Workspace<T> rows(want_items ? blocks * n * width : 0), weights(to_item_weight ? blocks * n : 0);
  std::vector<RatedSums> sums(static_cast<size_t>(blocks));
  const int64_t serial_below = pairs * width < kSerialBelowFloats ? args.m : 0;
  parallel_blocks(args.m, block, serial_below, [&](int64_t b, int64_t begin, int64_t end) {
    const ItemSums<T> items{want_items ? rows.data() + b * n * width : nullptr,
                            to_item_weight ? weights.data() + b * n : nullptr};
    if (items.rows) std::fill(items.rows, items.rows + n * width, T(0));
    if (items.weights) std::fill(items.weights, items.weights + n, T(0));
    Workspace<T> user_row(width);
    RatedSums* const to = &sums[static_cast<size_t>(b)];
    if (width == kLanes)
      simd_run<RatedBlock<T, Kind, true>>(&args, &kind, begin, end, to_user_weight, user_row.data(), items, to);
    else
      simd_run<RatedBlock<T, Kind, false>>(&args, &kind, begin, end, to_user_weight, user_row.data(), items, to);
  });
  const T scale = static_cast<T>(args.scale);
  parallel_blocks(n, 64, serial_below ? n : 0, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t b = 0; b < blocks; ++b)
      for (int64_t i = begin; i < end; ++i) {
        const T* const row = rows.data() + (b * n + i) * width;
        if (out.item_factors)
          for (int64_t f = 0; f < d; ++f) out.item_factors[i * d + f] += scale * row[f];
        if (out.item_bias) out.item_bias[i] += scale * row[d + 1];
        if (to_item_weight) to_item_weight[i] += scale * weights.data()[b * n + i];
      }
  });
  for (const RatedSums& part : sums) {
    total.value += part.value;
    total.to_value += part.to_value;
  }
  return total;
}

template <class T>
std::vector<double> products(const GramRows<T>& x, const GramRows<T>& y) {
  std::vector<double> sums(static_cast<size_t>((x.d + 2) * gram_width(y.d)));
  cpu::gram_products(x, y, sums.data());
  return sums;
}

template <class T>
void gradients(const GramRows<T>& x, const std::vector<double>& matrix, const GramGradients<T>& out) {
  if (out.factors || out.bias || out.weight) cpu::gram_gradients(x, matrix.data(), out, false);
}

}  // namespace

namespace cpu {

template <class T>
double block_constant(const BlockArgs<T>& args, const ConstantTargetArgs<T>& target) {
  const FactorTables<T>& tables = args.student;
  const BlockGradients<T>& out = args.gradients;
  const double constant = target.value_number + (target.value ? static_cast<double>(*target.value) : 0.0);
  const GramRows<T> users = user_rows(tables, args.m, target.user_weight);
  const GramRows<T> items = item_rows(tables, args.n, target.item_weight, target.value, target.value_number);
  const std::vector<double> user_gram = products(users, users), item_gram = products(items, items);
  gradients(users, item_gram,
            {out.user_factors, out.user_bias, target.grad_user_weight, tables.d, users.bias_component(), 2 * args.scale,
             args.scale});
  gradients(items, user_gram,
            {out.item_factors, out.item_bias, target.grad_item_weight, tables.d, items.bias_component(), 2 * args.scale,
             args.scale});
  const PackedTables<T> packed(tables, args.m, args.n);
  const RatedSums rated = add_rated(args, ConstantRated<T>{view(packed), target, static_cast<T>(constant)},
                                    target.grad_user_weight, target.grad_item_weight);
  if (target.grad_value) {
    const double residuals = gram_residual_sum(user_gram.data(), item_gram.data(), tables.d);
    *target.grad_value = static_cast<T>(args.scale * (rated.to_value - 2 * residuals));
  }
  return args.loss_scale * (gram_inner(user_gram.data(), item_gram.data(), tables.d) + rated.value);
}

template <class T>
double block_residual(const BlockArgs<T>& args, const FactorTables<T>& imputation) {
  const FactorTables<T>& tables = args.student;
  const BlockGradients<T>& out = args.gradients;
  const GramRows<T> users = user_rows<T>(tables, args.m, nullptr),
                    items = item_rows<T>(tables, args.n, nullptr, nullptr, 0.0);
  const GramRows<T> user_side = user_rows<T>(imputation, args.m, nullptr),
                    item_side = item_rows<T>(imputation, args.n, nullptr, nullptr, 0.0);
  const double squares =
      gram_inner(products(user_side, user_side).data(), products(item_side, item_side).data(), imputation.d);
  T* const none = nullptr;
  gradients(user_side, products(item_side, items),
            {out.user_factors, out.user_bias, none, tables.d, users.bias_component(), -2 * args.scale, 0.0});
  gradients(item_side, products(user_side, users),
            {out.item_factors, out.item_bias, none, tables.d, items.bias_component(), -2 * args.scale, 0.0});
  const PackedTables<T> packed(tables, args.m, args.n), packed_imputation(imputation, args.m, args.n);
  const ResidualRated<T> kind{view(packed), view(packed_imputation)};
  return args.loss_scale * (squares + add_rated(args, kind, none, none).value);
}

#define DEBIAS_INSTANTIATE(T)                                                        \
  template double block_constant(const BlockArgs<T>&, const ConstantTargetArgs<T>&); \
  template double block_residual(const BlockArgs<T>&, const FactorTables<T>&);
DEBIAS_INSTANTIATE(float)
DEBIAS_INSTANTIATE(double)
#undef DEBIAS_INSTANTIATE

}  // namespace cpu
}  // namespace debias
