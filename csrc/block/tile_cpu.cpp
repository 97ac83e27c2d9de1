// Losses that need every score: tiles of kUsers users by kPanel items, whose scores, terms and slopes stay in the first
// cache. No array is larger than the tables, but for the item sums of kUserBlocks blocks over one panel.
#include "block/block_math.h"
#include "block/workspace.h"
#include "common/parallel.h"
#include "common/simd.h"

namespace debias {
namespace {

constexpr int64_t kUsers = 4;
constexpr int64_t kPanel = 256;
constexpr int64_t kFactorStep = 4;            // the components that user sums are taken of at once
constexpr int64_t kSerialBelowPairs = 20000;  // pairs that a second thread does not pay for
constexpr int kTables = 3;                    // the student's, and at most two others

// What a task sees. Widths are those of packed rows, rounded up to kFactorStep.
template <class T>
struct TilePlan {
  const T* users[kTables];  // [m rounded up to kUsers, width]
  const T* items[kTables];  // one panel, [width, kPanel], zero beyond n
  int64_t width[kTables];
  int64_t panel_begin, panel_count;
  const BlockArgs<T>* args;
  int64_t* next;  // [m]: the first rated pair of each user that is not done
  T* user_sums;   // [m rounded up, width of the student], or null
  bool want_items;
};

// scores[r][i] = users_r . items[:, i]
template <class T>
DEBIAS_HD void tile_scores(const T* users, const T* items, int64_t width, int64_t count, T* scores) {
  const T *u0 = users, *u1 = u0 + width, *u2 = u1 + width, *u3 = u2 + width;
  for (int64_t i = 0; i < count; i += 2 * kLanes) {
    Lanes<T> s00 = {}, s01 = {}, s10 = {}, s11 = {}, s20 = {}, s21 = {}, s30 = {}, s31 = {};
    for (int64_t f = 0; f < width; ++f) {
      const Lanes<T> q0 = lanes(items + f * kPanel + i), q1 = lanes(items + f * kPanel + i + kLanes);
      s00 += u0[f] * q0, s01 += u0[f] * q1;
      s10 += u1[f] * q0, s11 += u1[f] * q1;
      s20 += u2[f] * q0, s21 += u2[f] * q1;
      s30 += u3[f] * q0, s31 += u3[f] * q1;
    }
    lanes(scores + i) = s00, lanes(scores + i + kLanes) = s01;
    lanes(scores + kPanel + i) = s10, lanes(scores + kPanel + i + kLanes) = s11;
    lanes(scores + 2 * kPanel + i) = s20, lanes(scores + 2 * kPanel + i + kLanes) = s21;
    lanes(scores + 3 * kPanel + i) = s30, lanes(scores + 3 * kPanel + i + kLanes) = s31;
  }
}

template <class T>
DEBIAS_HD T sum_of(const T* values) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < kLanes; ++k) sum += values[k];
  return sum;
}

// sums_r[f] += sum_i slopes[r][i] items[f][i]
template <class T>
DEBIAS_HD void add_user_sums(const T* slopes, const T* items, int64_t width, int64_t count, T* sums) {
  for (int64_t f = 0; f < width; f += kFactorStep) {
    Lanes<T> sum[kUsers][kFactorStep] = {};
    for (int64_t i = 0; i < count; i += kLanes) {
      const Lanes<T> e0 = lanes(slopes + i), e1 = lanes(slopes + kPanel + i), e2 = lanes(slopes + 2 * kPanel + i),
                     e3 = lanes(slopes + 3 * kPanel + i);
#pragma GCC unroll 4
      for (int64_t g = 0; g < kFactorStep; ++g) {
        const Lanes<T> q = lanes(items + (f + g) * kPanel + i);
        sum[0][g] += e0 * q;
        sum[1][g] += e1 * q;
        sum[2][g] += e2 * q;
        sum[3][g] += e3 * q;
      }
    }
    for (int64_t r = 0; r < kUsers; ++r)
      for (int64_t g = 0; g < kFactorStep; ++g)
        sums[r * width + f + g] += sum_of(reinterpret_cast<const T*>(&sum[r][g]));
  }
}

// sums[f][i] += sum_r users_r[f] slopes[r][i]
template <class T>
DEBIAS_HD void add_item_sums(const T* slopes, const T* users, int64_t width, int64_t count, T* sums) {
  const T *u0 = users, *u1 = u0 + width, *u2 = u1 + width, *u3 = u2 + width;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Lanes<T> e0 = lanes(slopes + i), e1 = lanes(slopes + kPanel + i), e2 = lanes(slopes + 2 * kPanel + i),
                   e3 = lanes(slopes + 3 * kPanel + i);
    for (int64_t f = 0; f < width; ++f) {
      Lanes<T>& sum = lanes(sums + f * kPanel + i);
      sum += (u0[f] * e0 + u1[f] * e1) + (u2[f] * e2 + u3[f] * e3);
    }
  }
}

// Values and slopes of the missing terms; the slopes beyond count are zero.
template <class T, class Target>
DEBIAS_HD void missing_terms(const Target& target, const T* __restrict s, const T* __restrict x, const T* __restrict y,
                             int64_t count, T* __restrict values, T* __restrict slopes) {
  const Target copy = target;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const PairTerm<T> term = copy.missing(s[i], x[i], y[i]);
    values[i] = term.value;
    slopes[i] = term.slope;
  }
  for (int64_t i = count; i < round_up(count, 2 * kLanes); ++i) slopes[i] = 0;
}

// The rated pairs of one user in this panel: their missing terms go where the target says so, theirs come.
template <class T, class Target>
DEBIAS_HD double rated_terms(const TilePlan<T>& plan, const Target& target, int64_t u, const T* s, const T* x,
                             const T* y, T* values, T* slopes) {
  const RatedPairs<T>& rated = plan.args->rated;
  const BlockGradients<T>& out = plan.args->gradients;
  const int64_t begin = plan.panel_begin, end = begin + plan.panel_count;
  const int64_t first = plan.next[u], last = rated.offsets[u + 1];
  const T scale = static_cast<T>(plan.args->scale);
  if (Target::kReplaces)
    for (int64_t k = first; k < last && rated.columns[k] < end; ++k)
      values[rated.columns[k] - begin] = slopes[rated.columns[k] - begin] = 0;
  double value = 0;
  int64_t k = first;
  for (; k < last && rated.columns[k] < end; ++k) {
    const int64_t i = rated.columns[k] - begin, position = rated.positions[k];
    const T weight = rated.weights ? rated.weights[position] : T(1);
    const RatedTerm<T> term = target.rated(s[i], x[i], y[i], rated.targets[position], weight);
    slopes[i] += term.slope;
    value += static_cast<double>(term.value);
    if (out.targets) out.targets[position] = scale * term.to_target;
    if (out.weights) out.weights[position] = scale * term.to_weight;
  }
  plan.next[u] = k;
  return value;
}

template <class T, class Target>
struct TileBlock {
  // The users [begin, end) against one panel. item_sums: [width of the student, kPanel]. *value grows.
  static DEBIAS_HD void run(const TilePlan<T>* plan, const Target* target, int64_t begin, int64_t end, T* item_sums,
                            double* value) {
    alignas(64) T scores[kTables][kUsers * kPanel], values[kPanel], slopes[kUsers * kPanel];
    const int64_t count = plan->panel_count, padded = round_up(count, 2 * kLanes), width = plan->width[0];
    for (int64_t u = begin; u < end; u += kUsers) {
      for (int t = 0; t <= Target::kTables; ++t)
        tile_scores(plan->users[t] + u * plan->width[t], plan->items[t], plan->width[t], padded, scores[t]);
      for (int64_t r = 0; r < kUsers; ++r) {
        const T* const s = scores[0] + r * kPanel;
        const T* const x = scores[1] + r * kPanel;
        const T* const y = scores[Target::kTables] + r * kPanel;
        T* const row = slopes + r * kPanel;
        if (u + r >= end) {
          std::fill(row, row + padded, T(0));
          continue;
        }
        missing_terms(*target, s, x, y, count, values, row);
        *value += rated_terms(*plan, *target, u + r, s, x, y, values, row);
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < count; ++i) sum += values[i];
        *value += static_cast<double>(sum);
      }
      if (plan->user_sums) add_user_sums(slopes, plan->items[0], width, padded, plan->user_sums + u * width);
      if (plan->want_items) add_item_sums(slopes, plan->users[0] + u * width, width, padded, item_sums);
    }
  }
};

template <class T>
class TileRun {
 public:
  TileRun(const BlockArgs<T>& args, const FactorTables<T>* others, int n_others) : args_(args), tables_(1 + n_others) {
    const auto& out = args.gradients;
    padded_users_ = round_up(args.m, kUsers);
    plan_.args = &args;
    for (int t = 0; t < tables_; ++t) {
      sources_[t] = t == 0 ? args.student : others[t - 1];
      plan_.width[t] = round_up(sources_[t].d + 2, kFactorStep);
      users_.emplace_back(padded_users_ * plan_.width[t]);
      items_.emplace_back(kPanel * plan_.width[t]);
      plan_.users[t] = users_.back().data();
      plan_.items[t] = items_.back().data();
    }
    next_.assign(args.rated.offsets, args.rated.offsets + args.m);
    plan_.next = next_.data();
    plan_.want_items = out.item_factors || out.item_bias;
    if (out.user_factors || out.user_bias) {
      sums_.emplace_back(padded_users_ * plan_.width[0], T(0));
      plan_.user_sums = sums_.back().data();
    } else {
      plan_.user_sums = nullptr;
    }
    block_ = round_up(std::max<int64_t>(1, block_count(args.m, kUserBlocks)), kUsers);
    serial_below_ = kSerialBelowPairs / std::max<int64_t>(1, std::min(args.n, kPanel));
  }

  template <class Target>
  double run(const Target& target) {
    pack_users();
    const int64_t blocks = std::max<int64_t>(1, block_count(args_.m, block_)), size = plan_.width[0] * kPanel;
    std::vector<double> values(static_cast<size_t>(blocks), 0.0);
    Workspace<T> item_sums(plan_.want_items ? blocks * size : 0);
    if (args_.m == 0) std::fill(item_sums.data(), item_sums.data() + (plan_.want_items ? size : 0), T(0));
    for (int64_t begin = 0; begin < args_.n; begin += kPanel) {
      plan_.panel_begin = begin;
      plan_.panel_count = std::min(kPanel, args_.n - begin);
      pack_items();
      parallel_blocks(args_.m, block_, serial_below_, [&](int64_t b, int64_t first, int64_t last) {
        T* const sums = item_sums.data() + b * size;
        if (plan_.want_items) std::fill(sums, sums + size, T(0));
        simd_run<TileBlock<T, Target>>(&plan_, &target, first, last, sums, &values[static_cast<size_t>(b)]);
      });
      if (plan_.want_items) write_items(item_sums.data(), blocks);
    }
    write_users();
    double value = 0;
    for (double part : values) value += part;
    return args_.loss_scale * value;
  }

 private:
  void pack_users() {
    parallel_blocks(padded_users_, block_, serial_below_, [&](int64_t, int64_t begin, int64_t end) {
      for (int t = 0; t < tables_; ++t)
        for (int64_t u = begin; u < end; ++u) {
          T* const out = users_[static_cast<size_t>(t)].data() + u * plan_.width[t];
          if (u < args_.m)
            pack_user(sources_[t], u, plan_.width[t], out);
          else
            std::fill(out, out + plan_.width[t], T(0));
        }
    });
  }

  void pack_items() {
    for (int t = 0; t < tables_; ++t) {
      T* const out = items_[static_cast<size_t>(t)].data();
      if (plan_.panel_count < kPanel) std::fill(out, out + kPanel * plan_.width[t], T(0));
      for (int64_t i = 0; i < plan_.panel_count; ++i)
        pack_item(sources_[t], plan_.panel_begin + i, plan_.width[t], kPanel, out + i);
    }
  }

  // The blocks' sums, in order, into the first one, and from there to the rows of this panel.
  void write_items(T* sums, int64_t blocks) {
    const int64_t size = plan_.width[0] * kPanel, d = args_.student.d;
    for (int64_t b = 1; b < blocks; ++b)
      for (int64_t k = 0; k < size; ++k) sums[k] += sums[b * size + k];
    const T scale = static_cast<T>(args_.scale);
    for (int64_t i = 0; i < plan_.panel_count; ++i) {
      const int64_t row = plan_.panel_begin + i;
      if (T* const out = args_.gradients.item_factors)
        for (int64_t f = 0; f < d; ++f) out[row * d + f] = scale * sums[f * kPanel + i];
      if (args_.gradients.item_bias) args_.gradients.item_bias[row] = scale * sums[(d + 1) * kPanel + i];
    }
  }

  void write_users() {
    if (!plan_.user_sums) return;
    const int64_t width = plan_.width[0], d = args_.student.d;
    const T scale = static_cast<T>(args_.scale);
    for (int64_t u = 0; u < args_.m; ++u) {
      const T* const sums = plan_.user_sums + u * width;
      if (T* const out = args_.gradients.user_factors)
        for (int64_t f = 0; f < d; ++f) out[u * d + f] = scale * sums[f];
      if (args_.gradients.user_bias) args_.gradients.user_bias[u] = scale * sums[d];
    }
  }

  const BlockArgs<T>& args_;
  int tables_;
  FactorTables<T> sources_[kTables];
  TilePlan<T> plan_;
  int64_t padded_users_, block_, serial_below_;
  std::vector<Workspace<T>> users_, items_, sums_;
  std::vector<int64_t> next_;
};

template <class T, InterDTargetKind kind, bool from_zero>
double interd(TileRun<T>& run, const TileArgs<T>& target) {
  return run.run(InterDImputation<T, kind, from_zero>{static_cast<T>(target.gamma), static_cast<T>(target.beta),
                                                      static_cast<T>(target.epsilon)});
}

}  // namespace

namespace cpu {

template <class T>
double block_tiles(const BlockArgs<T>& args, const TileArgs<T>& target) {
  TileRun<T> run(args, target.others, target.kind == TileKind::label ? 1 : 2);
  switch (target.kind) {
    case TileKind::label: return run.run(LabelImputation<T>{});
    case TileKind::interd_soft: return interd<T, InterDTargetKind::soft, false>(run, target);
    case TileKind::interd_hard: return interd<T, InterDTargetKind::hard, false>(run, target);
    case TileKind::interd_zero: return interd<T, InterDTargetKind::soft, true>(run, target);
    case TileKind::interd_attached: return interd<T, InterDTargetKind::attached, false>(run, target);
  }
  return 0;
}

template double block_tiles(const BlockArgs<float>&, const TileArgs<float>&);
template double block_tiles(const BlockArgs<double>&, const TileArgs<double>&);

}  // namespace cpu
}  // namespace debias
