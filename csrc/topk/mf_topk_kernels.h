// What mf_topk.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "common/hostdevice.h"

namespace debias {

// int32 or int64 indices, told apart at run time: they are read too rarely for a second set of kernels.
struct IndexArray {
  const void* values;
  int wide;  // int64
  DEBIAS_HD int64_t operator[](int64_t k) const {
    return wide ? static_cast<const int64_t*>(values)[k] : static_cast<const int32_t*>(values)[k];
  }
};

// The seen items of user u are items[offsets[u]], ..., items[offsets[u + 1] - 1], in any order; offsets.values is null
// where nothing was seen.
struct SeenItems {
  IndexArray offsets, items;
  int64_t count;  // entries of `items`
};

template <class T>
struct TopkArgs {
  const T* user_factors;  // [U, d]
  const T* item_factors;  // [I, d]
  IndexArray users;       // [n]
  const T* user_bias;     // [U] or null
  const T* item_bias;     // [I] or null
  SeenItems seen;
  T* scores;       // [n, k]
  int64_t* items;  // [n, k]
  int64_t n, k, factors, n_users, n_items;
};

// The order of results: by score, ties by item id. A NaN comes before nothing.
template <class T>
struct Candidate {
  T score;
  int64_t item;
  DEBIAS_HD bool before(const Candidate& other) const {
    return score > other.score || (score == other.score && item < other.item);
  }
};

// First positions of what is wrong with `seen` for the users asked for, or -1.
struct BadSeen {
  int64_t user = -1;  // position in `users` whose offsets descend or leave [0, count]
  int64_t item = -1;  // position in `items` of an item outside [0, I)
};

namespace cpu {
template <class T>
void mf_topk(const TopkArgs<T>& args);
BadSeen check_seen(const SeenItems& seen, const IndexArray& users, int64_t n, int64_t n_items);
}  // namespace cpu

namespace cuda {
// Lists of the best items of a share of the item table, before they are merged: `splits` shares for each of n users.
struct TopkPlan {
  int64_t splits;
  int64_t items_per_split;  // fits int32
};
TopkPlan topk_plan(int64_t n, int64_t n_items);
// list_scores and list_items hold n * splits * k entries. Users outside [0, U) get no items and read nothing.
template <class T>
void mf_topk(const TopkArgs<T>& args, const TopkPlan& plan, accumulator_t<T>* list_scores, int64_t* list_items,
             void* stream);
// workspace: 2 entries; waits for the stream.
BadSeen check_seen(const SeenItems& seen, const IndexArray& users, int64_t n, int64_t n_items, int64_t* workspace,
                   void* stream);
}  // namespace cuda

}  // namespace debias
