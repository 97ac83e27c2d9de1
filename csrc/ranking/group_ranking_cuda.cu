// Kernels over rows sorted by group and score (the sorts are torch's): one block a group. All sums have a fixed order.
#include "ranking/row_kernels.cuh"

namespace debias {
namespace {

constexpr int64_t kTile = 256;  // discounts that one thread adds up

// Inclusive sums over a block of kThreads threads, `total` in every thread. Every thread must call it.
__device__ __forceinline__ double block_scan(double value, double* total) {
  DEBIAS_SHARED_ARRAY(double, warp_totals, kThreads / 32);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  for (int offset = 1; offset < 32; offset <<= 1) {
    const double other = __shfl_up_sync(0xffffffffu, value, offset);
    if (lane >= offset) value += other;
  }
  __syncthreads();  // an earlier call may still be reading `warp_totals`
  if (lane == 31) warp_totals[warp] = value;
  __syncthreads();
  double before = 0, sum = 0;
  for (int w = 0; w < kThreads / 32; ++w) {
    if (w == warp) before = sum;
    sum += warp_totals[w];
  }
  *total = sum;
  return before + value;
}

__global__ void __launch_bounds__(kThreads) discount_tiles_kernel(int64_t n, double* sums, double* tile_totals) {
  for (int64_t tile = first_thread(); tile * kTile < n; tile += thread_stride()) {
    double sum = 0;
    for (int64_t place = tile * kTile; place < n && place < (tile + 1) * kTile; ++place) {
      sum += discount(place);
      sums[place + 1] = sum;
    }
    tile_totals[tile] = sum;
  }
}

// One block: totals of the tiles become what precedes each tile.
__global__ void __launch_bounds__(kThreads) tile_offsets_kernel(int64_t tiles, double* tile_totals) {
  double carry = 0;
  for (int64_t first = 0; first < tiles; first += kThreads) {
    const int64_t tile = first + threadIdx.x;
    const double value = tile < tiles ? tile_totals[tile] : 0;
    double total = 0;
    const double through = block_scan(value, &total);
    if (tile < tiles) tile_totals[tile] = carry + (through - value);
    carry += total;
  }
}

__global__ void __launch_bounds__(kThreads) add_offsets_kernel(int64_t n, const double* tile_offsets, double* sums) {
  for (int64_t i = first_thread(); i <= n; i += thread_stride())
    sums[i] = i == 0 ? 0 : sums[i] + tile_offsets[(i - 1) / kTile];
}

// Running weight of a group's positives and negatives, one block a group.
__global__ void __launch_bounds__(kThreads)
    weight_sums_kernel(const uint8_t* hits, const double* weights, const int64_t* starts, int64_t n_groups,
                       double* positive_sums, double* negative_sums) {
  for (int64_t g = blockIdx.x; g < n_groups; g += gridDim.x) {
    double positive_carry = 0, negative_carry = 0;
    for (int64_t first = starts[g]; first < starts[g + 1]; first += kThreads) {
      const int64_t i = first + threadIdx.x;
      const bool inside = i < starts[g + 1];
      const double weight = inside ? weights[i] : 0;
      const bool hit = inside && hits[i];
      double positive_total = 0, negative_total = 0;
      const double positive = block_scan(hit ? weight : 0, &positive_total);
      const double negative = block_scan(hit ? 0 : weight, &negative_total);
      if (inside) {
        positive_sums[i] = positive_carry + positive;
        negative_sums[i] = negative_carry + negative;
      }
      positive_carry += positive_total;
      negative_carry += negative_total;
    }
  }
}

// The rows [start, end) of one group.
template <class Key>
struct GroupView {
  const SortedRows<Key>& rows;
  int64_t start, end;

  __device__ int64_t hits_between(int64_t from, int64_t to) const {
    return to > from ? rows.hit_counts[to - 1] - (from > 0 ? rows.hit_counts[from - 1] : 0) : 0;
  }
  __device__ double sum_between(const double* sums, int64_t from, int64_t to) const {
    return to > from ? sums[to - 1] - (from > start ? sums[from - 1] : 0) : 0;
  }
  __device__ double positive_weight(int64_t from, int64_t to) const {
    if (!rows.weights) return static_cast<double>(hits_between(from, to));
    if (to == from + 1) return rows.hits[from] ? rows.weights[from] : 0;
    return sum_between(rows.positive_sums, from, to);
  }
  __device__ double negative_weight(int64_t from, int64_t to) const {
    if (!rows.weights) return static_cast<double>(to - from - hits_between(from, to));
    return sum_between(rows.negative_sums, from, to);
  }
  __device__ bool begins_tie(int64_t i) const { return i == start || rows.keys[i - 1] != rows.keys[i]; }
  __device__ int64_t tie_end(int64_t i) const {
    int64_t low = i + 1, high = end;
    if (low == high || rows.keys[low] != rows.keys[i]) return low;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (rows.keys[middle] == rows.keys[i])
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  __device__ TieBlock block(int64_t from, int64_t to) const {
    return {from - start, to - from, hits_between(from, to), hits_between(start, from), positive_weight(from, to)};
  }
};

template <class Key>
__device__ __forceinline__ double mean_discount(const SortedRows<Key>& rows, const TieBlock& b) {
  if (b.size == 1) return discount(b.above);
  return (rows.discounts[b.above + b.size] - rows.discounts[b.above]) / static_cast<double>(b.size);
}

template <class Key>
__device__ __forceinline__ double ideal_dcg(const GroupView<Key>& group, int64_t places, int first, int stride) {
  double sum = 0;
  for (int64_t place = first; place < places; place += stride)
    sum += group.rows.ideal_weights[group.start + place] * discount(place);
  return sum;
}

template <class Key>
__device__ __forceinline__ void cut_values(const RankingOptions& options, const GroupView<Key>& group,
                                           const GroupTotals& totals, int cut, const ValueColumn& out) {
  const int64_t k = options.ks[cut], places = totals.positives < k ? totals.positives : k;
  CutSums sums;
  for (int64_t i = group.start; i < group.end && i - group.start < k;) {
    const int64_t end = options.expected ? group.tie_end(i) : i + 1;
    const TieBlock block = group.block(i, end);
    if (block.positives > 0) add_block(sums, block, k, options, group.rows.discounts);
    i = end;
  }
  double ideal = 0;
  if (options.wants_full()) ideal = group.rows.weights ? ideal_dcg(group, places, 0, 1) : group.rows.discounts[places];
  write_cut(options, totals, sums, cut, ideal, out);
}

template <class Key>
__global__ void __launch_bounds__(kThreads)
    rank_groups_kernel(SortedRows<Key> rows, RankingOptions options, int64_t n_groups, RankingOutputs out) {
  DEBIAS_SHARED_ARRAY(GroupTotals, shared_totals, 1);
  for (int64_t g = blockIdx.x; g < n_groups; g += gridDim.x) {
    const GroupView<Key> group{rows, rows.starts[g], rows.starts[g + 1]};
    const int64_t positives = group.hits_between(group.start, group.end);
    double pairs = 0, dcg = 0, ideal = 0;
    for (int64_t i = group.start + threadIdx.x; i < group.end; i += kThreads) {
      if (!options.expected && options.wants_full() && rows.hits[i])
        dcg += group.positive_weight(i, i + 1) * discount(i - group.start);
      if (!group.begins_tie(i)) continue;
      const int64_t end = group.tie_end(i);
      const TieBlock block = group.block(i, end);
      if (block.positives == 0) continue;
      pairs += block.gain * (group.negative_weight(end, group.end) + 0.5 * group.negative_weight(i, end));
      if (options.expected && options.wants_full()) dcg += block.gain * mean_discount(rows, block);
    }
    if (options.wants_full() && rows.weights)
      ideal = ideal_dcg(group, positives, static_cast<int>(threadIdx.x), kThreads);
    pairs = block_sum(pairs);
    dcg = block_sum(dcg);
    ideal = block_sum(ideal);
    const ValueColumn column{out.values + g, n_groups};
    if (threadIdx.x == 0) {
      if (options.wants_full() && !rows.weights) ideal = rows.discounts[positives];
      shared_totals[0] = {group.end - group.start,
                          positives,
                          group.positive_weight(group.start, group.end),
                          group.negative_weight(group.start, group.end),
                          pairs,
                          dcg,
                          ideal};
      write_uncut(options, shared_totals[0], column);
      out.sizes[g] = group.end - group.start;
      out.positives[g] = positives;
    }
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < options.n_ks)
      cut_values(options, group, shared_totals[0], static_cast<int>(threadIdx.x), column);
    __syncthreads();
  }
}

}  // namespace

namespace cuda {

void discount_sums(int64_t n, double* sums, double* workspace, void* stream) {
  const int64_t tiles = (n + kTile - 1) / kTile;
  launch(discount_tiles_kernel, row_blocks(tiles), kThreads, 0, as_stream(stream), n, sums, workspace);
  launch(tile_offsets_kernel, 1u, kThreads, 0, as_stream(stream), tiles, workspace);
  launch(add_offsets_kernel, row_blocks(n + 1), kThreads, 0, as_stream(stream), n,
         static_cast<const double*>(workspace), sums);
}

void weight_sums(const uint8_t* hits, const double* weights, const int64_t* starts, int64_t n_groups,
                 double* positive_sums, double* negative_sums, void* stream) {
  launch(weight_sums_kernel, grid_size(n_groups, 1), kThreads, 0, as_stream(stream), hits, weights, starts, n_groups,
         positive_sums, negative_sums);
}

template <class Key>
void rank_groups(const SortedRows<Key>& rows, const RankingOptions& options, int64_t n_groups,
                 const RankingOutputs& out, void* stream) {
  launch(rank_groups_kernel<Key>, grid_size(n_groups, 1), kThreads, 0, as_stream(stream), rows, options, n_groups, out);
}

template void rank_groups(const SortedRows<int32_t>&, const RankingOptions&, int64_t, const RankingOutputs&, void*);
template void rank_groups(const SortedRows<int64_t>&, const RankingOptions&, int64_t, const RankingOutputs&, void*);

}  // namespace cuda
}  // namespace debias
