// Stands for torch's header of the same name: the CPU kernels on plain threads, which the thread sanitizer can follow
// (torch's OpenMP run-time it cannot).
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include <torch/csrc/stable/tensor.h>

namespace torch::stable {

inline int& thread_count() {
  static int count = 4;
  return count;
}

inline uint32_t get_num_threads() { return static_cast<uint32_t>(thread_count()); }

template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  const int64_t most = std::max<int64_t>(1, (end - begin) / std::max<int64_t>(1, grain));
  const int64_t workers = std::min<int64_t>(thread_count(), most);
  const auto share = [&](int64_t worker) { return begin + (end - begin) * worker / workers; };
  std::vector<std::thread> threads;
  for (int64_t worker = 1; worker < workers; ++worker)
    threads.emplace_back([&, worker] { f(share(worker), share(worker + 1)); });
  f(begin, share(1));
  for (std::thread& thread : threads) thread.join();
}

}  // namespace torch::stable
