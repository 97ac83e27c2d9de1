// A program that runs the kernels of one family under a sanitizer, without torch. A new family is one file,
// harness_<family>.cpp: it includes this header once, builds inputs, calls the launchers that
// csrc/<family>/<family>_kernels.h declares, and compares with a plain loop. Inputs and outputs belong in exact-size
// heap blocks (std::vector): that is what shows a read past the end. Keep them small; the thread sanitizer is slow.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/half.h"

namespace harness {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

// HARNESS_CASE(what_is_true) { ... }
#define HARNESS_CASE(name)                                 \
  static void name();                                      \
  static const harness::Register name##_case(#name, name); \
  static void name()

inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

// |got - expected| <= tolerance max(1, |expected|); NaN equals NaN
inline void expect_close(const std::string& what, double got, double expected, double tolerance) {
  if (std::isnan(got) && std::isnan(expected)) return;
  if (got == expected) return;
  const double allowed = tolerance * std::fmax(1.0, std::fabs(expected));
  expect(std::fabs(got - expected) <= allowed,
         what + ": got " + std::to_string(got) + ", expected " + std::to_string(expected));
}

// The message of the exception that action() has to throw.
inline std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::exception& error) {
    return error.what();
  }
  throw std::runtime_error("no exception was thrown");
}

inline std::vector<float> uniform(size_t n, float low, float high, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(n);
  for (float& value : values) value = low + (high - low) * static_cast<float>(generator() / 4294967296.0);
  return values;
}

// As a kernel's tables hold them: float64, float32 or a half type.
template <class T>
std::vector<T> stored(const std::vector<float>& values) {
  std::vector<T> result;
  for (float value : values) result.push_back(debias::from_float<T>(value));
  return result;
}

template <class Index>
std::vector<Index> indices(int64_t n, int64_t rows, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<Index> result(static_cast<size_t>(n));
  for (Index& index : result) index = static_cast<Index>(generator() % static_cast<unsigned>(rows));
  return result;
}

}  // namespace harness

int main() {
  int failed = 0;
  for (const harness::Case& one : harness::cases()) {
    try {
      one.run();
      std::printf("passed %s\n", one.name);
    } catch (const std::exception& error) {
      std::printf("FAILED %s: %s\n", one.name, error.what());
      ++failed;
    }
  }
  return failed == 0 ? 0 : 1;
}
