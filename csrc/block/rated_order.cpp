#include <numeric>

#include "block/block_kernels.h"

namespace debias {
namespace {

// Stable counting sort of positions by key; begins is left where each key's run ends.
template <class Key>
void scatter(const Key& key_of, const std::vector<int64_t>& from, int64_t keys, std::vector<int64_t>& to,
             std::vector<int64_t>& offsets) {
  offsets.assign(static_cast<size_t>(keys) + 1, 0);
  for (int64_t position : from) ++offsets[static_cast<size_t>(key_of(position)) + 1];
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  std::vector<int64_t> next(offsets.begin(), offsets.end() - 1);
  for (int64_t position : from) to[static_cast<size_t>(next[static_cast<size_t>(key_of(position))]++)] = position;
}

}  // namespace

namespace cpu {

template <class Index>
RatedOrder sort_rated(const Index* rows, const Index* columns, int64_t count, int64_t m, int64_t n) {
  RatedOrder order;
  std::vector<int64_t> given(static_cast<size_t>(count)), by_column(given.size());
  std::iota(given.begin(), given.end(), int64_t{0});
  scatter([=](int64_t p) { return columns[p]; }, given, n, by_column, order.offsets);
  scatter([=](int64_t p) { return rows[p]; }, by_column, m, given, order.offsets);
  order.positions = std::move(given);
  order.columns.resize(order.positions.size());
  for (size_t k = 0; k < order.positions.size(); ++k)
    order.columns[k] = static_cast<int64_t>(columns[order.positions[k]]);
  return order;
}

template RatedOrder sort_rated(const int32_t*, const int32_t*, int64_t, int64_t, int64_t);
template RatedOrder sort_rated(const int64_t*, const int64_t*, int64_t, int64_t, int64_t);

}  // namespace cpu
}  // namespace debias
