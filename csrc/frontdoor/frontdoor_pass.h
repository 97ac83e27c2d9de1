// How the CUDA kernels cut the work: a pass lets one thread own a row of one side (mediators or context) and stream the
// other side past it, so that every sum has one writer and a fixed order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "frontdoor/frontdoor_kernels.h"

namespace debias {
namespace frontdoor {

constexpr int kOthers = 16;                  // rows of the other side that a thread holds at a time
constexpr int kMostThreads = 128;            // rows of the own side of a block
constexpr int kFewestThreads = 32;           //
constexpr int64_t kMostShares = 32;          // of a panel's rows in a weight gradient's sum
constexpr int64_t kEnoughBlocks = 528;       // four for each of an H100's multiprocessors
constexpr int64_t kWorkspace = 4 << 20;      // numbers; the own rows go by in panels that fit
constexpr int64_t kMostRows = 1 << 20;       // of a panel
constexpr int64_t kSharedBytes = 48 * 1024;  // what a block gets without asking

// Depends on sizes alone, so that results do not depend on the device.
struct Plan {
  int64_t own, other, hidden, numbers;  // numbers: per own row, hidden + 1 of a gradient, 1 of a mean
  int threads;
  bool shared;  // rows are kept in shared memory
  int64_t panel, splits;

  Plan(int64_t own_rows, int64_t other_rows, int64_t h, int64_t per_row, int64_t bytes)
      : own(own_rows), other(other_rows), hidden(h), numbers(per_row), threads(kMostThreads) {
    while (threads > kFewestThreads && shared_bytes(bytes) > kSharedBytes) threads /= 2;
    shared = shared_bytes(bytes) <= kSharedBytes;
    if (!shared) threads = kMostThreads;
    panel = std::clamp<int64_t>(std::min(own, kWorkspace / numbers), kMostThreads, kMostRows);
    const int64_t blocks = (panel + threads - 1) / threads, groups = (other + kOthers - 1) / kOthers;
    splits = std::max<int64_t>(1, std::min({kEnoughBlocks / blocks, groups / 4, kWorkspace / (panel * numbers)}));
  }

  int64_t panels() const { return own == 0 ? 0 : (own + panel - 1) / panel; }
  // Shares of a panel's rows in the sums for the weights' gradient.
  int64_t shares() const { return std::clamp<int64_t>(panel / 1024, 1, kMostShares); }
  int64_t workspace() const { return splits * panel * numbers; }
  int64_t other_per_split() const { return ((other + kOthers - 1) / kOthers + splits - 1) / splits * kOthers; }
  // Own rows, weights, and a group of the other side; then what the group's rows weigh and which samples they are.
  int64_t shared_bytes(int64_t bytes) const {
    return bytes * hidden * (threads + 1 + kOthers) + kOthers * (bytes + static_cast<int64_t>(sizeof(int64_t)));
  }
};

// One panel of own rows. sums: [split][number][panel row]; the last number of a gradient is the sum of the slopes, the
// one number of a mean the sum of the probabilities.
template <class Storage>
struct PassArgs {
  using T = accumulator_t<Storage>;
  const Storage *own, *other, *weight, *bias;
  const T* coefficients;  // of the other rows' slopes; null: 1
  const int64_t* context_index;
  int own_is_context, exclude_self;
  int64_t teachers, first, count, panel, n_other, other_per_split, hidden;
  T* sums;

  // The sample that a row of the context, or of the mediators, is.
  DEBIAS_HD int64_t sample_of(int64_t row, int is_context) const {
    if (!is_context) return row / teachers;
    return context_index ? context_index[row] : row;
  }
};

}  // namespace frontdoor
}  // namespace debias
