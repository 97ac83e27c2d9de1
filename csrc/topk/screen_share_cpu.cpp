// The same with screening: packed pairs of bfloat16, bounds by norms, and exact scores of what passes.
#include <cmath>

#include "topk/topk_screen.h"
#include "topk/topk_share.h"

namespace debias {
namespace {

constexpr int64_t kFewestFactors = 16;  // below, rounding bounds cost more than they save
constexpr int64_t kItemsPerPlace = 64;  // with fewer items to a place of the list, too many pass

// Scores in float32 what passed for one tile of users.
class ExactScores final : public ScreenSink {
 public:
  ExactScores(const TopkArgs<float>& args, const Share& share, int64_t first_item)
      : args_(args), share_(share), first_item_(first_item) {}

  void start(int64_t first_row, TopkList<float>* lists) {
    position_ = share_.user_begin + first_row;
    used_ = static_cast<int>(std::min<int64_t>(kScreenUsers, share_.user_end - position_));
    lists_ = lists + first_row;
    for (int r = 0; r < kScreenUsers; ++r)
      thresholds[r] = r < used_ ? lists_[r].threshold() : std::numeric_limits<float>::max();
  }

  void passed(int64_t panel, const uint16_t (&passed)[kScreenUsers][kScreenVectors]) override {
    for (int r = 0; r < used_; ++r) {
      const uint64_t lanes =
          passed[r][0] | static_cast<uint64_t>(passed[r][1]) << 16 | static_cast<uint64_t>(passed[r][2]) << 32;
      if (lanes) collect(r, first_item_ + panel * kScreenItems, lanes);
    }
  }

  // Scores what has been collected.
  void flush() {
    if (waiting_ == 0) return;
    const int64_t d = args_.factors;
    const float *p[kExactBatch], *q[kExactBatch];
    float scores[kExactBatch];
    for (int c = 0; c < kExactBatch; ++c) {
      const Waiting& one = queue_[c < waiting_ ? c : 0];
      const int64_t user = args_.users[position_ + one.row];
      p[c] = args_.user_factors + user * d;
      q[c] = args_.item_factors + one.item * d;
      scores[c] =
          (args_.item_bias ? args_.item_bias[one.item] : 0.0f) + (args_.user_bias ? args_.user_bias[user] : 0.0f);
    }
    exact_scores(p, q, d, scores);
    for (int c = 0; c < waiting_; ++c) {
      TopkList<float>& list = lists_[queue_[c].row];
      list.offer(scores[c], queue_[c].item);
      thresholds[queue_[c].row] = list.threshold();
    }
    waiting_ = 0;
  }

 private:
  struct Waiting {
    int row;
    int64_t item;
  };

  void collect(int row, int64_t first, uint64_t lanes) {
    for (; lanes; lanes &= lanes - 1) {
      const int64_t item = first + __builtin_ctzll(lanes);
      if (item >= share_.item_end) break;
      queue_[waiting_++] = {row, item};
      if (waiting_ == kExactBatch) flush();
    }
  }

  const TopkArgs<float>& args_;
  const Share& share_;
  int64_t first_item_, position_ = 0;
  int used_ = 0;
  TopkList<float>* lists_ = nullptr;
  int waiting_ = 0;
  Waiting queue_[kExactBatch];
};

// Row by row, then transposed: the conversion is vectorised, the transposition is not.
void pack_column(const float* row, int64_t factors, std::vector<uint32_t>& scratch, uint32_t* column, int64_t stride) {
  const int64_t n_pairs = static_cast<int64_t>(scratch.size());
  uint32_t* pairs = scratch.data();
  pack_pairs(row, factors, pairs);
  for (int64_t j = 0; j < n_pairs; ++j) column[j * stride] = pairs[j];
}

struct Tiles {
  std::vector<uint32_t> pairs;
  std::vector<ScreenTile> tiles;

  Tiles(const TopkArgs<float>& args, const Share& share) {
    const int64_t n_pairs = block_count(args.factors, 2), count = block_count(share.n_users(), kScreenUsers);
    pairs.resize(static_cast<size_t>(count * n_pairs * kScreenUsers));
    tiles.resize(static_cast<size_t>(count));
    std::vector<uint32_t> scratch(static_cast<size_t>(n_pairs));
    for (int64_t t = 0; t < count; ++t) tiles[static_cast<size_t>(t)].pairs = pairs.data() + t * n_pairs * kScreenUsers;
    for (int64_t row = 0; row < share.n_users(); ++row) {
      const int64_t user = args.users[share.user_begin + row], r = row % kScreenUsers;
      ScreenTile& tile = tiles[static_cast<size_t>(row / kScreenUsers)];
      const float* factors = args.user_factors + user * args.factors;
      pack_column(factors, args.factors, scratch, pairs.data() + row / kScreenUsers * n_pairs * kScreenUsers + r,
                  kScreenUsers);
      tile.bias[r] = args.user_bias ? args.user_bias[user] : 0.0f;
      tile.per_norm[r] = product_slack(args.factors, screen_norm(factors, args.factors));
      tile.fixed[r] = sum_slack(args.factors, std::fabs(tile.bias[r]));
    }
  }
};

class Panels {
 public:
  Panels(const TopkArgs<float>& args, const Share& share)
      : args_(args),
        share_(share),
        n_pairs_(block_count(args.factors, 2)),
        most_(std::max<int64_t>(1, kPackedBytes / (n_pairs_ * kScreenItems * 4))),
        scratch_(static_cast<size_t>(n_pairs_)),
        pairs_(static_cast<size_t>(most_ * n_pairs_ * kScreenItems)),
        bias_(static_cast<size_t>(most_ * kScreenItems)),
        norms_(static_cast<size_t>(most_)),
        fixed_(static_cast<size_t>(most_)) {}

  // As many as fit, from that item on.
  ScreenPanels pack(int64_t first) {
    const int64_t count = std::min(most_, block_count(share_.item_end - first, kScreenItems));
    for (int64_t p = 0; p < count; ++p) pack_panel(p, first + p * kScreenItems);
    return {pairs_.data(), bias_.data(), norms_.data(), fixed_.data(), count, n_pairs_};
  }

 private:
  // Lanes beyond the last item score minus infinity.
  void pack_panel(int64_t p, int64_t first) {
    uint32_t* pairs = pairs_.data() + p * n_pairs_ * kScreenItems;
    float* bias = bias_.data() + p * kScreenItems;
    const int64_t used = std::min<int64_t>(kScreenItems, share_.item_end - first), d = args_.factors;
    if (used < kScreenItems) std::fill(pairs, pairs + n_pairs_ * kScreenItems, 0u);
    float norm = 0, largest_bias = 0;
    for (int64_t lane = 0; lane < kScreenItems; ++lane) {
      bias[lane] = lane >= used ? minus_infinity<float>() : args_.item_bias ? args_.item_bias[first + lane] : 0.0f;
      if (lane >= used) continue;
      const float* factors = args_.item_factors + (first + lane) * d;
      pack_column(factors, d, scratch_, pairs + lane, kScreenItems);
      const float item_norm = screen_norm(factors, d), size = std::fabs(bias[lane]);
      norm = norm != norm || item_norm <= norm ? norm : item_norm;  // a NaN stays
      if (std::isfinite(size)) largest_bias = std::max(largest_bias, size);
    }
    norms_[static_cast<size_t>(p)] = norm;
    fixed_[static_cast<size_t>(p)] = sum_slack(d, largest_bias);
  }

  const TopkArgs<float>& args_;
  const Share& share_;
  int64_t n_pairs_, most_;
  std::vector<uint32_t> scratch_, pairs_;
  std::vector<float> bias_, norms_, fixed_;
};

}  // namespace

bool worth_screening(const TopkArgs<float>& args) {
  return can_screen() && args.factors >= kFewestFactors && args.k < args.n_items / kItemsPerPlace;
}

void screen_share(const TopkArgs<float>& args, const Share& share, TopkList<float>* lists) {
  const Tiles users(args, share);
  Panels panels(args, share);
  for (int64_t first = share.item_begin; first < share.item_end;) {
    const ScreenPanels packed = panels.pack(first);
    ExactScores scores(args, share, first);
    for (size_t t = 0; t < users.tiles.size(); ++t) {
      scores.start(static_cast<int64_t>(t) * kScreenUsers, lists);
      screen(users.tiles[t], packed, scores);
      scores.flush();
    }
    first += packed.count * kScreenItems;
  }
}

}  // namespace debias
