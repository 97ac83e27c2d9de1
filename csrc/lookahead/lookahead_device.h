// The workspace of the CUDA kernels: the upper batch sorted by row, and the lower rows by the slots that they meet.
#pragma once

#include <vector>

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
      : like_(upper_users), n_(args.upper.n), m_(args.lower.n) {
    work_.lower_scores = floats(m_);
    work_.lower_slopes = floats(m_);
    work_.upper_slopes = floats(n_);
    work_.values = floats(n_);
    const Index* sorted[2];
    Tensor keys[2]{integers(m_), integers(m_)};
    for (int which = 0; which < 2; ++which) {
      sorted[which] = sort_upper<Index>(work_.sides[which], which == 0 ? upper_users : upper_items, stream);
      allocate(work_.sides[which], args.factors, args.step.adam != 0);
      work_.sides[which].keys = output<int64_t>(keys[which]);
    }
    cuda::lookahead_match(args, work_, sorted[0], sorted[1], stream);
    for (int which = 0; which < 2; ++which) {
      const auto [sorted_keys, order] = sort(keys[which]);
      work_.sides[which].sorted_keys = keep<int64_t>(sorted_keys);
      work_.sides[which].lower_order = keep<int64_t>(order);
    }
  }

  const LookaheadWorkspace<A>& workspace() const { return work_; }

 private:
  template <class V>
  const V* keep(const Tensor& tensor) {
    kept_.push_back(tensor);
    return pointer<V>(tensor);
  }

  Tensor integers(int64_t count) {
    kept_.push_back(torch::stable::new_empty(like_, {count}, ScalarType::Long));
    return kept_.back();
  }

  A* floats(int64_t count) {
    kept_.push_back(torch::stable::new_empty(like_, {count}, sizeof(A) == 8 ? ScalarType::Double : ScalarType::Float));
    return output<A>(kept_.back());
  }

  template <class Index>
  const Index* sort_upper(LookaheadSlots<A>& side, const Tensor& indices, void* stream) {
    const auto [sorted, order] = sort(indices);
    const Tensor heads = integers(n_);
    cuda::segment_heads(pointer<Index>(sorted), n_, output<int64_t>(heads), stream);
    side.order = keep<int64_t>(order);
    side.slots = keep<int64_t>(cumsum(heads));
    return keep<Index>(sorted);
  }

  void allocate(LookaheadSlots<A>& side, int64_t d, bool adam) {
    side.rows = output<int64_t>(integers(n_));
    side.begins = output<int64_t>(integers(n_));
    side.sample_slots = output<int64_t>(integers(n_));
    side.stepped = floats(n_ * d);
    side.stepped_bias = floats(n_);
    side.gradient = floats(n_ * d);
    side.gradient_bias = floats(n_);
    if (!adam) return;
    side.response = floats(n_ * d);
    side.response_bias = floats(n_);
  }

  Tensor like_;
  int64_t n_, m_;
  std::vector<Tensor> kept_;
  LookaheadWorkspace<A> work_{};
};

}  // namespace debias
