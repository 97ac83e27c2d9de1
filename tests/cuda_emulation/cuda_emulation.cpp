// The run time of the emulation: one fiber per CUDA thread, one block at a time, a switch wherever a thread has to
// wait. Under the thread sanitizer each CUDA thread of each block is a fiber of the detector too, ordered by nothing
// but the launch, __syncthreads, __syncwarp and fences: a missing barrier or atomic is a race whatever the schedule.
#include <exception>
#include <stdexcept>

#include "machine.h"

namespace debias_emulation {

Machine& m = *new Machine;  // never destroyed: its fibers may outlive the static objects

namespace {

// Contexts of the race detector cost 0.4 ms and 0.5 MB each, so launches use the same ones. In a launch of more threads
// than this, some share one, never two at the same place in their blocks; a race between two such threads is missed.
constexpr size_t kRaceContexts = 2003;

std::string extent(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

}  // namespace

std::string thread_name(const Fiber& fiber) { return "thread " + extent(fiber.index.x, fiber.index.y, fiber.index.z); }

std::string place_in_grid() { return "block " + extent(m.block_index.x, m.block_index.y, m.block_index.z); }

std::string waiting_threads() {
  std::string text;
  int shown = 0;
  for (unsigned i = 0; i < m.threads && shown < 4; ++i) {
    const Fiber& fiber = m.fibers[i];
    if (fiber.state != State::at_barrier && fiber.state != State::at_collective) continue;
    text += (shown++ ? "; " : "") + thread_name(fiber) + " waits in " + fiber.waits_in + " at " + fiber.waits_at.text();
  }
  return text;
}

void make_ready(Fiber& fiber) {
  fiber.state = State::ready;
  m.schedule.push(fiber.number);
}

void suspend() {
  Fiber& self = *m.current;
  if (m.schedule.empty()) {
    if (m.block->threads_left == m.threads) return switch_context(self, m.host);
    fail(self.waits_at, [] { return "divergent barrier or collective: nobody can go on: " + waiting_threads(); });
  }
  Fiber& next = m.fibers[m.schedule.pop()];
  if (&next == &self) return;
  m.current = &next;
  switch_context(self, next);
}

void wait(State state, const char* name, const Site& site) {
  Fiber& self = *m.current;
  self.state = state;
  self.waits_in = name;
  self.waits_at = site;
}

namespace {

void leave() {
  Fiber& self = *m.current;
  Block& block = *m.block;
  const unsigned warp = self.number / 32, bit = 1u << (self.number % 32);
  if (block.at_barrier != 0)
    fail(block.barrier_site,
         [] { return "a thread leaves the kernel while others wait in __syncthreads: " + waiting_threads(); });
  for (const Meeting& meeting : block.meetings[warp])
    if (meeting.arrived != 0 && (meeting.mask & bit))
      fail(meeting.site, [&] {
        return std::string("a thread leaves the kernel while others wait for it in ") + meeting.name + ": " +
               waiting_threads();
      });
  block.left[warp] |= bit;
  ++block.threads_left;
  self.state = State::left;
  suspend();
}

void fiber_main() {
  first_entry();
  for (;;) {
    std::string thrown;  // no switch inside a handler: the chain of caught exceptions belongs to the host's thread
    try {
      m.call(m.closure);
    } catch (const std::exception& error) {
      thrown = error.what();
    }
    if (!thrown.empty()) fail({}, [&] { return "exception in a kernel: " + thrown; });
    leave();
  }
}

// Every thread of the launch gets a context no other thread of it has, as long as there are kRaceContexts; all of them
// are ordered behind what the host has done.
void assign_race_contexts() {
  for (unsigned i = 0; i < m.threads; ++i) {
    m.fibers[i].renew();  // what the thread of an earlier block did to this stack is no race
    m.fibers[i].reset(fiber_main);
  }
  m.start.release();
  for (unsigned i = 0; i < m.threads; ++i) {
    if (m.next_race_context == kRaceContexts) m.next_race_context = 0;
    if (m.next_race_context == m.race_contexts.size()) m.race_contexts.push_back(__tsan_create_fiber(0));
    Fiber& fiber = m.fibers[i];
    fiber.race_context = m.race_contexts[m.next_race_context++];
    switch_race_detector(fiber.race_context);
    m.start.acquire();
    switch_race_detector(m.host.race_context);
  }
}

// What the threads of the block did happens before the end of the launch, and before nothing else.
void release_race_contexts() {
  for (unsigned i = 0; i < m.threads; ++i) {
    switch_race_detector(m.fibers[i].race_context);
    m.done.release();
    switch_race_detector(m.host.race_context);
  }
}

SharedArray& add_shared_array(const void* key, size_t bytes) {
  m.block->arrays.push_back({key, std::unique_ptr<unsigned char[]>(new unsigned char[bytes]), {}});
  SharedArray& array = m.block->arrays.back();
  std::memset(array.bytes.get(), 0xff, bytes);  // every floating-point type reads NaN
  array.filled.release();
  return array;
}

void prepare_block(uint64_t number, size_t dynamic_shared_bytes) {
  const uint64_t row = number / m.grid.x;
  m.block_index = {static_cast<unsigned>(number % m.grid.x), static_cast<unsigned>(row % m.grid.y),
                   static_cast<unsigned>(row / m.grid.y)};
  m.block = std::make_unique<Block>();
  m.block->meetings.resize((m.threads + 31) / 32);
  m.block->left.resize((m.threads + 31) / 32);
  add_shared_array(nullptr, dynamic_shared_bytes);
  if (thread_sanitizer()) assign_race_contexts();
  m.schedule.clear(m.threads);
  for (unsigned i = 0; i < m.threads; ++i) make_ready(m.fibers[m.schedule.nth(i, m.threads)]);
}

void run_block(uint64_t number, size_t dynamic_shared_bytes) {
  prepare_block(number, dynamic_shared_bytes);
  m.current = &m.fibers[m.schedule.pop()];
  switch_context(m.host, *m.current);
  if (thread_sanitizer()) {
    release_race_contexts();
    m.finished.push_back(std::move(m.block));
  }
  m.block.reset();
}

void prepare_fibers(dim3 block) {
  while (m.fibers.size() < m.threads) {
    m.fibers.emplace_back();
    m.fibers.back().allocate();
    m.fibers.back().reset(fiber_main);
  }
  for (unsigned i = 0; i < m.threads; ++i) {
    m.fibers[i].number = i;
    m.fibers[i].index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
  }
}

void report_error(const char* file, int line) {
  for (Fiber& fiber : m.fibers) fiber.reset(fiber_main);
  const std::string text = m.error + ", launched at " + Site{file, line}.text();
  m.error.clear();
  throw std::runtime_error(text);
}

}  // namespace

uint3 thread_index() { return m.current->index; }
uint3 block_index() { return m.block_index; }
dim3 block_size() { return m.block_size; }
dim3 grid_size() { return m.grid; }
void* dynamic_shared() { return m.block->arrays.front().bytes.get(); }

void run_kernel(dim3 grid, dim3 block, size_t dynamic_shared_bytes, const char* file, int line, void (*call)(void*),
                void* closure) {
  const std::lock_guard<std::mutex> one_launch_at_a_time(m.mutex);
  m.schedule.configure();
  m.grid = grid;
  m.block_size = block;
  m.threads = block.x * block.y * block.z;
  m.call = call;
  m.closure = closure;
  if (thread_sanitizer()) m.host.race_context = __tsan_get_current_fiber();
  m.next_race_context = 0;
  prepare_fibers(block);
  for (const uint64_t number : m.schedule.order_of(static_cast<uint64_t>(grid.x) * grid.y * grid.z)) {
    run_block(number, dynamic_shared_bytes);
    if (!m.error.empty()) break;
  }
  m.done.acquire();
  m.finished.clear();
  if (!m.error.empty()) report_error(file, line);
}

void* shared_storage(const void* key, size_t bytes) {
  SharedArray* found = nullptr;
  for (SharedArray& array : m.block->arrays)
    if (array.key == key) found = &array;
  if (found == nullptr) {
    AsHost scope;
    m.block->static_bytes += bytes;
    found = &add_shared_array(key, bytes);
  }
  if (m.block->static_bytes > kStaticSharedLimit)
    fail({}, [] {
      return "the kernel has " + std::to_string(m.block->static_bytes) + " bytes of static shared memory, " +
             std::to_string(kStaticSharedLimit) + " are allowed";
    });
  found->filled.acquire();
  return found->bytes.get();
}

}  // namespace debias_emulation
