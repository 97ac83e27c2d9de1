// A block owns a tile of users and a share of the items. Scores live in registers; those above a user's threshold go to
// a small buffer in shared memory, which a warp merges into the user's sorted list whenever the next tile of items
// might not fit. Which slot of the buffer a candidate takes is a matter of chance, what is merged is not.
#include "common/read_back.cuh"
#include "topk/mf_topk_kernels.h"
#include "topk/topk_merge.cuh"

namespace debias {
namespace {

constexpr int kTileUsers = 32, kTileItems = 64, kSide = 4;  // a thread scores kSide users x kSide items
constexpr int kThreads = kTileUsers * kTileItems / (kSide * kSide);
constexpr int kWarps = kThreads / 32, kItemThreads = kTileItems / kSide;
static_assert(kBuffer > kTileItems, "an empty buffer holds the candidates of one tile of items");
constexpr int64_t kMostSplits = 64, kWantedBlocks = 264, kFewestItems = 4096;

template <class T>
struct alignas(16) Quad {
  T v[kSide];
};

// Factors of a tile, transposed, with rows four banks apart: 8 factors of 4 rows are stored without a conflict.
template <class T, int kRows>
struct Stage {
  static constexpr int kDepth = sizeof(T) == 4 ? 32 : 8, kPitch = kRows / kSide + 1;
  static constexpr int kSize = kDepth * kPitch;

  // rows(r): the row of the table for row r of the tile, or -1
  template <class Storage, class Rows>
  static __device__ __forceinline__ void fill(Quad<T>* stage, const Storage* table, int64_t factors, int64_t first,
                                              const Rows& rows) {
    for (int e = static_cast<int>(threadIdx.x); e < kRows * kDepth; e += kThreads) {
      const int f = e % 8 + e / (8 * kRows) * 8, r = e / 8 % kRows;
      const int64_t row = rows(r);
      const bool inside = row >= 0 && first + f < factors;
      stage[f * kPitch + r / kSide].v[r % kSide] =
          inside ? static_cast<T>(to_float(table[row * factors + first + f])) : T(0);
    }
  }
};

// Everything a block keeps in shared memory.
template <class T>
struct Shared {
  Quad<T>* users;  // stages
  Quad<T>* items;
  T* scores;  // [kTileUsers, kBuffer]
  int* offsets;
  T* thresholds;  // [kTileUsers]
  int* counts;
  int64_t* ids;  // user ids, -1 for none

  __device__ Buffer<T> buffer(int user, int64_t first_item) const {
    return {scores + user * kBuffer, offsets + user * kBuffer, counts[user], first_item};
  }
};

// Each warp empties the buffers of its users that hold more than `allowed` candidates.
template <class T, class Lists>
__device__ __forceinline__ void empty_buffers(const Shared<T>& shared, const SeenItems& seen, int allowed,
                                              int64_t first_item, const Lists& lists) {
  for (int u = static_cast<int>(threadIdx.x) / 32; u < kTileUsers; u += kWarps) {
    if (shared.counts[u] <= allowed) continue;
    const Buffer<T> buffer = shared.buffer(u, first_item);
    const List<T> list = lists(u);
    drop_seen(buffer, seen, seen_range(seen, shared.ids[u]));
    merge(buffer, list);
    if ((threadIdx.x & 31) == 0) {
      shared.thresholds[u] = list.scores[list.k - 1];
      shared.counts[u] = 0;
    }
  }
  __syncthreads();
}

template <class T>
__device__ __forceinline__ void multiply(const Shared<T>& shared, T (&scores)[kSide][kSide]) {
  using Users = Stage<T, kTileUsers>;
  using Items = Stage<T, kTileItems>;
  const int ty = threadIdx.x / kItemThreads, tx = threadIdx.x % kItemThreads;
#pragma unroll 8
  for (int f = 0; f < Users::kDepth; ++f) {
    const Quad<T> user = shared.users[f * Users::kPitch + ty], item = shared.items[f * Items::kPitch + tx];
    for (int r = 0; r < kSide; ++r)
      for (int c = 0; c < kSide; ++c) scores[r][c] += user.v[r] * item.v[c];
  }
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    topk_kernel(TopkArgs<Storage> args, cuda::TopkPlan plan, accumulator_t<Storage>* list_scores, int64_t* list_items) {
  using T = accumulator_t<Storage>;
  using Users = Stage<T, kTileUsers>;
  using Items = Stage<T, kTileItems>;
  DEBIAS_SHARED_ARRAY(Quad<T>, user_stage, Users::kSize);
  DEBIAS_SHARED_ARRAY(Quad<T>, item_stage, Items::kSize);
  DEBIAS_SHARED_ARRAY(T, buffer_scores, kTileUsers * kBuffer);
  DEBIAS_SHARED_ARRAY(int, buffer_offsets, kTileUsers* kBuffer);
  DEBIAS_SHARED_ARRAY(T, thresholds, kTileUsers);
  DEBIAS_SHARED_ARRAY(int, counts, kTileUsers);
  DEBIAS_SHARED_ARRAY(int64_t, ids, kTileUsers);
  const Shared<T> shared{user_stage, item_stage, buffer_scores, buffer_offsets, thresholds, counts, ids};
  const int user_row = static_cast<int>(threadIdx.x) / kItemThreads * kSide;
  const int item_row = static_cast<int>(threadIdx.x) % kItemThreads * kSide;
  const int64_t tasks = (args.n + kTileUsers - 1) / kTileUsers * plan.splits;
  for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const int64_t first_position = task / plan.splits * kTileUsers, split = task % plan.splits;
    const int64_t begin = split * plan.items_per_split;
    const int64_t end = begin + plan.items_per_split < args.n_items ? begin + plan.items_per_split : args.n_items;
    const auto lists = [&](int u) {
      const int64_t start = ((first_position + u) * plan.splits + split) * args.k;
      return List<T>{list_scores + start, list_items + start, args.k};
    };
    for (int u = 0; u < kTileUsers && first_position + u < args.n; ++u)
      for (int64_t place = threadIdx.x; place < args.k; place += kThreads)
        lists(u).set(place, {minus_infinity<T>(), -1});
    for (int u = static_cast<int>(threadIdx.x); u < kTileUsers; u += kThreads) {
      const int64_t user = first_position + u < args.n ? args.users[first_position + u] : -1;
      ids[u] = user >= 0 && user < args.n_users ? user : -1;
      thresholds[u] = minus_infinity<T>();
      counts[u] = 0;
    }
    __syncthreads();
    for (int64_t first = begin; first < end; first += kTileItems) {
      T scores[kSide][kSide];
      for (int r = 0; r < kSide; ++r)
        for (int c = 0; c < kSide; ++c) {
          const int64_t user = ids[user_row + r], item = first + item_row + c;
          scores[r][c] = args.user_bias && user >= 0 ? static_cast<T>(to_float(args.user_bias[user])) : T(0);
          if (args.item_bias && item < end) scores[r][c] += static_cast<T>(to_float(args.item_bias[item]));
        }
      for (int64_t f = 0; f < args.factors; f += Users::kDepth) {
        Users::fill(user_stage, args.user_factors, args.factors, f, [&](int r) { return ids[r]; });
        Items::fill(item_stage, args.item_factors, args.factors, f,
                    [&](int r) { return first + r < end ? first + r : -1; });
        __syncthreads();
        multiply(shared, scores);
        __syncthreads();
      }
      for (int r = 0; r < kSide; ++r)
        for (int c = 0; c < kSide; ++c) {
          const int u = user_row + r;
          if (ids[u] < 0 || first + item_row + c >= end || !(scores[r][c] > thresholds[u])) continue;
          // An integer count: which slot a thread gets changes nothing, lists order entries by score and item.
          const int slot = u * kBuffer + atomicAdd(&counts[u], 1);
          buffer_scores[slot] = scores[r][c];
          buffer_offsets[slot] = static_cast<int>(first + item_row + c - begin);
        }
      __syncthreads();
      empty_buffers(shared, args.seen, kBuffer - kTileItems, begin, lists);
    }
    empty_buffers(shared, args.seen, 0, begin, lists);
  }
}

// A warp a user: the lists of the later shares are merged into that of the first, which becomes the result. Items of
// later shares have higher ids, so that those of equal score come after.
template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    merge_lists_kernel(TopkArgs<Storage> args, cuda::TopkPlan plan, accumulator_t<Storage>* list_scores,
                       int64_t* list_items) {
  using T = accumulator_t<Storage>;
  DEBIAS_SHARED_ARRAY(T, buffer_scores, kWarps * kBuffer);
  DEBIAS_SHARED_ARRAY(int, buffer_offsets, kWarps* kBuffer);
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t position = static_cast<int64_t>(blockIdx.x) * kWarps + warp; position < args.n; position += stride) {
    const int64_t start = position * plan.splits * args.k;
    const List<T> best{list_scores + start, list_items + start, args.k};
    for (int64_t split = 1; split < plan.splits; ++split) {
      const List<T> other{best.scores + split * args.k, best.items + split * args.k, args.k};
      for (int64_t from = 0; from < args.k && other.scores[from] > best.scores[args.k - 1]; from += kBuffer) {
        const int count = args.k - from < kBuffer ? static_cast<int>(args.k - from) : kBuffer;
        const Buffer<T> buffer{buffer_scores + warp * kBuffer, buffer_offsets + warp * kBuffer, count,
                               split * plan.items_per_split};
        for (int slot = lane; slot < count; slot += 32) {
          buffer.scores[slot] = other.scores[from + slot];
          buffer.offsets[slot] = static_cast<int>(other.items[from + slot] - buffer.first_item);
        }
        __syncwarp();
        merge(buffer, best);
      }
    }
    for (int64_t place = lane; place < args.k; place += 32) {
      args.scores[position * args.k + place] = from_float<Storage>(best.scores[place]);
      args.items[position * args.k + place] = best.items[place];
    }
  }
}

__global__ void start_search_kernel(unsigned long long* first) { first[threadIdx.x] = ~0ull; }

// A warp a user.
__global__ void __launch_bounds__(kThreads, 1)
    check_seen_kernel(SeenItems seen, IndexArray users, int64_t n, int64_t n_items, unsigned long long* first) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t k = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; k < n; k += stride) {
    const int64_t begin = seen.offsets[users[k]], end = seen.offsets[users[k] + 1];
    if (begin < 0 || end < begin || end > seen.count) {
      atomicMin(first, static_cast<unsigned long long>(k));
      continue;
    }
    for (int64_t p = begin + (threadIdx.x & 31); p < end; p += 32)
      if (seen.items[p] < 0 || seen.items[p] >= n_items) atomicMin(first + 1, static_cast<unsigned long long>(p));
  }
}

}  // namespace

namespace cuda {

TopkPlan topk_plan(int64_t n, int64_t n_items) {
  const int64_t tiles = (n + kTileUsers - 1) / kTileUsers;
  const auto at_least_1 = [](int64_t value) { return value > 1 ? value : 1; };
  int64_t splits = at_least_1(kWantedBlocks / at_least_1(tiles));
  splits = splits < kMostSplits ? splits : kMostSplits;
  splits = splits < n_items / kFewestItems ? splits : at_least_1(n_items / kFewestItems);
  splits = splits > n_items >> 30 ? splits : (n_items >> 30) + 1;
  const int64_t per_split = ((n_items + splits - 1) / splits + kTileItems - 1) / kTileItems * kTileItems;
  return {at_least_1((n_items + at_least_1(per_split) - 1) / at_least_1(per_split)), per_split};
}

template <class T>
void mf_topk(const TopkArgs<T>& args, const TopkPlan& plan, accumulator_t<T>* list_scores, int64_t* list_items,
             void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const int64_t tasks = (args.n + kTileUsers - 1) / kTileUsers * plan.splits;
  launch(topk_kernel<T>, grid_size(tasks, 1), kThreads, 0, on, args, plan, list_scores, list_items);
  launch(merge_lists_kernel<T>, grid_size(args.n, kWarps), kThreads, 0, on, args, plan, list_scores, list_items);
}

BadSeen check_seen(const SeenItems& seen, const IndexArray& users, int64_t n, int64_t n_items, int64_t* workspace,
                   void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  auto* first = reinterpret_cast<unsigned long long*>(workspace);
  launch(start_search_kernel, 1u, 2, 0, on, first);
  launch(check_seen_kernel, grid_size(n, kWarps), kThreads, 0, on, seen, users, n, n_items, first);
  BadSeen bad;
  int64_t found[2];
  read_back(workspace, 2, found, on);
  bad.user = found[0];
  bad.item = found[1];
  return bad;
}

#define DEBIAS_INSTANTIATE(T) \
  template void mf_topk(const TopkArgs<T>&, const TopkPlan&, accumulator_t<T>*, int64_t*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
