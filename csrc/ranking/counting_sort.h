// A stable counting sort shared by the threads. The order that it produces does not depend on their number.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace debias {

constexpr int64_t kSerialRows = 32768;  // fewer rows stay on the calling thread

// task(t) for t in [0, n): each by the next free thread.
template <class Task>
void run_tasks(int64_t n, const Task& task) {
  if (n <= 1) {
    if (n == 1) task(0);
    return;
  }
  std::atomic<int64_t> next{0};
  const int64_t workers = std::min(n, static_cast<int64_t>(torch::stable::get_num_threads()));
  torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t t = next++; t < n; t = next++) task(t);
  });
}

// Memory without a first value, and 64 bytes of slack for vector loads past the end.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t n) : data_(new T[static_cast<size_t>(n) + 64 / sizeof(T) + 1]) {}
  T* data() const { return data_.get(); }

 private:
  std::unique_ptr<T[]> data_;
};

template <class BucketOf>
void count_buckets(BucketOf bucket_of, int64_t begin, int64_t end, int64_t* counts) {
  for (int64_t row = begin; row < end; ++row) ++counts[bucket_of(row)];
}

// Buckets are far apart: the line that a row goes to is asked for early.
template <class BucketOf, class Emit>
void emit_rows(BucketOf bucket_of, Emit emit, int64_t begin, int64_t end, int64_t* next) {
  constexpr int64_t kAhead = 24;
  int64_t row = begin;
  for (; row < end - kAhead; ++row) {
    emit.prefetch(next[bucket_of(row + kAhead)]);
    emit(row, next[bucket_of(row)]++);
  }
  for (; row < end; ++row) emit(row, next[bucket_of(row)]++);
}

// Places ascend by bucket_of(row), within a bucket by row. BucketOf and Emit are small structs of pointers: they are
// copied to the stack of each loop, so that nothing is read through a reference there.
template <class BucketOf>
class CountingSort {
 public:
  CountingSort(int64_t n, int64_t n_buckets, BucketOf bucket_of) : n_(n), n_buckets_(n_buckets), bucket_of_(bucket_of) {
    const int64_t threads = static_cast<int64_t>(torch::stable::get_num_threads());
    const int64_t affordable = 8 * n / (n_buckets + 1);  // the tables stay small beside the rows
    chunks_ = std::max<int64_t>(1, std::min({threads, n / kSerialRows, affordable}));
    table_.assign(static_cast<size_t>(chunks_ * n_buckets), 0);
    run_tasks(chunks_, [&](int64_t c) { count_buckets(bucket_of_, begin(c), begin(c + 1), table(c)); });
    make_starts();
  }

  // n_buckets + 1 places: where each bucket begins.
  const std::vector<int64_t>& starts() const { return starts_; }

  // emit(row, place) for every row; once.
  template <class Emit>
  void emit(Emit emit) {
    run_tasks(chunks_, [&](int64_t c) { emit_rows(bucket_of_, emit, begin(c), begin(c + 1), table(c)); });
  }

 private:
  int64_t begin(int64_t chunk) const { return n_ / chunks_ * chunk + std::min(chunk, n_ % chunks_); }
  int64_t* table(int64_t chunk) { return table_.data() + chunk * n_buckets_; }

  void make_starts() {
    starts_.resize(static_cast<size_t>(n_buckets_ + 1));
    int64_t place = 0;
    for (int64_t bucket = 0; bucket < n_buckets_; ++bucket) {
      starts_[static_cast<size_t>(bucket)] = place;
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
        const int64_t count = table(chunk)[bucket];
        table(chunk)[bucket] = place;
        place += count;
      }
    }
    starts_.back() = place;
  }

  int64_t n_, n_buckets_, chunks_;
  BucketOf bucket_of_;
  std::vector<int64_t> table_, starts_;
};

}  // namespace debias
