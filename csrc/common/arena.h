// Arrays carved out of one block of memory.
#pragma once

#include <cstdint>

#include "common/hostdevice.h"

namespace debias {

// With a null base it only counts the bytes.
class Arena {
 public:
  DEBIAS_HD explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  template <class T>
  DEBIAS_HD T* take(int64_t count) {
    char* const at = base_ ? base_ + used_ : nullptr;
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 15) / 16 * 16;
    return reinterpret_cast<T*>(at);
  }
  DEBIAS_HD int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

}  // namespace debias
