// Philox4x32-10: random numbers as a function of a counter and a key, so that the numbers of a row do not depend on who
// draws them, nor on what was drawn before.
// Salmon, Moraes, Dror and Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
#pragma once

#include <cstdint>

#include "common/hostdevice.h"

namespace debias {

struct Philox {
  uint32_t words[4];

  DEBIAS_HD uint64_t low() const { return words[0] | static_cast<uint64_t>(words[1]) << 32; }
  DEBIAS_HD uint64_t high() const { return words[2] | static_cast<uint64_t>(words[3]) << 32; }
};

DEBIAS_HD Philox philox(uint64_t counter_low, uint64_t counter_high, uint64_t key) {
  uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0, p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// floor(random n / 2^64) for 1 <= n <= 2^32: each value has probability 1/n, but for less than 2^-64.
DEBIAS_HD uint64_t bounded(uint64_t random, uint64_t n) {
  const uint64_t low = (random & 0xffffffffu) * n >> 32;
  return ((random >> 32) * n + low) >> 32;
}

}  // namespace debias
