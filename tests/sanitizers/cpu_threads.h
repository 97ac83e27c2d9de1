// The same bits on one, two and four threads: what the programs for the thread sanitizer share.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>

#include "common/parallel.h"
#include "cuda_emulation/harness.h"

namespace harness {

// run() writes its results; they have to be the same whatever the number of threads.
inline void check_threads(const std::function<std::vector<double>()>& run) {
  std::vector<double> first;
  for (int threads : {1, 2, 4}) {
    torch::stable::thread_count() = threads;
    const std::vector<double> result = run();
    expect(!result.empty(), "there are results");
    if (threads == 1) first = result;
    expect(result.size() == first.size() && std::memcmp(result.data(), first.data(), 8 * first.size()) == 0,
           "the same bits on " + std::to_string(threads) + " threads");
  }
}

template <class... Vectors>
void append(std::vector<double>& result, const Vectors&... vectors) {
  const auto add = [&](const auto& values) {
    for (auto value : values) result.push_back(static_cast<double>(value));
  };
  (add(vectors), ...);
}

}  // namespace harness
