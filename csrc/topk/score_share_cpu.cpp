// A share on any CPU: packed panels of items stay in the cache while every tile of users goes over them.
#include "topk/topk_share.h"
#include "topk/topk_tile.h"

namespace debias {
namespace {

template <class T>
class Scorer {
 public:
  Scorer(const TopkArgs<T>& args, const Share& share, TopkList<T>* lists)
      : args_(args), share_(share), lists_(lists), kernel_(TileKernel<T>::now()) {}

  void run() const {
    const int64_t width = kernel_.shape.width, panel = (args_.factors + 1) * width;
    const int64_t count = std::max<int64_t>(1, kPackedBytes / static_cast<int64_t>(panel * sizeof(T)));
    std::vector<T> panels(static_cast<size_t>(count * panel));
    const std::vector<T> tiles = packed_users();
    for (int64_t item = share_.item_begin; item < share_.item_end; item += count * width) {
      const int64_t used = std::min(count, block_count(share_.item_end - item, width));
      for (int64_t p = 0; p < used; ++p) pack_items(item + p * width, panels.data() + p * panel);
      score(tiles.data(), panels.data(), used, item);
    }
  }

 private:
  void score(const T* tiles, const T* panels, int64_t count, int64_t first_item) const {
    TopkSink<T> sink;
    sink.shape = kernel_.shape;
    sink.first_item = first_item;
    const int64_t users = share_.n_users(), height = kernel_.shape.users;
    for (int64_t first = 0; first < users; first += height) {
      sink.lists = lists_ + first;
      for (int64_t r = 0; r < height; ++r)
        sink.thresholds[r] = first + r < users ? sink.lists[r].threshold() : -minus_infinity<T>();
      kernel_.score(tiles + first * (args_.factors + 1), panels, count, args_.factors, &sink);
    }
  }

  std::vector<T> packed_users() const {
    const int64_t users = share_.n_users(), height = kernel_.shape.users, rows = args_.factors + 1;
    std::vector<T> tiles(static_cast<size_t>(block_count(users, height) * height * rows));
    for (int64_t k = 0; k < users; ++k) {
      const int64_t user = args_.users[share_.user_begin + k];
      T* out = tiles.data() + k / height * height * rows + k % height;
      *out = args_.user_bias ? args_.user_bias[user] : T(0);
      const T* source = args_.user_factors + user * args_.factors;
      for (int64_t f = 0; f < args_.factors; ++f) out[(f + 1) * height] = source[f];
    }
    return tiles;
  }

  // Lanes beyond the last item score minus infinity or NaN, which pass no threshold.
  void pack_items(int64_t first, T* __restrict out) const {
    const int64_t width = kernel_.shape.width, d = args_.factors, used = std::min(width, share_.item_end - first);
    for (int64_t lane = 0; lane < width; ++lane)
      out[lane] = lane >= used ? minus_infinity<T>() : args_.item_bias ? args_.item_bias[first + lane] : T(0);
    if (used < width) std::fill(out + width, out + (d + 1) * width, T(0));
    for (int64_t lane = 0; lane < used; ++lane) {
      const T* __restrict row = args_.item_factors + (first + lane) * d;
      T* __restrict column = out + width + lane;
      for (int64_t f = 0; f < d; ++f) column[f * width] = row[f];
    }
  }

  const TopkArgs<T>& args_;
  const Share& share_;
  TopkList<T>* lists_;
  TileKernel<T> kernel_;
};

}  // namespace

template <class T>
void score_share(const TopkArgs<T>& args, const Share& share, TopkList<T>* lists) {
  Scorer<T>(args, share, lists).run();
}

template void score_share(const TopkArgs<float>&, const Share&, TopkList<float>*);
template void score_share(const TopkArgs<double>&, const Share&, TopkList<double>*);

}  // namespace debias
