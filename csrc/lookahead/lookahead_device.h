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
    const int64_t m = args.lower.n;
    work.lower_scores = memory.template take<A>(m);
    work.lower_slopes = memory.template take<A>(m);
    work.upper_slopes = memory.template take<A>(n_);
    work.values = memory.template take<A>(n_);
    const Index* sorted[2];
    for (size_t which = 0; which < 2; ++which) {
      sorted[which] = sort_upper<Index>(work.sides[which], which == 0 ? upper_users : upper_items, stream);
      allocate(work.sides[which], args.factors, args.step.adam != 0);
      keys[which] = memory.hold(torch::stable::new_empty(upper_users, {m}, ScalarType::Long));
      work.sides[which].keys = output<int64_t>(*keys[which]);
    }
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

  void allocate(LookaheadSlots<A>& side, int64_t d, bool adam) {
    const auto floats = [&](int64_t count) { return memory.template take<A>(count); };
    side.rows = memory.template take<int64_t>(n_);
    side.begins = memory.template take<int64_t>(n_);
    side.sample_slots = memory.template take<int64_t>(n_);
    side.stepped = floats(n_ * d);
    side.stepped_bias = floats(n_);
    side.gradient = floats(n_ * d);
    side.gradient_bias = floats(n_);
    if (!adam) return;
    side.response = floats(n_ * d);
    side.response_bias = floats(n_);
  }

  int64_t n_;
};

}  // namespace debias
