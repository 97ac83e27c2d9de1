// Most items are far below a user's threshold. Products of bfloat16 factors take half the time of float32 ones, and
// show it: with a bound on what rounding may have taken away, only items that might pass are scored in float32.
//
// The bound, with p' and q' the rounded factors, n_p and n_q the norms, t the threshold and e = 2^-24:
//   |p'.q' - p.q| <= (2^-8 + 2^-18) n_p n_q      each factor is off by at most 2^-9 of itself
//   sums of d terms, here and in float32, are off by at most 2 (d + 3) e (|a| + |b| + 1.01 n_p n_q)
// Norms are taken a little too large, which also covers what underflows; where they leave no room for products to stay
// finite, they are NaN and everything passes.
#pragma once

#include <cstdint>

namespace debias {

constexpr int kScreenUsers = 8, kScreenVectors = 3, kScreenItems = 16 * kScreenVectors;

bool can_screen();  // this CPU multiplies bfloat16, and AVX-512 is not switched off

struct ScreenTile {
  const uint32_t* pairs;  // [n_pairs, kScreenUsers], two bfloat16 factors each
  float bias[kScreenUsers];
  float per_norm[kScreenUsers];  // slack for each unit of an item's norm
  float fixed[kScreenUsers];     // slack whatever the item
};

struct ScreenPanels {
  const uint32_t* pairs;  // [count, n_pairs, kScreenItems]
  const float* bias;      // [count, kScreenItems]
  const float* norms;     // [count]: the largest of the panel
  const float* fixed;     // [count]: slack whatever the user
  int64_t count, n_pairs;
};

// What is told of a panel: bit `lane` of passed[user][vector] is set where an item might pass.
class ScreenSink {
 public:
  float thresholds[kScreenUsers];
  virtual void passed(int64_t panel, const uint16_t (&passed)[kScreenUsers][kScreenVectors]) = 0;

 protected:
  ~ScreenSink() = default;
};

void screen(const ScreenTile& tile, const ScreenPanels& panels, ScreenSink& sink);

// Rows of factors as pairs, and their norm as the bound wants it.
void pack_pairs(const float* row, int64_t factors, uint32_t* pairs);
float screen_norm(const float* row, int64_t factors);
float sum_slack(int64_t factors, float magnitude);  // of sums of terms of at most that magnitude together
float product_slack(int64_t factors, float norm);   // for each unit of the other norm

// scores[c] += sum p_f q_f, rounded as the tiles of float32 round it. Several at once, since each sum waits for its
// last addition.
constexpr int kExactBatch = 8;
void exact_scores(const float* const (&p)[kExactBatch], const float* const (&q)[kExactBatch], int64_t factors,
                  float (&scores)[kExactBatch]);

}  // namespace debias
