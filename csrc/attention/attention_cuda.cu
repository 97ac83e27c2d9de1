#include "attention/attention_backward.h"
#include "attention/attention_forward.h"
#include "common/device.cuh"

namespace debias {
namespace {

using namespace attention;

constexpr int kThreads = 128;
constexpr int kTileRows = 32;
constexpr int64_t kMostBlocks = 512;         // each has sums of its own
constexpr int64_t kSharedBytes = 48 * 1024;  // tiles that need more lie in device memory
constexpr int kProductRows = 4;              // of one column, in the registers of a thread

// The threads of one block; every function ends where all of them have arrived.
struct BlockTeam {
  static constexpr int64_t rows = kTileRows;

  template <class F>
  __device__ __forceinline__ void each(int64_t n, const F& f) const {
    for (int64_t k = threadIdx.x; k < n; k += blockDim.x) f(k);
    __syncthreads();
  }
  template <class F>
  __device__ __forceinline__ void grid(int64_t n, int64_t columns, const F& f) const {
    for (int64_t k = threadIdx.x; k < n * columns; k += blockDim.x) f(k / columns, k % columns);
    __syncthreads();
  }
  template <class T>
  __device__ __forceinline__ void product(const Product<T>& p) const {
    const int64_t groups = (p.rows + kProductRows - 1) / kProductRows;
    for (int64_t k = threadIdx.x; k < groups * p.columns; k += blockDim.x) product_group(p, k);
    __syncthreads();
  }
  template <class T, class Storage>
  __device__ __forceinline__ void weighted_rows(const T* weights, const Storage* values, int64_t n, int64_t width, T*,
                                                Storage* out) const {
    for (int64_t c = threadIdx.x; c < width; c += blockDim.x) {
      T sum = 0;
      for (int64_t r = 0; r < n; ++r) sum += weights[r] * to_float(values[r * width + c]);
      out[c] = from_float<Storage>(sum);
    }
    __syncthreads();
  }

 private:
  template <class T>
  static __device__ __forceinline__ void product_group(const Product<T>& p, int64_t k) {
    const int64_t row = k / p.columns * kProductRows, column = k % p.columns;
    const int n = static_cast<int>(p.rows - row < kProductRows ? p.rows - row : kProductRows);
    T sum[kProductRows];
#pragma unroll
    for (int r = 0; r < kProductRows; ++r)
      sum[r] = p.start && r < n ? p.start[(row + r) * p.start_step + column] : T(0);
    for (int64_t step = 0; step < p.depth; ++step) {
      const T value = p.b[step * p.b_step + column];
      const T* const a = p.a + row * p.row_step + step * p.depth_step;
#pragma unroll
      for (int r = 0; r < kProductRows; ++r)
        if (r < n) sum[r] += a[r * p.row_step] * value;
    }
#pragma unroll
    for (int r = 0; r < kProductRows; ++r)
      if (r < n) p.out[(row + r) * p.out_step + column] = sum[r];
  }
};

// Every thread of the grid, for loops whose rounds do not wait for each other.
struct GridTeam {
  template <class F>
  __device__ __forceinline__ void each(int64_t n, const F& f) const {
    for (int64_t k = first_thread(); k < n; k += thread_stride()) f(k);
  }
};

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1) attention_prepare_kernel(Network<Storage> net, bool given) {
  prepare_network(GridTeam{}, net, given);
}

template <class Storage>
__device__ __forceinline__ Tile<accumulator_t<Storage>> block_tile(const Network<Storage>& net, char* shared,
                                                                   char* memory, int64_t bytes) {
  Arena arena(memory ? memory + static_cast<int64_t>(blockIdx.x) * bytes : shared);
  return make_tile(net, arena, kTileRows);
}

// One block of samples a block of threads; without `memory` the tile is in shared memory.
template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    attention_forward_kernel(Network<Storage> net, char* memory, int64_t bytes, int first, int end, Storage* out) {
  DEBIAS_DYNAMIC_SHARED(char, shared);
  const BlockTeam team;
  const Forward<BlockTeam, Storage> forward{{team, net, block_tile(net, shared, memory, bytes)}};
  forward.run(blockIdx.x, first, end, out);
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    attention_backward_kernel(Network<Storage> net, AttentionGradients<Storage> gradients, char* memory, int64_t bytes,
                              int first, int last) {
  DEBIAS_DYNAMIC_SHARED(char, shared);
  const BlockTeam team;
  const Backward<BlockTeam, Storage> backward{{team, net, block_tile(net, shared, memory, bytes)}, gradients};
  backward.run(blockIdx.x, first, last);
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1) attention_statistics_kernel(Network<Storage> net, int l) {
  finish_statistics(GridTeam{}, net, l);
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1) attention_pull_kernel(Network<Storage> net, int l) {
  finish_pull(GridTeam{}, net, l);
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1) attention_totals_kernel(Network<Storage> net, double* totals) {
  for (int64_t k = first_thread(); k < net.block_sums; k += thread_stride()) {
    double sum = 0;
    for (int64_t block = 0; block < net.blocks; ++block)
      sum += static_cast<double>(net.sums[block * net.block_sums + k]);
    totals[k] = sum;
  }
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    attention_store_kernel(Network<Storage> net, const double* totals, Storage* parameters) {
  for (int l = 0; l < net.args.layers; ++l) store_gradients(GridTeam{}, net, totals, l, parameters);
}

template <class Storage>
struct Plan {
  Plan(const AttentionArgs<Storage>& args, void* workspace, void* on)
      : arena(workspace), net(make_network(args, arena, 1, kMostBlocks)), stream(static_cast<cudaStream_t>(on)) {
    totals = arena.take<double>(net.block_sums);
    Arena counted(nullptr);
    make_tile(net, counted, kTileRows);
    bytes = counted.used();
    if (bytes > kSharedBytes)
      memory = arena.take<char>(net.blocks * bytes), shared = 0;
    else
      shared = static_cast<size_t>(bytes);
  }

  unsigned blocks() const { return static_cast<unsigned>(net.blocks); }
  void prepare(bool given) const {
    launch(attention_prepare_kernel<Storage>, grid_size(net.parameters, kThreads), kThreads, 0, stream, net, given);
  }
  unsigned units(int l) const { return grid_size(net.layers[l].stride, kThreads); }

  Arena arena;
  Network<Storage> net;
  cudaStream_t stream;
  double* totals;
  char* memory = nullptr;
  int64_t bytes = 0;
  size_t shared = 0;
};

}  // namespace

namespace cuda {

template <class Storage>
int64_t attention_workspace(const AttentionArgs<Storage>& args) {
  return Plan<Storage>(args, nullptr, nullptr).arena.used();
}

template <class Storage>
void attention_pooling(const AttentionArgs<Storage>& args, Storage* out, void* workspace, void* stream) {
  const Plan<Storage> plan(args, workspace, stream);
  plan.prepare(!args.batch_statistics);
  const auto layers = [&](int first, int end) {
    launch(attention_forward_kernel<Storage>, plan.blocks(), kThreads, plan.shared, plan.stream, plan.net, plan.memory,
           plan.bytes, first, end, out);
  };
  if (!plan.net.batch_statistics()) return layers(0, args.layers);
  for (int l = 0; l < args.layers; ++l) {
    layers(l, l + 1);
    if (!plan.net.last(l))
      launch(attention_statistics_kernel<Storage>, plan.units(l), kThreads, 0, plan.stream, plan.net, l);
  }
}

template <class Storage>
void attention_pooling_backward(const AttentionArgs<Storage>& args, const AttentionGradients<Storage>& gradients,
                                void* workspace, void* stream) {
  const Plan<Storage> plan(args, workspace, stream);
  plan.prepare(true);
  const auto layers = [&](int first, int last) {
    launch(attention_backward_kernel<Storage>, plan.blocks(), kThreads, plan.shared, plan.stream, plan.net, gradients,
           plan.memory, plan.bytes, first, last);
  };
  if (!plan.net.batch_statistics()) {
    layers(args.layers - 1, 0);
  } else {
    for (int l = args.layers - 1; l >= 0; --l) {
      layers(l, l);
      if (l > 0) launch(attention_pull_kernel<Storage>, plan.units(l - 1), kThreads, 0, plan.stream, plan.net, l - 1);
    }
  }
  if (!gradients.parameters) return;
  launch(attention_totals_kernel<Storage>, grid_size(plan.net.block_sums, kThreads), kThreads, 0, plan.stream, plan.net,
         plan.totals);
  launch(attention_store_kernel<Storage>, grid_size(plan.net.parameters, kThreads), kThreads, 0, plan.stream, plan.net,
         static_cast<const double*>(plan.totals), gradients.parameters);
}

#define DEBIAS_INSTANTIATE(T)                                                 \
  template int64_t attention_workspace(const AttentionArgs<T>&);              \
  template void attention_pooling(const AttentionArgs<T>&, T*, void*, void*); \
  template void attention_pooling_backward(const AttentionArgs<T>&, const AttentionGradients<T>&, void*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
