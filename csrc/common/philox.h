// Philox4x32-10: random numbers as a function of a counter and a key. What a row draws depends neither on who draws it
// nor on what was drawn before.
// Salmon, Moraes, Dror and Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
#pragma once

#include <cstdint>

#include "common/hostdevice.h"

namespace debias {

struct Philox {
  uint64_t low, high;  // 32-bit words 0 and 1, 2 and 3, the earlier one in the low half
};

// 32-bit words in 64-bit lanes: a loop over counters then vectorises without conversions.
constexpr DEBIAS_HD Philox philox(uint64_t counter_low, uint64_t counter_high, uint64_t key) {
  constexpr uint64_t word = 0xffffffffu;
  uint64_t c0 = counter_low & word, c1 = counter_low >> 32, c2 = counter_high & word, c3 = counter_high >> 32;
  uint64_t k0 = key & word, k1 = key >> 32;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = (p1 >> 32) ^ c1 ^ k0;
    c1 = p1 & word;
    c2 = (p0 >> 32) ^ c3 ^ k1;
    c3 = p0 & word;
    k0 = (k0 + 0x9E3779B9u) & word;
    k1 = (k1 + 0xBB67AE85u) & word;
  }
  return {c0 | c1 << 32, c2 | c3 << 32};
}

// floor(random n / 2^64) for 1 <= n <= 2^32: the probability of a value differs from 1/n by less than 2^-64.
constexpr DEBIAS_HD uint64_t bounded(uint64_t random, uint64_t n) {
  const uint64_t carried = (random & 0xffffffffu) * n >> 32;
  return ((random >> 32) * n + carried) >> 32;
}

}  // namespace debias
