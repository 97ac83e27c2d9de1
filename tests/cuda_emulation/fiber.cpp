#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <new>

#ifndef DEBIAS_EMULATION_UCONTEXT
// Saves the callee-saved registers on the old stack, takes them from the new one. System V x86-64.
asm(R"(
.text
.hidden debias_emulation_switch
.globl debias_emulation_switch
.type debias_emulation_switch, @function
debias_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size debias_emulation_switch, .-debias_emulation_switch
)");
extern "C" void debias_emulation_switch(void** save_to, void* load_from);
#endif

namespace debias_emulation {
namespace {

constexpr size_t kStackBytes = 256 * 1024;   // committed by the page as it is used
constexpr size_t kRenewedBytes = 32 * 1024;  // more than kernels use
constexpr int kPrivateMemory = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

void finish(void* fake_stack, Context& previous) {
  if (!__sanitizer_finish_switch_fiber) return;
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(fake_stack, &bottom, &size);
  previous.bottom = const_cast<void*>(bottom);
  previous.size = size;
}

Context* switched_from = nullptr;

}  // namespace

void Context::allocate() {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* const memory = mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE, kPrivateMemory, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, page, PROT_NONE);
  bottom = static_cast<char*>(memory) + page;
  size = kStackBytes;
}

void Context::renew() {
  char* const upper = static_cast<char*>(bottom) + size - kRenewedBytes;
  if (mmap(upper, kRenewedBytes, PROT_READ | PROT_WRITE, kPrivateMemory | MAP_FIXED, -1, 0) == MAP_FAILED)
    throw std::bad_alloc();
}

void Context::reset(void (*entry)()) {
  if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(bottom, size);
  fake_stack = nullptr;
#ifdef DEBIAS_EMULATION_UCONTEXT
  getcontext(&saved);
  saved.uc_stack.ss_sp = bottom;
  saved.uc_stack.ss_size = size;
  saved.uc_link = nullptr;
  makecontext(&saved, entry, 0);
#else
  // top: six registers, the address that `ret` takes, an empty return address that ends a backtrace
  void** const top = reinterpret_cast<void**>(static_cast<char*>(bottom) + size);
  std::memset(top - 8, 0, 8 * sizeof(void*));
  top[-2] = reinterpret_cast<void*>(entry);
  stack_pointer = top - 8;
#endif
}

void switch_context(Context& from, Context& to) {
  if (__sanitizer_start_switch_fiber) __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
  switch_race_detector(to.race_context);
  switched_from = &from;
#ifdef DEBIAS_EMULATION_UCONTEXT
  swapcontext(&from.saved, &to.saved);
#else
  debias_emulation_switch(&from.stack_pointer, to.stack_pointer);
#endif
  finish(from.fake_stack, *switched_from);
}

void first_entry() { finish(nullptr, *switched_from); }

}  // namespace debias_emulation
