// What a fiber has to tell the sanitizers. The functions are weak: null unless the program is linked with that
// sanitizer.
#pragma once

#include <cstddef>

extern "C" {
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* size);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* address, size_t size);
__attribute__((weak)) void* __tsan_get_current_fiber(void);
__attribute__((weak)) void* __tsan_create_fiber(unsigned flags);
__attribute__((weak)) void __tsan_destroy_fiber(void* fiber);
__attribute__((weak)) void __tsan_switch_to_fiber(void* fiber, unsigned flags);
__attribute__((weak)) void __tsan_acquire(void* address);
__attribute__((weak)) void __tsan_release(void* address);
}

namespace debias_emulation {

inline bool thread_sanitizer() { return __tsan_create_fiber != nullptr; }

// A place where happens-before is announced: what was done before release() is seen after acquire().
struct SyncPoint {
  alignas(8) char place[8];
  void release() {
    if (__tsan_release) __tsan_release(place);
  }
  void acquire() {
    if (__tsan_acquire) __tsan_acquire(place);
  }
};

// Switching without synchronisation: two fibers stay as unordered as two CUDA threads.
inline void switch_race_detector(void* fiber) {
  constexpr unsigned kNoSynchronisation = 1;
  if (thread_sanitizer()) __tsan_switch_to_fiber(fiber, kNoSynchronisation);
}

}  // namespace debias_emulation
