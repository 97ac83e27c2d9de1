// Kernels that bring the rows in the order of groups and scores; the sorts themselves are torch's.
#include "common/read_back.cuh"
#include "ranking/ranking_keys.h"
#include "ranking/row_kernels.cuh"

namespace debias {
namespace {

__global__ void start_search_kernel(unsigned long long* first, unsigned long long none) { first[threadIdx.x] = none; }

template <class T, class Label>
__global__ void __launch_bounds__(kThreads)
    prepare_kernel(RankingInputs<T, int64_t, Label> in, PreparedRows<T> out, unsigned long long* bad) {
  for (int64_t row = first_thread(); row < in.n; row += thread_stride()) {
    const auto score = to_float(in.scores[row]);
    const Label label = in.labels[row];
    out.keys[row] = descending_key(score);
    out.hits[row] = label == in.label_one;
    const auto position = static_cast<unsigned long long>(row);
    if (is_nan(score)) atomicMin(bad, position);
    if (!is_binary(label, in.label_one, in.label_sign)) atomicMin(bad + 1, position);
  }
}

__global__ void __launch_bounds__(kThreads)
    check_weights_kernel(const double* weights, int64_t n, unsigned long long* bad) {
  for (int64_t row = first_thread(); row < n; row += thread_stride())
    if (!is_weight(weights[row])) atomicMin(bad, static_cast<unsigned long long>(row));
}

template <class V>
__global__ void __launch_bounds__(kThreads) gather_kernel(const V* values, const int64_t* order, int64_t n, V* out) {
  for (int64_t i = first_thread(); i < n; i += thread_stride()) out[i] = values[order[i]];
}

template <class Index>
__global__ void __launch_bounds__(kThreads) heads_kernel(const Index* groups, int64_t n, int64_t* heads) {
  for (int64_t i = first_thread(); i < n; i += thread_stride()) heads[i] = i == 0 || groups[i - 1] != groups[i];
}

template <class Index>
__global__ void __launch_bounds__(kThreads)
    starts_kernel(const Index* groups, const int64_t* slots, int64_t n, int64_t* starts, int64_t* ids) {
  for (int64_t i = first_thread(); i < n; i += thread_stride()) {
    if (i > 0 && groups[i - 1] == groups[i]) continue;
    starts[slots[i] - 1] = i;
    ids[slots[i] - 1] = static_cast<int64_t>(groups[i]);
    if (i == 0) starts[slots[n - 1]] = n;
  }
}

// What the best order sorts by, ascending: positives by falling weight, then the negatives.
__global__ void __launch_bounds__(kThreads)
    ideal_keys_kernel(const uint8_t* hits, const double* weights, int64_t n, double* keys) {
  for (int64_t i = first_thread(); i < n; i += thread_stride()) keys[i] = hits[i] ? -weights[i] : 1.0;
}

}  // namespace

namespace cuda {

template <class T, class Label>
void prepare_rows(const RankingInputs<T, int64_t, Label>& in, const PreparedRows<T>& out, int64_t* bad, void* stream) {
  auto* first = reinterpret_cast<unsigned long long*>(bad);
  launch(start_search_kernel, 1u, 3, 0, as_stream(stream), first, static_cast<unsigned long long>(in.n));
  launch(prepare_kernel<T, Label>, row_blocks(in.n), kThreads, 0, as_stream(stream), in, out, first);
  if (in.weights)
    launch(check_weights_kernel, row_blocks(in.n), kThreads, 0, as_stream(stream), in.weights, in.n, first + 2);
}

BadRows read_bad_rows(const int64_t* bad, int64_t n, void* stream) {
  int64_t rows[3];
  read_back(bad, 3, rows, as_stream(stream));
  const auto found = [n](int64_t row) { return row == n ? -1 : row; };
  return {found(rows[0]), found(rows[1]), found(rows[2])};
}

template <class V>
void gather(const V* values, const int64_t* order, int64_t n, V* out, void* stream) {
  launch(gather_kernel<V>, row_blocks(n), kThreads, 0, as_stream(stream), values, order, n, out);
}

template <class Index>
void group_heads(const Index* groups, int64_t n, int64_t* heads, void* stream) {
  launch(heads_kernel<Index>, row_blocks(n), kThreads, 0, as_stream(stream), groups, n, heads);
}

template <class Index>
void group_starts(const Index* groups, const int64_t* slots, int64_t n, int64_t* starts, int64_t* ids, void* stream) {
  launch(starts_kernel<Index>, row_blocks(n), kThreads, 0, as_stream(stream), groups, slots, n, starts, ids);
}

int64_t last_value(const int64_t* values, int64_t n, void* stream) {
  return read_back(values + n - 1, as_stream(stream));
}

void ideal_keys(const uint8_t* hits, const double* weights, int64_t n, double* keys, void* stream) {
  launch(ideal_keys_kernel, row_blocks(n), kThreads, 0, as_stream(stream), hits, weights, n, keys);
}

#define DEBIAS_INSTANTIATE(T, Label) \
  template void prepare_rows(const RankingInputs<T, int64_t, Label>&, const PreparedRows<T>&, int64_t*, void*);
#define DEBIAS_INSTANTIATE_SCORE(T) \
  DEBIAS_INSTANTIATE(T, uint8_t)    \
  DEBIAS_INSTANTIATE(T, uint32_t)   \
  DEBIAS_INSTANTIATE(T, uint64_t)
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE_SCORE)
#undef DEBIAS_INSTANTIATE_SCORE
#undef DEBIAS_INSTANTIATE

#define DEBIAS_INSTANTIATE(Integer)                                                               \
  template void group_heads(const Integer*, int64_t, int64_t*, void*);                            \
  template void group_starts(const Integer*, const int64_t*, int64_t, int64_t*, int64_t*, void*); \
  template void gather(const Integer*, const int64_t*, int64_t, Integer*, void*);
DEBIAS_INSTANTIATE(int32_t)
DEBIAS_INSTANTIATE(int64_t)
#undef DEBIAS_INSTANTIATE
template void gather(const uint8_t*, const int64_t*, int64_t, uint8_t*, void*);
template void gather(const double*, const int64_t*, int64_t, double*, void*);

}  // namespace cuda
}  // namespace debias
