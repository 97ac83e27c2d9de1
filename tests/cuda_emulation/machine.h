// What the run time knows: the threads of the block that runs, where they wait, and the turn each has.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda_emulation.h"
#include "fiber.h"
#include "schedule.h"

namespace debias_emulation {

struct Site {
  const char* file = nullptr;
  int line = 0;
  bool operator==(const Site& other) const {
    return line == other.line && (file == other.file || std::strcmp(file, other.file) == 0);
  }
  std::string text() const { return std::string(file) + ":" + std::to_string(line); }
};

enum class State { idle, ready, at_barrier, at_collective, left };

struct Fiber : Context {
  unsigned number = 0;  // in the block
  uint3 index{};
  State state = State::idle;
  Site waits_at;
  const char* waits_in = "";
  uint64_t value = 0, result = 0;
  unsigned source_lane = 0;
};

// Where the lanes of one mask meet at one call site. Two sync points in turn: a lane that is late to leave one meeting
// must not see what a quick one did before the next.
struct Meeting {
  const char* name;
  unsigned mask;
  Site site;
  unsigned arrived = 0, round = 0;
  SyncPoint sync[2];
};

struct SharedArray {
  const void* key;
  std::unique_ptr<unsigned char[]> bytes;
  SyncPoint filled;
};

struct Block {
  std::deque<SharedArray> arrays;  // the dynamic one first
  size_t static_bytes = 0;
  std::vector<std::deque<Meeting>> meetings;  // by warp
  std::vector<unsigned> left;                 // by warp: lanes that have left the kernel
  unsigned threads_left = 0, at_barrier = 0, barrier_round = 0;
  Site barrier_site;
  SyncPoint barrier_sync[2];
};

struct Machine {
  std::mutex mutex;
  Context host;
  std::deque<Fiber> fibers;
  Fiber* current = nullptr;
  Schedule schedule;
  dim3 grid, block_size;
  uint3 block_index{};
  unsigned threads = 0;
  std::unique_ptr<Block> block;
  std::vector<std::unique_ptr<Block>> finished;  // kept to the end of the launch for the race detector
  std::vector<void*> race_contexts;
  size_t next_race_context = 0;
  void (*call)(void*) = nullptr;
  void* closure = nullptr;
  std::string error;
  SyncPoint start, done, fence;
};

extern Machine& m;

// Bookkeeping allocates and frees as the host does, or the race detector would see CUDA threads race in it.
struct AsHost {
  AsHost() { switch_race_detector(m.host.race_context); }
  ~AsHost() { switch_race_detector(m.current->race_context); }
};

std::string thread_name(const Fiber& fiber);
std::string place_in_grid();
std::string waiting_threads();

// Ends the launch: the fibers stay where they are and are made anew for the next one. what() gives the text.
template <class Text>
[[noreturn]] void fail(const Site& site, const Text& what) {
  {
    AsHost scope;
    m.error =
        (site.file ? site.text() + ": " : "") + what() + " [" + thread_name(*m.current) + ", " + place_in_grid() + "]";
  }
  switch_context(*m.current, m.host);
  __builtin_unreachable();
}

void make_ready(Fiber& fiber);
void wait(State state, const char* name, const Site& site);  // notes where the running thread waits
void suspend();  // gives the processor to the next thread that can run; returns when this one can

}  // namespace debias_emulation
