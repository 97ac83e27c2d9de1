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
    const Index* sorted[2];
    for (size_t which = 0; which < 2; ++which) {
      LookaheadBlockSide<A>& side = block.sides[which];
      const auto [values, order] = sort(which == 0 ? users : items);
      sorted[which] = memory().template keep<Index>(values);
      side.order = memory().template keep<int64_t>(order);
      side.rows = values.numel();
      local_[which] = memory().hold(torch::stable::new_empty(users, {pairs}, ScalarType::Long));
      side.local = output<int64_t>(*local_[which]);
      side.pair_weight = memory().template zeros<A>(pairs);
    }
    block.pair_value = memory().template zeros<A>(pairs);
    memory().carve([&](Arena& arena) {
      block.shares = arena.take<double>(cuda::gram_products_workspace(std::max(args.m, args.n), d, d));
      block.faults = arena.take<int64_t>(4);
      place(arena, block.sides[0], d, args.pairs.upper.n, args.pairs.user_table.bias);
      place(arena, block.sides[1], d, args.pairs.upper.n, args.pairs.item_table.bias);
      block.sides[1].value = arena.take<A>(1);
    });
    for (size_t which = 0; which < 2; ++which) {
      rows.work.sides[which].block_rows = block.sides[which].slot_rows;
      rows.work.sides[which].block_gradient = block.sides[which].gradient;
      rows.work.sides[which].block_gradient_bias = block.sides[which].gradient_bias;
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

  static void place(Arena& arena, LookaheadBlockSide<A>& side, int64_t d, int64_t n, const T* bias) {
    const auto biases = [&] { return bias ? arena.take<A>(side.rows) : nullptr; };
    side.slots = arena.take<int64_t>(side.rows);
    side.slot_rows = arena.take<int64_t>(n);
    side.factors = arena.take<A>(side.rows * d), side.bias = biases(), side.weight = arena.take<A>(side.rows);
    side.gradient = arena.take<A>(side.rows * d), side.gradient_bias = biases();
    side.direction = arena.take<A>(side.rows * d), side.direction_bias = biases();
    side.contraction = arena.take<A>(side.rows);
    side.gram = arena.take<double>((d + 2) * gram_width(d));
    side.cross = arena.take<double>((d + 2) * gram_width(d));
  }

  std::array<std::optional<Tensor>, 2> local_;
};

}  // namespace debias
