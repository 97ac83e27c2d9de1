#include <algorithm>

#include "common/factor_rows.h"
#include "common/parallel.h"
#include "common/simd.h"
#include "optimizer_step/optimizer_step_kernels.h"
#include "optimizer_step/update_values.h"

namespace debias {
namespace {

constexpr int64_t kShareValues = 1 << 14;

// The rows [begin, end) of a table and their rows [first, last) of the gradient.
struct Share {
  size_t table;
  int64_t begin, end, first, last;
};

template <class Rule, class T>
struct UpdateShare {
  static DEBIAS_HD void run(const TableStep<T>* step, const Share* share, const StepRule<T>* given, T decay) {
    const StepRule<T> rule = *given;
    const int64_t *rows = step->rows, d = step->width;
    T *p = step->table, *m = step->first, *v = step->second;
    const T* gradient = step->gradient;
    const auto update = [=](int64_t row, int64_t count, const T* __restrict g) {
      update_values<Rule>(p + row * d, at_row(m, row, d), at_row(v, row, d), count * d, rule,
                          [=](int64_t f, T value) { return g[f] + decay * value; });
    };
    const auto idle = [=](int64_t row, int64_t count) {
      update_values<Rule>(p + row * d, at_row(m, row, d), at_row(v, row, d), count * d, rule,
                          [=](int64_t, T value) { return decay * value; });
    };
    if (!step->sparse) return update(share->begin, share->end - share->begin, gradient + share->begin * d);
    const bool every_row = step->every_row;
    const int64_t last = share->last;
    int64_t next = share->begin;
    for (int64_t j = share->first; j < last; ++j) {
      if (every_row) {
        idle(next, rows[j] - next);
      } else if (j + kPrefetch < last) {
        prefetch_row(p + rows[j + kPrefetch] * d, d);
        if (Rule::has_second) prefetch_row(v + rows[j + kPrefetch] * d, d);
      }
      update(rows[j], 1, gradient + j * d);
      next = rows[j] + 1;
    }
    if (every_row) idle(next, share->end - next);
  }
};

// About kShareValues values each.
template <class T>
std::vector<Share> shares_of(const std::vector<TableStep<T>>& tables) {
  std::vector<Share> shares;
  for (size_t k = 0; k < tables.size(); ++k) {
    const TableStep<T>& step = tables[k];
    const int64_t visited = step.visited(), rows = std::max<int64_t>(1, kShareValues / step.width);
    for (int64_t begin = 0; begin < visited; begin += rows) {
      const int64_t end = std::min(begin + rows, visited);
      const auto place = [&](int64_t row) {
        return step.sparse && step.every_row ? std::lower_bound(step.rows, step.rows + step.touched, row) - step.rows
                                             : row;
      };
      shares.push_back({k, begin, end, place(begin), place(end)});
    }
  }
  return shares;
}

}  // namespace

namespace cpu {

template <class T>
void optimizer_step(const std::vector<TableStep<T>>& tables, const TableRule& given) {
  const StepRule<T> rule = step_rule<T>(given.optimizer);
  const T decay = static_cast<T>(given.weight_decay);
  int64_t values = 0;
  for (const TableStep<T>& table : tables) values += table.visited() * table.width;
  const std::vector<Share> shares = shares_of(tables);
  const auto n = static_cast<int64_t>(shares.size());
  with_rule(given.optimizer.kind, [&](auto kind) {
    parallel_blocks(n, 1, values < kSerialBelowFloats ? n : 0, [&](int64_t s, int64_t, int64_t) {
      const Share& share = shares[static_cast<size_t>(s)];
      simd_run<UpdateShare<decltype(kind), T>>(&tables[share.table], &share, &rule, decay);
    });
  });
}

template void optimizer_step(const std::vector<TableStep<float>>&, const TableRule&);
template void optimizer_step(const std::vector<TableStep<double>>&, const TableRule&);

}  // namespace cpu
}  // namespace debias
