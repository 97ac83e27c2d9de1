// The order in which an epoch visits its samples.
#pragma once

#include <cstdint>

namespace debias {

// A permutation of 0..n-1, a function of (n, seed, epoch) alone.
void epoch_order(int64_t n, uint64_t seed, uint64_t epoch, int64_t* order);

}  // namespace debias
