// Memory that is written once costs more in page faults than in writes: 2 MB pages have 512 times fewer.
#pragma once

#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace debias {

// Asks for huge pages in fresh memory; a wish that the kernel may refuse, without effect on memory in use.
template <class T>
void advise_huge_pages(T* data, int64_t n) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t least = uintptr_t{4} << 20;
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(data + n) / page * page;
  if (end > begin && end - begin >= least) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)n;
#endif
}

}  // namespace debias
