// Gradient rows that a kernel writes while it holds the rows of a pair: those that no other pair of the batch shares.
#pragma once

#include <vector>

#include "common/hostdevice.h"
#include "mf_score/mf_score_kernels.h"

namespace debias {

// One side. The shared rows are left to cpu::row_gradient(..., shared, false).
struct DirectSlots {
  std::vector<int64_t> slots;  // of each pair's row among the distinct ones; -1 where it is shared
  Segments shared;             // `rows` are slots
};

inline DirectSlots direct_slots(const Segments& segments) {
  DirectSlots direct;
  direct.slots.assign(segments.order.size(), -1);
  direct.shared.offsets.push_back(0);
  for (size_t j = 0; j < segments.rows.size(); ++j) {
    const auto begin = segments.order.begin() + segments.offsets[j],
               end = segments.order.begin() + segments.offsets[j + 1];
    if (end - begin == 1) {
      direct.slots[static_cast<size_t>(*begin)] = static_cast<int64_t>(j);
      continue;
    }
    direct.shared.rows.push_back(static_cast<int64_t>(j));
    direct.shared.order.insert(direct.shared.order.end(), begin, end);
    direct.shared.offsets.push_back(static_cast<int64_t>(direct.shared.order.size()));
  }
  return direct;
}

template <class T>
DEBIAS_HD void scaled_row(T factor, const T* __restrict row, T* __restrict out, int64_t factors) {
#pragma omp simd
  for (int64_t f = 0; f < factors; ++f) out[f] = factor * row[f];
}

// Of the pairs begin .. end, whose slopes are slopes[0 .. end - begin)
template <class T, class Index>
struct DirectRowsBlock {
  static DEBIAS_HD void run(const MFScoreArgs<T, Index>* args, const DirectRows<T>* direct, const T* slopes,
                            int64_t begin, int64_t end) {
    const T* user_factors = args->user_factors;
    const T* item_factors = args->item_factors;
    const Index* users = args->users;
    const Index* items = args->items;
    const int64_t d = args->factors;
    const int64_t* user_slots = direct->user_slots;
    const int64_t* item_slots = direct->item_slots;
    T* user_rows = direct->user_rows;
    T* item_rows = direct->item_rows;
    for (int64_t k = begin; k < end; ++k) {
      const T slope = slopes[k - begin];
      if (user_rows && user_slots[k] >= 0)
        scaled_row(slope, item_factors + items[k] * d, user_rows + user_slots[k] * d, d);
      if (item_rows && item_slots[k] >= 0)
        scaled_row(slope, user_factors + users[k] * d, item_rows + item_slots[k] * d, d);
    }
  }
};

}  // namespace debias
