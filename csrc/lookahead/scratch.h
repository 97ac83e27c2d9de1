// Working memory of one call. A thread keeps its last small block, so that steps in a loop touch no fresh pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace debias {

class Scratch {
 public:
  explicit Scratch(size_t bytes) {
    std::swap(block_, kept());
    if (block_.size < bytes) block_ = {std::unique_ptr<unsigned char[]>(new unsigned char[bytes]), bytes};
  }
  ~Scratch() {
    if (block_.size <= kLargestKept) std::swap(block_, kept());
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Uninitialised, on cache lines. `bytes` of the constructor covers scratch_bytes<T>(n) of each call.
  template <class T>
  T* take(int64_t n) {
    const auto address = reinterpret_cast<uintptr_t>(block_.memory.get()) + used_;
    const uintptr_t begin = (address + kAlign - 1) / kAlign * kAlign;
    used_ += begin - address + static_cast<size_t>(n) * sizeof(T);
    return reinterpret_cast<T*>(begin);
  }

  static constexpr size_t kAlign = 64;

 private:
  static constexpr size_t kLargestKept = size_t{4} << 20;
  struct Block {
    std::unique_ptr<unsigned char[]> memory;
    size_t size = 0;
  };
  static Block& kept() {
    static thread_local Block block;
    return block;
  }

  Block block_;
  size_t used_ = 0;
};

template <class T>
size_t scratch_bytes(int64_t n) {
  return static_cast<size_t>(n) * sizeof(T) + Scratch::kAlign;
}

}  // namespace debias
