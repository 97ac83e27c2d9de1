// A small family of kernels, one for each thing the emulation has to get right.
#pragma once

#include <cstddef>
#include <cstdint>

namespace self_test {

// y[k] = a x[k] + y[k]
template <class Storage>
void scale_add(float a, const Storage* x, Storage* y, int64_t n);

// sums[b] = sum of the part of x that block b owns; static shared memory, barriers, shuffles
void block_sums(const float* x, float* sums, int64_t n, unsigned blocks);

// y = inclusive prefix sums within each run of 32: shuffles up
void warp_prefix_sums(const int* x, int* y, int64_t n);

// counts[x[k]] += 1, dynamic shared memory and integer atomics
void histogram(const int* x, unsigned long long* counts, int bins, int64_t n);

// out = sum of the whole of x; the last block to finish adds the partial sums (fence and counter)
void sum_in_one_launch(const float* x, float* partial, unsigned* finished, float* out, int64_t n, unsigned blocks);

// One word of results per collective, for lane-by-lane comparison with the CUDA definitions
constexpr int kCollectiveResults = 12;
void collectives(int width, int shift, unsigned mask, int* results);

// Each thread: blockIdx and threadIdx written at its linear position
void positions(int* out, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz);

// y = x through an array on the stack of each thread
void through_the_stack(const int* x, int* y, int64_t n);

void launch_with_block(unsigned threads, size_t dynamic_shared_bytes);

}  // namespace self_test
