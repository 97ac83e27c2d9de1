// Where threads wait for one another: barriers, warp collectives, and the checks of what they are given.
#include <cstdio>
#include <string>

#include "machine.h"

namespace debias_emulation {

void check_aligned(const void* pointer, size_t alignment, const char* file, int line) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0)
    fail({file, line},
         [&] { return "misaligned vector access: the address has to be a multiple of " + std::to_string(alignment); });
}

void fence() {
  m.fence.acquire();
  m.fence.release();
}

void barrier(const char* file, int line) {
  Block& block = *m.block;
  const Site site{file, line};
  if (block.threads_left != 0)
    fail(site, [&] {
      return std::to_string(block.threads_left) + " threads have left the kernel before others wait in __syncthreads";
    });
  if (block.at_barrier != 0 && !(block.barrier_site == site))
    fail(site, [] { return "divergent barrier: __syncthreads here, while " + waiting_threads(); });
  wait(State::at_barrier, "__syncthreads", site);
  block.barrier_site = site;
  SyncPoint& sync = block.barrier_sync[block.barrier_round % 2];
  sync.release();
  if (++block.at_barrier == m.threads) {
    block.at_barrier = 0;
    ++block.barrier_round;
    for (unsigned i = 0; i < m.threads; ++i) make_ready(m.fibers[m.schedule.nth(i, m.threads)]);
  }
  suspend();
  sync.acquire();
}

namespace {

std::string hexadecimal(unsigned mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

Meeting& meeting_at(unsigned warp, const char* name, unsigned mask, const Site& site) {
  std::deque<Meeting>& meetings = m.block->meetings[warp];
  for (Meeting& meeting : meetings)
    if (meeting.mask == mask && meeting.site == site && std::strcmp(meeting.name, name) == 0) return meeting;
  AsHost scope;
  meetings.push_back({name, mask, site, 0, 0, {}});
  return meetings.back();
}

void check_mask(const char* name, unsigned mask, const Site& site) {
  const unsigned warp = m.current->number / 32, lane = m.current->number % 32;
  const unsigned lanes = m.threads - warp * 32;
  const char* fault = nullptr;
  if (!(mask >> lane & 1u)) fault = "is called by a lane outside its mask";
  if (lanes < 32 && mask >> lanes) fault = "names lanes that the block does not have";
  if (mask & m.block->left[warp]) fault = "names lanes that have left the kernel";
  if (fault) fail(site, [&] { return std::string(name) + " with mask " + hexadecimal(mask) + " " + fault; });
}

// The last lane to arrive computes what every lane gets.
void complete(Collective kind, unsigned mask, unsigned first) {
  uint64_t ballot = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if ((mask >> lane & 1u) && m.fibers[first + lane].value) ballot |= uint64_t{1} << lane;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1u)) continue;
    Fiber& fiber = m.fibers[first + lane];
    const unsigned source = fiber.source_lane == kOwnValue ? lane : fiber.source_lane;
    const uint64_t exchanged = mask >> source & 1u ? m.fibers[first + source].value : ~uint64_t{0};
    fiber.result = kind == Collective::ballot ? ballot : exchanged;
  }
  for (unsigned i = 0; i < 32; ++i) {
    const unsigned lane = m.schedule.nth(i, 32);
    if (mask >> lane & 1u) make_ready(m.fibers[first + lane]);
  }
}

}  // namespace

uint64_t collective(Collective kind, const char* name, unsigned mask, uint64_t value, unsigned source_lane,
                    const char* file, int line) {
  const Site site{file, line};
  check_mask(name, mask, site);
  Fiber& self = *m.current;
  const unsigned warp = self.number / 32;
  Meeting& meeting = meeting_at(warp, name, mask, site);
  SyncPoint& sync = meeting.sync[meeting.round % 2];
  if (kind == Collective::synchronise) sync.release();
  self.value = value;
  self.source_lane = source_lane;
  wait(State::at_collective, name, site);
  meeting.arrived |= 1u << (self.number % 32);
  if (meeting.arrived == mask) {
    meeting.arrived = 0;
    ++meeting.round;
    complete(kind, mask, warp * 32);
  }
  suspend();
  if (kind == Collective::synchronise) sync.acquire();
  return self.result;
}

}  // namespace debias_emulation
