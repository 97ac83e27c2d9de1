#include "common/read_back.cuh"
#include "common/reduce.cuh"
#include "mf_score/pair_score.cuh"

namespace debias {
namespace {

constexpr int kLanes = 16;     // threads that share one pair, or one segment
constexpr int kThreads = 256;  // kThreads / kLanes pairs a block

template <class Storage, class Index>
__global__ void __launch_bounds__(kThreads, 1) mf_score_kernel(MFScoreArgs<Storage, Index> args) {
  const int lane = threadIdx.x % kLanes;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * (kThreads / kLanes);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const accumulator_t<Storage> offset = score_offset(args);
  // Every lane makes every round, so that the shuffles always meet.
  for (int64_t round = 0; round * groups < args.batch; ++round) {
    const int64_t k = round * groups + first;
    const accumulator_t<Storage> score = pair_score<kLanes>(args, k, lane, offset);
    if (lane == 0 && k < args.batch) args.scores[k] = from_float<Storage>(score);
  }
}

template <class Storage, class Index>
__device__ __forceinline__ accumulator_t<Storage> segment_sum(const RowGradientArgs<Storage, Index>& args,
                                                              const Index* sorted, const int64_t* order, int64_t begin,
                                                              int64_t batch, int64_t factor) {
  using T = accumulator_t<Storage>;
  T sum = 0;
  for (int64_t p = begin; p < batch && sorted[p] == sorted[begin]; ++p) {
    const T g = static_cast<T>(to_float(args.grad[order[p]]));
    const int64_t other = static_cast<int64_t>(args.other[order[p]]);
    if (factor < 0)
      sum += g;
    else if (in_range(other, args.other_rows))
      sum += g * static_cast<T>(to_float(args.other_factors[other * args.factors + factor]));
  }
  return sum;
}

// One group of lanes a sorted position; the head of a segment sums it in order, lane by lane over the factors.
template <class Storage, class Index>
__global__ void __launch_bounds__(kThreads, 1)
    row_gradient_kernel(RowGradientArgs<Storage, Index> args, const Index* sorted, const int64_t* order,
                        const int64_t* slots, int64_t batch, int64_t table_rows, int64_t* rows) {
  const int lane = threadIdx.x % kLanes;
  const int64_t groups = static_cast<int64_t>(gridDim.x) * (kThreads / kLanes);
  for (int64_t p = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes; p < batch;
       p += groups) {
    const int64_t index = static_cast<int64_t>(sorted[p]);
    const bool head = p == 0 || sorted[p - 1] != sorted[p];
    if (!head || !in_range(index, table_rows)) continue;
    const int64_t row = slots ? slots[p] - 1 : index;
    if (args.grad_rows)
      for (int64_t f = lane; f < args.factors; f += kLanes)
        args.grad_rows[row * args.factors + f] = from_float<Storage>(segment_sum(args, sorted, order, p, batch, f));
    if (lane != 0) continue;
    if (args.grad_bias) args.grad_bias[row] = from_float<Storage>(segment_sum(args, sorted, order, p, batch, -1));
    if (rows) rows[row] = index;
  }
}

template <class Index>
__global__ void segment_heads_kernel(const Index* sorted, int64_t batch, int64_t* heads) {
  for (int64_t p = first_thread(); p < batch; p += thread_stride()) heads[p] = p == 0 || sorted[p - 1] != sorted[p];
}

// One block, so that the order of the additions is fixed.
template <class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1)
    ordered_sum_kernel(const Storage* values, int64_t n, Storage* sum) {
  double value = 0;
  for (int64_t k = threadIdx.x; k < n; k += blockDim.x) value += static_cast<double>(to_float(values[k]));
  value = block_sum(value);
  if (threadIdx.x == 0) *sum = from_float<Storage>(static_cast<accumulator_t<Storage>>(value));
}

__global__ void start_search_kernel(unsigned long long* first, unsigned long long none) { *first = none; }

template <class Index>
__global__ void first_out_of_range_kernel(const Index* indices, int64_t n, int64_t rows, unsigned long long* first) {
  for (int64_t k = first_thread(); k < n; k += thread_stride())
    if (!in_range(static_cast<int64_t>(indices[k]), rows)) atomicMin(first, static_cast<unsigned long long>(k));
}

}  // namespace

namespace cuda {

template <class T, class Index>
void mf_score(const MFScoreArgs<T, Index>& args, void* stream) {
  launch(mf_score_kernel<T, Index>, grid_size(args.batch, kThreads / kLanes), kThreads, 0,
         static_cast<cudaStream_t>(stream), args);
}

template <class T, class Index>
void row_gradient(const RowGradientArgs<T, Index>& args, const Index* sorted, const int64_t* order, int64_t batch,
                  int64_t table_rows, void* stream) {
  launch(row_gradient_kernel<T, Index>, grid_size(batch, kThreads / kLanes), kThreads, 0,
         static_cast<cudaStream_t>(stream), args, sorted, order, static_cast<const int64_t*>(nullptr), batch,
         table_rows, static_cast<int64_t*>(nullptr));
}

template <class T, class Index>
void compact_row_gradient(const RowGradientArgs<T, Index>& args, const Index* sorted, const int64_t* order,
                          const int64_t* slots, int64_t batch, int64_t table_rows, int64_t* rows, void* stream) {
  launch(row_gradient_kernel<T, Index>, grid_size(batch, kThreads / kLanes), kThreads, 0,
         static_cast<cudaStream_t>(stream), args, sorted, order, slots, batch, table_rows, rows);
}

template <class Index>
void segment_heads(const Index* sorted, int64_t batch, int64_t* heads, void* stream) {
  launch(segment_heads_kernel<Index>, grid_size(batch, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream),
         sorted, batch, heads);
}

template <class T>
void ordered_sum(const T* values, int64_t n, T* sum, void* stream) {
  launch(ordered_sum_kernel<T>, 1u, kReduceThreads, 0, static_cast<cudaStream_t>(stream), values, n, sum);
}

int64_t read_last(const int64_t* values, int64_t n, void* stream) {
  return read_back(values + n - 1, static_cast<cudaStream_t>(stream));
}

template <class Index>
int64_t first_out_of_range(const Index* indices, int64_t n, int64_t rows, int64_t* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  auto* first = reinterpret_cast<unsigned long long*>(workspace);
  launch(start_search_kernel, 1u, 1, 0, on, first, static_cast<unsigned long long>(n));
  launch(first_out_of_range_kernel<Index>, grid_size(n, kThreads), kThreads, 0, on, indices, n, rows, first);
  const int64_t position = read_back(workspace, on);
  return position == n ? -1 : position;
}

#define DEBIAS_INSTANTIATE(T, Index)                                                                                   \
  template void mf_score(const MFScoreArgs<T, Index>&, void*);                                                         \
  template void row_gradient(const RowGradientArgs<T, Index>&, const Index*, const int64_t*, int64_t, int64_t, void*); \
  template void compact_row_gradient(const RowGradientArgs<T, Index>&, const Index*, const int64_t*, const int64_t*,   \
                                     int64_t, int64_t, int64_t*, void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE
#define DEBIAS_INSTANTIATE(T) template void ordered_sum(const T*, int64_t, T*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

template void segment_heads(const int32_t*, int64_t, int64_t*, void*);
template void segment_heads(const int64_t*, int64_t, int64_t*, void*);
template int64_t first_out_of_range(const int32_t*, int64_t, int64_t, int64_t*, void*);
template int64_t first_out_of_range(const int64_t*, int64_t, int64_t, int64_t*, void*);

}  // namespace cuda
}  // namespace debias
