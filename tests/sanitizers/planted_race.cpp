// A sum that the threads share, with and without the race: the thread sanitizer has to see the one and pass the other.
#include <atomic>
#include <cstdio>
#include <cstring>

#include "common/parallel.h"

int main(int argc, char** argv) {
  const bool racy = argc > 1 && std::strcmp(argv[1], "faulty") == 0;
  int64_t sum = 0;
  std::atomic<int64_t> shared{0};
  debias::parallel_blocks(1000, 10, 0, [&](int64_t, int64_t begin, int64_t end) {
    if (racy)
      sum += end - begin;
    else
      shared += end - begin;
  });
  std::printf("%lld\n", static_cast<long long>(sum + shared));
  return sum + shared == 1000 ? 0 : 1;
}
