// The workspace of the CUDA kernels of a block: its rows gathered and its rated pairs grouped by them.
#pragma once

#include <algorithm>

#include "block/gram.h"
#include "lookahead/lookahead_block_kernels.h"
#include "lookahead/lookahead_device.h"

namespace debias {

template <class T>
class LookaheadBlockDevice {
 public:
  using A = accumulator_t<T>;

  template <class Index>
  LookaheadBlockDevice(const LookaheadBlockArgs<T, Index>& args, const Tensor& upper_users, const Tensor& upper_items,
                       const Tensor& users, const Tensor& items, void* stream)
      : rows(args.pairs, upper_users, upper_items, stream) {
    const int64_t d = args.pairs.factors, pairs = args.pairs.lower.n;
    const int64_t most_rows = std::max(args.m, args.n);
    block.shares = memory().template take<double>(cuda::gram_products_workspace(most_rows, d, d));
    block.pair_value = memory().template zeros<A>(pairs);
    block.faults = memory().template take<int64_t>(4);
    const Index* sorted[2];
    for (size_t which = 0; which < 2; ++which) {
      const auto [values, order] = sort(which == 0 ? users : items);
      sorted[which] = memory().template keep<Index>(values);
      block.sides[which].order = memory().template keep<int64_t>(order);
      block.sides[which].rows = values.numel();
      local_[which] = memory().hold(torch::stable::new_empty(users, {pairs}, ScalarType::Long));
      allocate(which, d, args.pairs.upper.n, pairs,
               which == 0 ? args.pairs.user_table.bias : args.pairs.item_table.bias);
    }
    cuda::lookahead_block_match(args, rows.work, block, sorted[0], sorted[1], stream);
  }

  void sort_pairs() {
    for (size_t which = 0; which < 2; ++which) rows.sort_lower(which, *local_[which]);
  }

  LookaheadDevice<T> rows;
  LookaheadBlockWorkspace<A> block{};

 private:
  DeviceMemory& memory() { return rows.memory; }

  void allocate(size_t which, int64_t d, int64_t n, int64_t pairs, const T* bias) {
    LookaheadBlockSide<A>& side = block.sides[which];
    LookaheadSlots<A>& slots = rows.work.sides[which];
    const auto floats = [&](int64_t count) { return memory().template take<A>(count); };
    const auto biases = [&] { return bias ? floats(side.rows) : nullptr; };
    side.slots = memory().template take<int64_t>(side.rows);
    side.slot_rows = memory().template take<int64_t>(n);
    side.local = output<int64_t>(*local_[which]);
    side.factors = floats(side.rows * d), side.bias = biases(), side.weight = floats(side.rows);
    side.value = which == 0 ? nullptr : floats(1);
    side.gradient = floats(side.rows * d), side.gradient_bias = biases();
    side.direction = floats(side.rows * d), side.direction_bias = biases();
    side.contraction = floats(side.rows);
    side.pair_weight = memory().template zeros<A>(pairs);
    side.gram = memory().template take<double>((d + 2) * gram_width(d));
    side.cross = memory().template take<double>((d + 2) * gram_width(d));
    slots.block_rows = side.slot_rows;
    slots.block_gradient = side.gradient;
    slots.block_gradient_bias = side.gradient_bias;
  }

  std::array<std::optional<Tensor>, 2> local_;
};

}  // namespace debias
