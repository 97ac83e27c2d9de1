#include "topk/topk_screen.h"

#include <cmath>
#include <limits>

#include "common/math.h"
#include "common/simd.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define DEBIAS_CAN_SCREEN 1
#define DEBIAS_AVX512_BF16 __attribute__((target("arch=x86-64-v4,avx512bf16,prefer-vector-width=512")))
#endif

namespace debias {
namespace {

constexpr float kLargestNorm = 1e18f, kLargestBias = 1e30f;
constexpr float kTiny = 8.67e-19f;  // 2^-60, above what squares or products lose where they underflow
constexpr float kMargin = 1.01f;    // above the rounding of the bound itself

DEBIAS_HD uint32_t round_to_bfloat16(float value) {  // to nearest, ties to even, in the upper half
  const uint32_t pattern = bits<uint32_t>(value);
  return (pattern + 0x7fffu + (pattern >> 16 & 1)) & 0xffff0000u;
}

struct PairRow {
  static DEBIAS_HD void run(const float* __restrict row, int64_t pairs, uint32_t* __restrict out) {
    for (int64_t j = 0; j < pairs; ++j)
      out[j] = round_to_bfloat16(row[2 * j]) >> 16 | round_to_bfloat16(row[2 * j + 1]);
  }
};

struct SquareSum {
  static DEBIAS_HD void run(const float* row, int64_t factors, float* result) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t f = 0; f < factors; ++f) sum += row[f] * row[f];
    *result = sum;
  }
};

#ifdef DEBIAS_CAN_SCREEN
// thresholds - slack; a NaN lets everything pass
DEBIAS_AVX512_BF16 inline __m256 lower_bounds(const ScreenTile& tile, const float* thresholds, float norm,
                                              float fixed) {
  const __m256 threshold = _mm256_loadu_ps(thresholds);
  const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), threshold);
  __m256 slack = _mm256_add_ps(_mm256_loadu_ps(tile.fixed), _mm256_set1_ps(fixed));
  slack = _mm256_fmadd_ps(_mm256_loadu_ps(tile.per_norm), _mm256_set1_ps(norm), slack);
  const __m256 least = _mm256_sub_ps(threshold, slack);
  return _mm256_fnmadd_ps(size, _mm256_set1_ps(2.4e-7f), least);  // 2^-22: this subtraction rounds too
}

DEBIAS_AVX512_BF16 void screen_avx512(const ScreenTile& tile, const ScreenPanels& panels, ScreenSink& sink) {
  for (int64_t panel = 0; panel < panels.count; ++panel) {
    const uint32_t* items = panels.pairs + panel * panels.n_pairs * kScreenItems;
    const uint32_t* users = tile.pairs;
    __m512 scores[kScreenUsers][kScreenVectors];
    for (int v = 0; v < kScreenVectors; ++v) {
      const __m512 bias = _mm512_loadu_ps(panels.bias + panel * kScreenItems + 16 * v);
      for (int r = 0; r < kScreenUsers; ++r) scores[r][v] = _mm512_add_ps(bias, _mm512_set1_ps(tile.bias[r]));
    }
    for (int64_t j = 0; j < panels.n_pairs; ++j, items += kScreenItems, users += kScreenUsers) {
      __m512bh item[kScreenVectors];
      for (int v = 0; v < kScreenVectors; ++v) item[v] = (__m512bh)_mm512_loadu_si512(items + 16 * v);
      for (int r = 0; r < kScreenUsers; ++r) {
        const __m512bh user = (__m512bh)_mm512_set1_epi32(static_cast<int>(users[r]));
        for (int v = 0; v < kScreenVectors; ++v) scores[r][v] = _mm512_dpbf16_ps(scores[r][v], item[v], user);
      }
    }
    alignas(32) float lower[kScreenUsers];
    _mm256_store_ps(lower, lower_bounds(tile, sink.thresholds, panels.norms[panel], panels.fixed[panel]));
    uint16_t passed[kScreenUsers][kScreenVectors];
    unsigned any = 0;
    for (int r = 0; r < kScreenUsers; ++r)
      for (int v = 0; v < kScreenVectors; ++v) {
        const __mmask16 lanes = _mm512_cmp_ps_mask(scores[r][v], _mm512_set1_ps(lower[r]), _CMP_NLE_UQ);
        passed[r][v] = lanes;
        any |= lanes;
      }
    if (__builtin_expect(any != 0, 0)) sink.passed(panel, passed);
  }
}

__attribute__((target("fma"))) void fused_sums(const float* const* p, const float* const* q, int64_t factors,
                                               float* sums) {
  const float *p0 = p[0], *p1 = p[1], *p2 = p[2], *p3 = p[3], *q0 = q[0], *q1 = q[1], *q2 = q[2], *q3 = q[3];
  float s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
  for (int64_t f = 0; f < factors; ++f) {
    s0 = __builtin_fmaf(q0[f], p0[f], s0);
    s1 = __builtin_fmaf(q1[f], p1[f], s1);
    s2 = __builtin_fmaf(q2[f], p2[f], s2);
    s3 = __builtin_fmaf(q3[f], p3[f], s3);
  }
  sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}
#endif

}  // namespace

#ifdef DEBIAS_CAN_SCREEN
bool can_screen() {
  static const bool has_bfloat16 = __builtin_cpu_supports("avx512bf16");
  return has_bfloat16 && simd_level() == SimdLevel::avx512;
}

void screen(const ScreenTile& tile, const ScreenPanels& panels, ScreenSink& sink) { screen_avx512(tile, panels, sink); }

void exact_scores(const float* const (&p)[kExactBatch], const float* const (&q)[kExactBatch], int64_t factors,
                  float (&scores)[kExactBatch]) {
  for (int c = 0; c < kExactBatch; c += 4) fused_sums(p + c, q + c, factors, scores + c);
}
#else
bool can_screen() { return false; }
void screen(const ScreenTile&, const ScreenPanels&, ScreenSink&) {}
void exact_scores(const float* const (&)[kExactBatch], const float* const (&)[kExactBatch], int64_t,
                  float (&)[kExactBatch]) {}
#endif

void pack_pairs(const float* row, int64_t factors, uint32_t* pairs) {
  simd_run<PairRow>(row, factors / 2, pairs);
  if (factors % 2) pairs[factors / 2] = round_to_bfloat16(row[factors - 1]) >> 16;
}

float screen_norm(const float* row, int64_t factors) {
  float squares;
  simd_run<SquareSum>(row, factors, &squares);
  const float d = static_cast<float>(factors);
  const float norm = std::sqrt(squares) * (1 + d * 2.4e-7f) + std::sqrt(d) * kTiny;
  return norm < kLargestNorm ? norm : std::numeric_limits<float>::quiet_NaN();
}

float sum_slack(int64_t factors, float magnitude) {
  if (!(magnitude < kLargestBias)) return std::numeric_limits<float>::quiet_NaN();
  const float d = static_cast<float>(factors + 3);
  return kMargin * d * 1.2e-7f * magnitude + d * 4.8e-38f;  // 2^-23, and 2^-124 where products underflow
}

float product_slack(int64_t factors, float norm) {
  const float d = static_cast<float>(factors + 3);
  return kMargin * (0.0039063f + 4e-6f + 1.02f * d * 1.2e-7f) * norm;  // 2^-8 and 2^-18, and the sums
}

}  // namespace debias
