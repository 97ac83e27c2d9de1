#include "common/launch.cuh"
#include "frontdoor/frontdoor_math.h"
#include "frontdoor/frontdoor_pass.cuh"

namespace debias {
namespace frontdoor {
namespace {

// Rows in shared memory, in the arithmetic type: own [unit][thread], weight [unit], other [unit][kOthers].
template <class Storage>
struct SharedRows {
  using T = accumulator_t<Storage>;
  const T *own, *weights, *others;
  int stride;

  __device__ __forceinline__ T x(int64_t u) const { return own[u * stride]; }
  __device__ __forceinline__ T weight(int64_t u) const { return weights[u]; }
  __device__ __forceinline__ void y(int64_t u, T (&values)[kOthers]) const {
    const T* from = others + u * kOthers;
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int s = 0; s < kOthers; s += 4) {
        const float4 four = load_vector<float4>(from + s);
        values[s] = four.x, values[s + 1] = four.y, values[s + 2] = four.z, values[s + 3] = four.w;
      }
    } else {
#pragma unroll
      for (int s = 0; s < kOthers; s += 2) {
        const double2 two = load_vector<double2>(from + s);
        values[s] = two.x, values[s + 1] = two.y;
      }
    }
  }
};

// For rows too long for shared memory.
template <class Storage>
struct GlobalRows {
  using T = accumulator_t<Storage>;
  const Storage *own, *weights, *others;
  int64_t hidden, last;  // last: row of the group that exists

  __device__ __forceinline__ T x(int64_t u) const { return to_float(own[u]); }
  __device__ __forceinline__ T weight(int64_t u) const { return to_float(weights[u]); }
  __device__ __forceinline__ void y(int64_t u, T (&values)[kOthers]) const {
#pragma unroll
    for (int s = 0; s < kOthers; ++s) values[s] = to_float(others[(s < last ? s : last) * hidden + u]);
  }
};

// Logits of the own row with a group of others.
template <class Rows, class T>
__device__ __forceinline__ void group_logits(const Rows& rows, int64_t hidden, T bias, T (&z)[kOthers]) {
#pragma unroll
  for (int s = 0; s < kOthers; ++s) z[s] = bias;
  for (int64_t u = 0; u < hidden; ++u) {
    const T x = rows.x(u), v = rows.weight(u);
    T y[kOthers];
    rows.y(u, y);
#pragma unroll
    for (int s = 0; s < kOthers; ++s) {
      const T sum = x + y[s];
      z[s] += v * (sum < T(0) ? T(0) : sum);
    }
  }
}

// Adds the group's gate sums to the thread's column of `sums`; a closed gate stops NaN too.
template <class Rows, class T>
__device__ __forceinline__ void group_gates(const Rows& rows, int64_t hidden, const T (&slope)[kOthers], bool first,
                                            int64_t panel, T* sums) {
  for (int64_t u = 0; u < hidden; ++u) {
    const T x = rows.x(u);
    T y[kOthers], total = first ? T(0) : sums[u * panel];
    rows.y(u, y);
#pragma unroll
    for (int s = 0; s < kOthers; ++s) total += x + y[s] <= T(0) ? T(0) : slope[s];
    sums[u * panel] = total;
  }
}

template <class Storage, bool gradient, bool shared>
__global__ void __launch_bounds__(kMostThreads, 1) pass_kernel(PassArgs<Storage> args) {
  using T = accumulator_t<Storage>;
  const int64_t h = args.hidden, threads = blockDim.x;
  DEBIAS_DYNAMIC_SHARED(T, memory);
  // vector loads want `others` at a multiple of 16 bytes: first, and whole groups of 16
  T *others = memory, *coefficients = others + (shared ? h * kOthers : 0);
  int64_t* samples = reinterpret_cast<int64_t*>(coefficients + kOthers);
  T* own = reinterpret_cast<T*>(samples + kOthers);
  T* weights = own + (shared ? h * threads : 0);

  const int64_t row = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  const bool mine = row < args.count;
  const int64_t global_row = args.first + (mine ? row : 0);
  const Storage* own_row = args.own + global_row * h;
  if constexpr (shared) {
    for (int64_t u = 0; u < h; ++u) own[u * threads + threadIdx.x] = to_float(own_row[u]);
    for (int64_t u = threadIdx.x; u < h; u += threads) weights[u] = to_float(args.weight[u]);
  }
  const int64_t sample = args.exclude_self ? args.sample_of(global_row, args.own_is_context) : 0;
  const T bias = to_float(args.bias[0]);
  T* sums = args.sums + static_cast<int64_t>(blockIdx.y) * (gradient ? h + 1 : 1) * args.panel + row;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * args.other_per_split;
  const int64_t end = begin + args.other_per_split < args.n_other ? begin + args.other_per_split : args.n_other;
  double total = 0;
  if (gradient && mine && begin >= end)
    for (int64_t u = 0; u < h; ++u) sums[u * args.panel] = T(0);

  for (int64_t at = begin; at < end; at += kOthers) {
    const int n = static_cast<int>(end - at < kOthers ? end - at : kOthers);
    __syncthreads();  // the group before may still be read
    if constexpr (shared)
      for (int64_t k = threadIdx.x; k < h * kOthers; k += threads) {
        const int64_t s = k / h, u = k - s * h;
        others[u * kOthers + s] = s < n ? to_float(args.other[at * h + k]) : T(0);
      }
    if (threadIdx.x < kOthers) {
      const int64_t s = threadIdx.x;
      coefficients[s] = s < n && args.coefficients ? args.coefficients[at + s] : T(1);
      samples[s] = s < n && args.exclude_self ? args.sample_of(at + s, !args.own_is_context) : 0;
    }
    __syncthreads();
    if (!mine) continue;
    const auto rows = [&] {
      if constexpr (shared) {
        return SharedRows<Storage>{own + threadIdx.x, weights, others, static_cast<int>(threads)};
      } else {
        return GlobalRows<Storage>{own_row, args.weight, args.other + at * h, h, n - 1};
      }
    }();
    T z[kOthers], group = 0;
    group_logits(rows, h, bias, z);
#pragma unroll
    for (int s = 0; s < kOthers; ++s) {
      const bool counts = s < n && !(args.exclude_self && samples[s] == sample);
      const SigmoidSlope<T> p = sigmoid_slope(z[s]);
      z[s] = counts ? (gradient ? coefficients[s] * p.slope : p.value) : T(0);
      group += z[s];
    }
    total += static_cast<double>(group);
    if constexpr (gradient) group_gates(rows, h, z, at == begin, args.panel, sums);
  }
  if (mine) sums[gradient ? h * args.panel : 0] = static_cast<T>(total);
}

template <class Storage, bool gradient>
void run(const PassArgs<Storage>& args, const Plan& plan, cudaStream_t stream) {
  constexpr int64_t bytes = sizeof(accumulator_t<Storage>);
  const dim3 grid(grid_size(args.count, plan.threads), static_cast<unsigned>(plan.splits));
  const auto threads = static_cast<unsigned>(plan.threads);
  if (plan.shared)
    launch(pass_kernel<Storage, gradient, true>, grid, threads, static_cast<size_t>(plan.shared_bytes(bytes)), stream,
           args);
  else
    launch(pass_kernel<Storage, gradient, false>, grid, threads,
           static_cast<size_t>(kOthers * (bytes + static_cast<int64_t>(sizeof(int64_t)))), stream, args);
}

}  // namespace

template <class Storage>
void mean_pass(const PassArgs<Storage>& args, const Plan& plan, cudaStream_t stream) {
  run<Storage, false>(args, plan, stream);
}

template <class Storage>
void gradient_pass(const PassArgs<Storage>& args, const Plan& plan, cudaStream_t stream) {
  run<Storage, true>(args, plan, stream);
}

#define DEBIAS_INSTANTIATE(T)                                             \
  template void mean_pass(const PassArgs<T>&, const Plan&, cudaStream_t); \
  template void gradient_pass(const PassArgs<T>&, const Plan&, cudaStream_t);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace frontdoor
}  // namespace debias
