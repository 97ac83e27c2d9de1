// The workspace of the CUDA kernels: the upper batch sorted by row, and the lower rows by the slots that they meet.
#pragma once

#include <array>

#include "common/device_memory.h"
#include "common/torch_ops.h"
#include "lookahead/lookahead_kernels.h"
#include "mf_score/mf_score_kernels.h"

namespace debias {

template <class T>
class LookaheadDevice {
 public:
  using A = accumulator_t<T>;

  template <class Index>
  LookaheadDevice(const LookaheadArgs<T, Index>& args, const Tensor& upper_users, const Tensor& upper_items,
                  void* stream)
      : memory(upper_users), n_(args.upper.n) {
    const Index* sorted[2];
    for (size_t which = 0; which < 2; ++which) {
      sorted[which] = sort_upper<Index>(work.sides[which], which == 0 ? upper_users : upper_items, stream);
      keys[which] = memory.hold(torch::stable::new_empty(upper_users, {args.lower.n}, ScalarType::Long));
      work.sides[which].keys = output<int64_t>(*keys[which]);
    }
    memory.carve([&](Arena& arena) {
      work.lower_scores = arena.take<A>(args.lower.n);
      work.lower_slopes = arena.take<A>(args.lower.n);
      work.upper_slopes = arena.take<A>(n_);
      work.values = arena.take<A>(n_);
      for (LookaheadSlots<A>& side : work.sides) place(arena, side, args.factors, args.step.adam != 0);
    });
    cuda::lookahead_match(args, work, sorted[0], sorted[1], stream);
  }

  // Groups the lower rows by these keys of theirs, on the device.
  void sort_lower(size_t which, const Tensor& by) {
    const auto [sorted_keys, order] = sort(by);
    work.sides[which].sorted_keys = memory.template keep<int64_t>(sorted_keys);
    work.sides[which].lower_order = memory.template keep<int64_t>(order);
  }

  DeviceMemory memory;
  LookaheadWorkspace<A> work{};
  std::array<std::optional<Tensor>, 2> keys;  // the slots of the lower rows

 private:
  template <class Index>
  const Index* sort_upper(LookaheadSlots<A>& side, const Tensor& indices, void* stream) {
    const auto [sorted, order] = sort(indices);
    const Tensor heads = torch::stable::new_empty(indices, {n_}, ScalarType::Long);
    cuda::segment_heads(pointer<Index>(sorted), n_, output<int64_t>(heads), stream);
    side.order = memory.template keep<int64_t>(order);
    side.slots = memory.template keep<int64_t>(cumsum(heads));
    return memory.template keep<Index>(sorted);
  }

  void place(Arena& arena, LookaheadSlots<A>& side, int64_t d, bool adam) {
    side.rows = arena.take<int64_t>(n_);
    side.begins = arena.take<int64_t>(n_);
    side.sample_slots = arena.take<int64_t>(n_);
    side.stepped = arena.take<A>(n_ * d);
    side.stepped_bias = arena.take<A>(n_);
    side.gradient = arena.take<A>(n_ * d);
    side.gradient_bias = arena.take<A>(n_);
    if (!adam) return;
    side.response = arena.take<A>(n_ * d);
    side.response_bias = arena.take<A>(n_);
  }

  int64_t n_;
};

}  // namespace debias
