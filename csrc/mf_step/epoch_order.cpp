// Every sample draws a bucket from a counter-based generator; each bucket is then shuffled by Fisher and Yates' method
// with a stream of its own (Rao 1961, Sandelius 1962). Buckets fit the cache and are independent of each other.
#include "mf_step/epoch_order.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/parallel.h"

namespace debias {
namespace {

constexpr int64_t kBlock = 1 << 15;          // samples of one task
constexpr int64_t kBucketSamples = 1 << 11;  // about so many a bucket
constexpr int kMaxBucketBits = 12;
constexpr int64_t kSerialBelow = 1 << 15;

uint64_t mixed(uint64_t z) {  // the finaliser of splitmix64 (Steele, Lea and Flood 2014)
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t draw(uint64_t key, uint64_t counter) { return mixed(key + (counter + 1) * 0x9e3779b97f4a7c15u); }

// Uniform in [0, n), up to n / 2^64.
uint64_t below(uint64_t random, uint64_t n) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(random) * n) >> 64);
}

void shuffle(int64_t* values, int64_t n, uint64_t key) {
  for (int64_t k = n - 1; k > 0; --k)
    std::swap(values[k], values[below(draw(key, static_cast<uint64_t>(k)), static_cast<uint64_t>(k) + 1)]);
}

}  // namespace

void epoch_order(int64_t n, uint64_t seed, uint64_t epoch, int64_t* order) {
  const uint64_t key = draw(mixed(seed), epoch), bucket_key = draw(key, 0), shuffle_key = draw(key, 1);
  int bits = 0;
  while (bits < kMaxBucketBits && (kBucketSamples << bits) < n) ++bits;
  const int64_t buckets = int64_t{1} << bits, blocks = block_count(n, kBlock);
  const auto bucket_of = [=](int64_t k) {
    return bits == 0 ? 0 : static_cast<int64_t>(draw(bucket_key, static_cast<uint64_t>(k)) >> (64 - bits));
  };
  std::vector<int64_t> next(static_cast<size_t>(blocks * buckets));  // by block and bucket: where its samples go
  parallel_blocks(n, kBlock, kSerialBelow, [&](int64_t block, int64_t begin, int64_t end) {
    int64_t* counts = next.data() + block * buckets;
    for (int64_t k = begin; k < end; ++k) ++counts[bucket_of(k)];
  });
  std::vector<int64_t> begins{0};
  int64_t total = 0;
  for (int64_t bucket = 0; bucket < buckets; ++bucket) {
    for (int64_t block = 0; block < blocks; ++block)
      total += std::exchange(next[static_cast<size_t>(block * buckets + bucket)], total);
    begins.push_back(total);
  }
  parallel_blocks(n, kBlock, kSerialBelow, [&](int64_t block, int64_t begin, int64_t end) {
    int64_t* places = next.data() + block * buckets;
    for (int64_t k = begin; k < end; ++k) order[places[bucket_of(k)]++] = k;
  });
  parallel_blocks(buckets, 1, n < kSerialBelow ? buckets : 0, [&](int64_t bucket, int64_t, int64_t) {
    const int64_t begin = begins[static_cast<size_t>(bucket)], end = begins[static_cast<size_t>(bucket) + 1];
    shuffle(order + begin, end - begin, draw(shuffle_key, static_cast<uint64_t>(bucket)));
  });
}

}  // namespace debias
