// The forward pass of one team: a block of samples, one layer or all of them.
#pragma once

#include "attention/attention_rows.h"

namespace debias {
namespace attention {

template <class Team, class Storage>
struct Forward : Rows<Team, Storage> {
  using Base = Rows<Team, Storage>;
  using Base::net, Base::team, Base::tile;
  using typename Base::T;

  // Layers [first, end) of the samples of a block, and their weighted sums after the last layer.
  DEBIAS_TEAM void run(int64_t block, int first, int end, Storage* out) const {
    T* const sums = net.sums + block * net.block_sums;
    this->start();
    int64_t seen = 0;
    for (int l = first; net.batch_statistics() && l < end; ++l) {
      this->clear(sums + net.layers[l].first_sums, net.layers[l].stride);
      this->clear(sums + net.layers[l].second_sums, net.layers[l].stride);
    }
    for (int64_t b = block * net.block_size; b < net.end(block); ++b) {
      for (int l = first; l < end; ++l) layer(l, b, sums, seen);
      if (end == net.args.layers) pool(b, out);
      seen += net.length(b);
    }
    int64_t* const count = net.counts + block;
    team.each(1, [=](int64_t) { *count = seen; });
  }

 private:
  DEBIAS_TEAM void layer(int l, int64_t b, T* sums, int64_t seen) const {
    const Layer<T>& layer = net.layers[l];
    const int64_t n = net.length(b), d = layer.in;
    if (l == 0 && n > 0) this->mix(b);
    for (int64_t t = 0; t < n; t += Team::rows) {
      const int64_t rows = n - t < Team::rows ? n - t : Team::rows;
      T* const out = net.last(l) ? tile.output : net.hidden(l, tile.hidden, b, t);
      if (l == 0) {
        team.product(Product<T>{this->keys(b, t, rows), d, 1, rows, d, tile.mixed, layer.stride, tile.base, 0, out,
                                layer.stride, layer.stride});
      } else {
        this->activate(l - 1, b, t, rows);
        team.product(Product<T>{tile.input, layer.in_stride, 1, rows, layer.in, layer.forward, layer.stride, layer.bias,
                                0, out, layer.stride, layer.stride});
      }
      if (net.last(l)) {
        T* const scores = net.args.scores + net.row(b, t);
        const int64_t stride = layer.stride;
        team.each(rows, [=](int64_t r) { scores[r] = out[r * stride]; });
      } else if (net.batch_statistics()) {
        add_moments(layer, out, rows, seen + t, sums);
      }
    }
  }

  // The moments of a tile, put together with those of the `seen` positions before it.
  DEBIAS_TEAM void add_moments(const Layer<T>& layer, const T* hidden, int64_t rows, int64_t seen, T* sums) const {
    const int64_t stride = layer.stride;
    const T count = static_cast<T>(rows), before = static_cast<T>(seen);
    const T *total = tile.sums, *squares = tile.more;
    this->clear(tile.sums, stride);
    this->clear(tile.more, stride);
    this->add_columns(hidden, rows, stride, tile.sums);
    this->apply(SquaredDeviations<T>{hidden, total, tile.extra, stride, T(1) / count}, rows);
    this->add_columns(tile.extra, rows, stride, tile.more);
    T *mean = sums + layer.first_sums, *deviations = sums + layer.second_sums;
    team.each(stride,
              [=](int64_t u) { merge_moments(before, mean[u], deviations[u], count, total[u] / count, squares[u]); });
  }

  DEBIAS_TEAM void pool(int64_t b, Storage* out) const {
    const int64_t n = net.length(b), d = net.layers[0].in;
    T* const scores = net.args.scores + net.row(b, 0);
    team.each(net.args.steps - n, [=](int64_t t) { scores[n + t] = T(0); });
    team.weighted_rows(scores, net.args.keys + net.row(b, 0) * d, n, d, tile.query, out + b * d);
  }
};

// Mean, variance and scale of hidden layer l over every block.
template <class Team, class Storage>
DEBIAS_TEAM void finish_statistics(const Team& team, const Network<Storage>& net, int l) {
  using T = accumulator_t<Storage>;
  const Layer<T> layer = net.layers[l];
  T* const out = net.args.statistics + layer.statistics;
  team.each(layer.out, [=, &net](int64_t u) {
    double seen = 0, mean = 0, squares = 0;
    for (int64_t block = 0; block < net.blocks; ++block) {
      const T* const sums = net.sums + block * net.block_sums;
      const double count = static_cast<double>(net.counts[block]);
      merge_moments(seen, mean, squares, count, static_cast<double>(sums[layer.first_sums + u]),
                    static_cast<double>(sums[layer.second_sums + u]));
      seen += count;
    }
    out[u] = layer.mean[u] = static_cast<T>(mean);
    out[layer.out + u] = static_cast<T>(seen > 0 ? squares / seen : 1.0);
    layer.scale[u] = scale_of(out[layer.out + u], net.args.epsilon);
  });
}

}  // namespace attention
}  // namespace debias
