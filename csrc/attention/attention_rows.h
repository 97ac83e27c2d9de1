// What both passes do with a tile of positions of one sample.
#pragma once

#include <type_traits>

#include "attention/attention_network.h"

namespace debias {
namespace attention {

// Memory of one team.
template <class T>
struct Tile {
  T *keys, *input, *output, *extra;  // [rows, d], [rows, widest] each
  T *mixed, *base;                   // the first layer for one query: [d, stride], [stride]
  T *mixed_back, *mixed_sums;        // its transpose [units, in_stride]; the sums of its gradient [d, stride]
  T *query, *cotangent;              // [d]
  T *sums, *more, *ones;             // [widest], [widest], [1]
  T* hidden;                         // pre-activations of one sample, or of all
};

template <class Storage>
DEBIAS_HD Tile<accumulator_t<Storage>> make_tile(const Network<Storage>& net, Arena& arena, int64_t rows) {
  using T = accumulator_t<Storage>;
  const Layer<T>& first = net.layers[0];
  Tile<T> tile{};
  tile.keys = arena.take<T>(rows * first.in);
  for (T** part : {&tile.input, &tile.output, &tile.extra}) *part = arena.take<T>(rows * net.widest);
  tile.mixed = arena.take<T>(first.in * first.stride);
  tile.base = arena.take<T>(first.stride);
  tile.mixed_back = arena.take<T>(first.out * first.in_stride);
  tile.mixed_sums = arena.take<T>(first.in * first.stride);
  for (T** part : {&tile.query, &tile.cotangent}) *part = arena.take<T>(first.in);
  for (T** part : {&tile.sums, &tile.more}) *part = arena.take<T>(net.widest);
  tile.ones = arena.take<T>(1);
  tile.hidden = net.args.hidden ? net.args.hidden : arena.take<T>(net.sample_hidden);
  return tile;
}

template <class Team, class Storage>
struct Rows {
  using T = accumulator_t<Storage>;
  const Team& team;
  const Network<Storage>& net;
  Tile<T> tile;

  DEBIAS_TEAM void start() const {
    T* const ones = tile.ones;
    team.each(1, [=](int64_t) { *ones = T(1); });
  }

  DEBIAS_TEAM void widen(const Storage* from, int64_t n, T* to) const {
    team.each(n, [=](int64_t k) { to[k] = to_float(from[k]); });
  }

  // The first layer for the query of sample b: Wk - Wd + Wp diag(q), and bias + (Wq + Wd) q
  DEBIAS_TEAM void mix(int64_t b) const {
    const Layer<T>& first = net.layers[0];
    const int64_t d = first.in, stride = first.stride;
    const T *keys = first.forward + d * stride, *products = keys + d * stride, *query = tile.query;
    T* const mixed = tile.mixed;
    widen(net.args.queries + b * d, d, tile.query);
    team.grid(d, stride, [=](int64_t i, int64_t u) {
      mixed[i * stride + u] = keys[i * stride + u] + query[i] * products[i * stride + u];
    });
    team.product(Product<T>{query, 0, 1, 1, d, first.forward, stride, first.bias, 0, tile.base, stride, stride});
  }

  // The keys of positions [t, t + rows), [rows, d]
  DEBIAS_TEAM const T* keys(int64_t b, int64_t t, int64_t rows) const {
    const int64_t d = net.layers[0].in;
    const Storage* const from = net.args.keys + net.row(b, t) * d;
    if constexpr (std::is_same_v<Storage, T>) {
      return from;
    } else {
      widen(from, rows * d, tile.keys);
      return tile.keys;
    }
  }

  // tile.input: the activations of hidden layer l
  DEBIAS_TEAM void activate(int l, int64_t b, int64_t t, int64_t rows) const {
    using A = AttentionActivation;
    const Layer<T>& layer = net.layers[l];
    const T* const hidden = net.hidden(l, tile.hidden, b, t);
    const Units<T> units = layer.units();
    switch (net.args.activation) {
      case A::relu: return apply(Activate<A::relu, T>{hidden, tile.input, layer.stride, units}, rows);
      case A::sigmoid: return apply(Activate<A::sigmoid, T>{hidden, tile.input, layer.stride, units}, rows);
      case A::dice: return apply(Activate<A::dice, T>{hidden, tile.input, layer.stride, units}, rows);
    }
  }

  template <class F>
  DEBIAS_TEAM void apply(const F& f, int64_t rows) const {
    team.grid(rows, f.stride, f);
  }

  // out[u] += sum over the rows of values[r][u]
  DEBIAS_TEAM void add_columns(const T* values, int64_t rows, int64_t stride, T* out) const {
    team.product(Product<T>{tile.ones, 0, 0, 1, rows, values, stride, out, stride, out, stride, stride});
  }

  DEBIAS_TEAM void clear(T* values, int64_t n) const {
    team.each(n, [=](int64_t k) { values[k] = T(0); });
  }
};

}  // namespace attention
}  // namespace debias
