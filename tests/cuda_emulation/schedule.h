// In which order the threads of a block, and the blocks of a grid, get their turn. A right kernel gives the same result
// in every order. DEBIAS_EMULATION_ORDER = forward (default) | reverse | random:SEED, read at every launch.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace debias_emulation {

class Schedule {
 public:
  void configure() {
    const char* const setting = std::getenv("DEBIAS_EMULATION_ORDER");
    const std::string order = setting ? setting : "forward";
    if (order == "forward") {
      order_ = Order::forward;
    } else if (order == "reverse") {
      order_ = Order::reverse;
    } else if (order.rfind("random:", 0) == 0) {
      order_ = Order::random;
      state_ = std::stoull(order.substr(7));
    } else {
      throw std::runtime_error("DEBIAS_EMULATION_ORDER must be forward, reverse or random:SEED, got " + order);
    }
  }

  // 0..count-1 in this order, for who becomes ready together; random order comes from pop()
  unsigned nth(unsigned i, unsigned count) const { return order_ == Order::reverse ? count - 1 - i : i; }

  std::vector<uint64_t> order_of(uint64_t count) {
    std::vector<uint64_t> order(count);
    std::iota(order.begin(), order.end(), uint64_t{0});
    if (order_ == Order::reverse) return {order.rbegin(), order.rend()};
    for (uint64_t i = count; order_ == Order::random && i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    return order;
  }

  // The queue of threads that can run; `capacity` bounds how many there are at a time.
  void clear(unsigned capacity) {
    queue_.assign(capacity, 0);
    head_ = size_ = 0;
  }
  bool empty() const { return size_ == 0; }

  void push(unsigned thread) {
    const unsigned place = head_ + size_++;
    queue_[place < queue_.size() ? place : place - queue_.size()] = thread;
  }

  unsigned pop() {
    if (order_ == Order::random) {
      const unsigned place = head_ + static_cast<unsigned>(random() % size_);
      std::swap(queue_[head_], queue_[place < queue_.size() ? place : place - queue_.size()]);
    }
    const unsigned thread = queue_[head_];
    head_ = head_ + 1 < queue_.size() ? head_ + 1 : 0;
    --size_;
    return thread;
  }

 private:
  enum class Order { forward, reverse, random };

  uint64_t random() {  // splitmix64
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  Order order_ = Order::forward;
  uint64_t state_ = 0;
  std::vector<unsigned> queue_;
  unsigned head_ = 0, size_ = 0;
};

}  // namespace debias_emulation
