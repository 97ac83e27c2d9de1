#include "harness.h"

#include <cstdint>

#include "common/half.h"
#include "self_test/self_test_kernels.h"

using namespace harness;

template <class Storage>
static void check_scale_add(double tolerance) {
  for (int64_t n : {0, 1, 127, 128, 1000}) {
    const std::vector<float> a = uniform(n, -2, 2, 1), b = uniform(n, -2, 2, 2);
    std::vector<Storage> x(n), y(n);
    for (int64_t k = 0; k < n; ++k) x[k] = debias::from_float<Storage>(a[k]), y[k] = debias::from_float<Storage>(b[k]);
    const std::vector<Storage> before = y;
    self_test::scale_add(3.0f, x.data(), y.data(), n);
    for (int64_t k = 0; k < n; ++k) {
      const float expected = 3.0f * debias::to_float(x[k]) + debias::to_float(before[k]);
      expect_close("scale_add", debias::to_float(y[k]), expected, tolerance);
    }
  }
}

HARNESS_CASE(element_wise_kernels_take_every_storage_type) {
  check_scale_add<float>(1e-6);
  check_scale_add<debias::Half>(1e-3);
  check_scale_add<debias::BFloat16>(1e-2);
}

template <class Storage>
static double value_of(unsigned bits) {
  return debias::to_float(Storage{static_cast<uint16_t>(bits)});
}

// Nearest representable value, to even on a tie: no neighbour is nearer, and an odd result is strictly the nearest.
template <class Storage>
static void check_rounding(unsigned infinity) {
  for (unsigned bits = 0; bits <= 0xffffu; ++bits)
    if ((bits & 0x7fffu) <= infinity)
      expect(debias::from_float<Storage>(static_cast<float>(value_of<Storage>(bits))).bits == bits, "round trip");
  std::mt19937 generator(5);
  for (unsigned bits = 1; bits + 1 < infinity; ++bits) {
    const double low = value_of<Storage>(bits), high = value_of<Storage>(bits + 1);
    for (double share : {0.5, generator() / 4294967296.0}) {
      const float x = static_cast<float>(low + share * (high - low));
      const unsigned rounded = debias::from_float<Storage>(x).bits;
      const double down = x - low, up = high - x;
      const unsigned expected = down < up || (down == up && bits % 2 == 0) ? bits : bits + 1;
      expect(rounded == expected, "rounding of " + std::to_string(x));
      expect(debias::from_float<Storage>(-x).bits == (expected | 0x8000u), "rounding of a negative number");
    }
  }
  expect(debias::from_float<Storage>(3.4e38f).bits == infinity, "overflow");
  expect(std::isnan(debias::to_float(debias::from_float<Storage>(std::nanf("")))), "NaN");
}

HARNESS_CASE(half_types_round_to_nearest_even) {
  check_rounding<debias::Half>(0x7c00u);
  check_rounding<debias::BFloat16>(0x7f80u);
}

HARNESS_CASE(block_sums_match_a_loop) {
  const std::vector<float> x = uniform(1003, -1, 1, 3);
  std::vector<float> sums(3);
  self_test::block_sums(x.data(), sums.data(), x.size(), 3);
  for (size_t block = 0; block < sums.size(); ++block) {
    double expected = 0;
    for (size_t k = 0; k < x.size(); ++k)
      if (k / 128 % 3 == block) expected += x[k];
    expect_close("sum of a block", sums[block], expected, 1e-5);
  }
}

HARNESS_CASE(the_last_block_sees_what_the_others_wrote) {
  const std::vector<float> x = uniform(1003, 0, 1, 4);
  double expected = 0;
  for (float value : x) expected += value;
  std::vector<float> partial(3), out(1);
  std::vector<unsigned> finished(1);
  self_test::sum_in_one_launch(x.data(), partial.data(), finished.data(), out.data(), x.size(), 3);
  expect_close("sum", out[0], expected, 1e-5);
}

HARNESS_CASE(prefix_sums_restart_in_every_warp) {
  std::vector<int> x(200), y(200);
  for (size_t k = 0; k < x.size(); ++k) x[k] = static_cast<int>(k * 7 % 11);
  self_test::warp_prefix_sums(x.data(), y.data(), x.size());
  int running = 0;
  for (size_t k = 0; k < x.size(); ++k) {
    running = (k % 32 ? running : 0) + x[k];
    expect(y[k] == running, "prefix sum at " + std::to_string(k));
  }
}

HARNESS_CASE(histogram_counts_every_value) {
  std::vector<int> x(1000);
  std::vector<unsigned long long> counts(7), expected(7);
  for (size_t k = 0; k < x.size(); ++k) x[k] = static_cast<int>(k * k % 7), ++expected[k * k % 7];
  self_test::histogram(x.data(), counts.data(), 7, x.size());
  expect(counts == expected, "histogram");
}

// The lane that `lane` reads, or itself, by the definition in the CUDA C++ Programming Guide; -1 where undefined.
static int source_of(int form, int lane, int shift, int width, unsigned mask) {
  const int base = lane / width * width;
  int source = lane;
  if (form == 0) source = base + shift % width;
  if (form == 1 && lane - base >= shift) source = lane - shift;
  if (form == 2 && lane - base + shift < width) source = lane + shift;
  if (form == 3 && (lane ^ shift) < base + width) source = lane ^ shift;
  return mask >> source & 1u ? source : -1;
}

HARNESS_CASE(collectives_follow_their_definition) {
  for (unsigned mask : {0xffffffffu, 0x0000ffffu, 0x50505050u, 0x00000020u})
    for (int width : {32, 16, 4})
      for (int shift : {0, 1, 3, 9}) {
        std::vector<int> results(32 * self_test::kCollectiveResults, -7);
        self_test::collectives(width, shift, mask, results.data());
        for (int lane = 0; lane < 32; ++lane) {
          const int* const mine = results.data() + lane * self_test::kCollectiveResults;
          if (!(mask >> lane & 1u)) {
            expect(mine[0] == -7, "a lane outside the mask wrote");
            continue;
          }
          const std::string where = " lane " + std::to_string(lane) + " mask " + std::to_string(mask) + " width " +
                                    std::to_string(width) + " shift " + std::to_string(shift);
          for (int form = 0; form < 4; ++form) {
            const int source = source_of(form, lane, shift, width, mask);
            expect(mine[form] == (source < 0 ? -1 : source * 10), "shuffle form " + std::to_string(form) + where);
          }
          const unsigned thirds = 0x49249249u;  // lanes 0, 3, 6, ...
          expect(static_cast<unsigned>(mine[4]) == (thirds & mask), "ballot" + where);
          expect(mine[5] == static_cast<int>(mask >> 5 & 1u) && mine[6] == 1, "any, all" + where);
          expect(mine[7] == static_cast<int>(~mask >> 5 & 1u), "all" + where);
          const int source = source_of(0, lane, shift, width, mask);
          if (source >= 0) expect(mine[8] == 2 * source + 1, "shuffle of a double" + where);
          expect(mine[9] == __builtin_popcount(mask) + 64 && mine[10] == __builtin_ffs(static_cast<int>(mask)) + 41,
                 "bit counts" + where);
          expect(mine[11] == (lane ? __builtin_clz(lane) + __builtin_clzll(lane) : 96), "leading zeros" + where);
        }
      }
}

HARNESS_CASE(every_thread_of_a_three_dimensional_grid_runs_once) {
  std::vector<int> out(3 * 2 * 2 * 4 * 3 * 2, -1);
  self_test::positions(out.data(), 3, 2, 2, 4, 3, 2);
  for (size_t k = 0; k < out.size(); ++k) expect(out[k] == static_cast<int>(k / 24 * 10000 + k % 24), "position");
}

HARNESS_CASE(threads_of_different_blocks_do_not_share_a_stack) {
  std::vector<int> x(4 * 32 * 3), y(x.size());
  for (size_t k = 0; k < x.size(); ++k) x[k] = static_cast<int>(k);
  self_test::through_the_stack(x.data(), y.data(), x.size());
  expect(x == y, "copy");
}

HARNESS_CASE(a_launch_beyond_the_limits_is_refused) {
  expect(message_of([] { self_test::launch_with_block(1025, 16); }).find("1 to 1024 threads") != std::string::npos,
         "block size");
  const std::string message = message_of([] { self_test::launch_with_block(32, 65 * 1024); });
  expect(message.find("66560 bytes") != std::string::npos && message.find("self_test_cuda.cu:") != std::string::npos,
         message);
  self_test::launch_with_block(32, 64 * 1024);
}
