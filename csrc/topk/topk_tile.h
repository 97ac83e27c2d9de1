// Scores of a tile of users against panels of items, in registers: they are compared with each user's threshold and
// leave the registers only where one passes.
#pragma once

#include <cstring>
#include <type_traits>

#include "common/simd.h"
#include "topk/topk_list.h"

namespace debias {

constexpr int kMaxTileUsers = 8, kMaxPanelBytes = 192;

// Packed users [d + 1][users]: their biases, then their factors. Packed panel [d + 1][width]: the same of items.
struct TileShape {
  int users, width, lanes;
};

template <class T>
struct TopkSink {
  T thresholds[kMaxTileUsers];
  alignas(64) T scores[kMaxTileUsers * (kMaxPanelBytes / sizeof(T))];  // of the tile that was hit
  TopkList<T>* lists;
  TileShape shape;
  int64_t first_item;  // of the first panel

  // Bit (user, vector) of `vectors` is set where a lane of that vector passes the threshold.
  void hit(int64_t panel, uint32_t vectors) {
    const int per_user = shape.width / shape.lanes;
    for (; vectors != 0; vectors &= vectors - 1) {
      const int bit = __builtin_ctz(vectors), user = bit / per_user, lane = bit % per_user * shape.lanes;
      const T* row = scores + user * shape.width + lane;
      TopkList<T>& list = lists[user];
      const int64_t item = first_item + panel * shape.width + lane;
      for (int l = 0; l < shape.lanes; ++l)
        if (row[l] > list.threshold()) list.offer(row[l], item + l);
      thresholds[user] = list.threshold();
    }
  }
};

template <class T, int kBytes, int kUsers, int kVectors>
struct ScoreTile {
  typedef T Vector __attribute__((vector_size(kBytes)));
  using Lane = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Lane Mask __attribute__((vector_size(kBytes)));
  static constexpr int kLanes = kBytes / sizeof(T), kWidth = kLanes * kVectors;
  static_assert(kUsers <= kMaxTileUsers && kVectors * kBytes <= kMaxPanelBytes && kUsers * kVectors <= 32, "fits");
  static constexpr TileShape kShape{kUsers, kWidth, kLanes};

  static DEBIAS_HD void run(const T* users, const T* panels, int64_t count, int64_t factors, TopkSink<T>* sink) {
    for (int64_t panel = 0; panel < count; ++panel) {
      const T* user = users;
      const T* items = panels + panel * (factors + 1) * kWidth;
      Vector scores[kUsers][kVectors];
      for (int v = 0; v < kVectors; ++v) {
        Vector bias;
        std::memcpy(&bias, items + v * kLanes, kBytes);
        for (int r = 0; r < kUsers; ++r) scores[r][v] = bias + user[r];
      }
      for (int64_t f = 0; f < factors; ++f) {
        user += kUsers;
        items += kWidth;
        Vector item[kVectors];
        for (int v = 0; v < kVectors; ++v) std::memcpy(&item[v], items + v * kLanes, kBytes);
        for (int r = 0; r < kUsers; ++r) {
          const T factor = user[r];
          for (int v = 0; v < kVectors; ++v) scores[r][v] += item[v] * factor;
        }
      }
      Mask passed = {};
      for (int r = 0; r < kUsers; ++r) {
        const T threshold = sink->thresholds[r];
        for (int v = 0; v < kVectors; ++v)
          passed |= (scores[r][v] > threshold) & static_cast<Lane>(Lane{1} << (r * kVectors + v));
      }
      uint64_t parts[kBytes / 8], any = 0;
      std::memcpy(parts, &passed, kBytes);
      for (int part = 0; part < kBytes / 8; ++part) any |= parts[part];
      const uint32_t vectors = static_cast<uint32_t>(any | any >> 32);
      if (__builtin_expect(vectors != 0, 0)) {
        std::memcpy(sink->scores, scores, sizeof scores);
        sink->hit(panel, vectors);
      }
    }
  }
};

// The tile of the present instruction set: as many accumulators as its registers hold.
template <class T>
struct TileKernel {
  using Score = void (*)(const T*, const T*, int64_t, int64_t, TopkSink<T>*);
  TileShape shape;
  Score score;

  static TileKernel now() {
#if defined(__x86_64__) && defined(__GNUC__)
    using Avx512 = ScoreTile<T, 64, 8, 3>;
    using Avx2 = ScoreTile<T, 32, 6, 2>;
    switch (simd_level()) {
      case SimdLevel::avx512:
        return {Avx512::kShape, &run_avx512<Avx512, const T*, const T*, int64_t, int64_t, TopkSink<T>*>};
      case SimdLevel::avx2: return {Avx2::kShape, &run_avx2<Avx2, const T*, const T*, int64_t, int64_t, TopkSink<T>*>};
      case SimdLevel::baseline: break;
    }
#endif
    using Baseline = ScoreTile<T, 16, 6, 2>;
    return {Baseline::kShape, &run_baseline<Baseline, const T*, const T*, int64_t, int64_t, TopkSink<T>*>};
  }
};

}  // namespace debias
