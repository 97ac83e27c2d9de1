// Stacks of their own and the switch between them.
#pragma once

#include <cstddef>

#include "sanitizers.h"

#if !defined(__x86_64__) && !defined(DEBIAS_EMULATION_UCONTEXT)
#define DEBIAS_EMULATION_UCONTEXT
#endif
#ifdef DEBIAS_EMULATION_UCONTEXT
#include <ucontext.h>
#endif

namespace debias_emulation {

// A point of execution: the launching thread's own, or a fiber with a stack from allocate().
struct Context {
#ifdef DEBIAS_EMULATION_UCONTEXT
  ucontext_t saved{};
#else
  void* stack_pointer = nullptr;
#endif
  void* bottom = nullptr;
  size_t size = 0;
  void* fake_stack = nullptr;    // of the address sanitizer
  void* race_context = nullptr;  // of the thread sanitizer

  void allocate();              // a stack with a guard page, kept for the life of the process
  void renew();                 // makes the race detector forget what happened on the upper part of the stack
  void reset(void (*entry)());  // the next switch to this context calls entry(), which never returns
};

void switch_context(Context& from, Context& to);
void first_entry();  // has to be the first call of entry()

}  // namespace debias_emulation
