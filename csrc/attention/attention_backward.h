// The backward pass of one team: a block of samples, one layer or all of them, from the last to the first.
#pragma once

#include "attention/attention_rows.h"

namespace debias {
namespace attention {

template <class T>
DEBIAS_HD T dot(const T* a, const T* b, int64_t n) {
  T sum = 0;
#ifndef __CUDACC__
#pragma omp simd reduction(+ : sum)
#endif
  for (int64_t k = 0; k < n; ++k) sum += a[k] * b[k];
  return sum;
}

template <class Team, class Storage>
struct Backward : Rows<Team, Storage> {
  using Base = Rows<Team, Storage>;
  using Base::net, Base::team, Base::tile;
  using typename Base::T;
  const AttentionGradients<Storage>& to;

  // Layers from `first` down to `last` of the samples of a block. The sums that pull and stretch are the means of are
  // those of the layer below, so with statistics of the batch each layer is a pass of its own.
  DEBIAS_TEAM void run(int64_t block, int first, int last) const {
    T* const sums = net.sums + block * net.block_sums;
    this->start();
    if (first + 1 == net.args.layers) this->clear(sums, net.block_sums);
    int64_t seen = 0;
    for (int64_t b = block * net.block_size; b < net.end(block); ++b) {
      for (int l = first; l >= last; --l) layer(l, b, sums);
      seen += net.length(b);
    }
    int64_t* const count = net.counts + block;
    team.each(1, [=](int64_t) { *count = seen; });
  }

 private:
  DEBIAS_TEAM void layer(int l, int64_t b, T* sums) const {
    const Layer<T>& layer = net.layers[l];
    const int64_t n = net.length(b);
    if (l == 0) start_first(b);
    if (l == 0 || net.last(l)) this->widen(to.grad + b * net.layers[0].in, net.layers[0].in, tile.cotangent);
    for (int64_t t = 0; t < n; t += Team::rows) {
      const int64_t rows = n - t < Team::rows ? n - t : Team::rows;
      if (net.last(l))
        slopes_of_scores(b, t, rows);
      else
        slopes(l, b, t, rows, sums);
      this->add_columns(tile.output, rows, layer.stride, l == 0 ? tile.sums : sums + layer.bias_sums);
      if (l == 0)
        first_layer(b, t, rows);
      else
        layer_below(l, b, t, rows, sums);
    }
    if (l == 0) finish_first(b, sums);
  }

  // tile.output: da_t = k_t . dh in the first column
  DEBIAS_TEAM void slopes_of_scores(int64_t b, int64_t t, int64_t rows) const {
    const int64_t d = net.layers[0].in;
    const T *keys = this->keys(b, t, rows), *cotangent = tile.cotangent;
    T* const out = tile.output;
    team.grid(rows, kAttentionLanes, [=](int64_t r, int64_t u) { out[r * kAttentionLanes + u] = T(0); });
    team.each(rows, [=](int64_t r) { out[r * kAttentionLanes] = dot(keys + r * d, cotangent, d); });
  }

  // tile.output: the gradient of the pre-activations of hidden layer l
  DEBIAS_TEAM void slopes(int l, int64_t b, int64_t t, int64_t rows, T* sums) const {
    using A = AttentionActivation;
    const Layer<T>& layer = net.layers[l];
    const T *hidden = net.hidden(l, tile.hidden, b, t), *grad = net.hidden(l, to.hidden, b, t);
    const int64_t stride = layer.stride;
    const Units<T> units = layer.units();
    T *out = tile.output, *extra = tile.extra;
    switch (net.args.activation) {
      case A::relu: this->apply(Slope<A::relu, T>{hidden, grad, out, extra, stride, units}, rows); break;
      case A::sigmoid: this->apply(Slope<A::sigmoid, T>{hidden, grad, out, extra, stride, units}, rows); break;
      case A::dice: this->apply(Slope<A::dice, T>{hidden, grad, out, extra, stride, units}, rows); break;
    }
    if (net.dice()) this->add_columns(tile.extra, rows, stride, sums + layer.alpha_sums);
  }

  // The gradients of layer l's weights, and of the activations that it reads.
  DEBIAS_TEAM void layer_below(int l, int64_t b, int64_t t, int64_t rows, T* sums) const {
    const Layer<T>& layer = net.layers[l];
    T *weights = sums + layer.forward_sums, *grad = net.hidden(l - 1, to.hidden, b, t);
    this->activate(l - 1, b, t, rows);
    team.product(Product<T>{tile.input, 1, layer.in_stride, layer.in, rows, tile.output, layer.stride, weights,
                            layer.stride, weights, layer.stride, layer.stride});
    team.product(Product<T>{tile.output, layer.stride, 1, rows, layer.out, layer.backward, layer.in_stride, nullptr, 0,
                            grad, layer.in_stride, layer.in_stride});
    if (!net.batch_statistics()) return;
    const Layer<T>& below = net.layers[l - 1];
    const T* const hidden = net.hidden(l - 1, tile.hidden, b, t);
    this->apply(NormalSlopes<T>{hidden, grad, tile.output, tile.extra, below.stride, below.units()}, rows);
    this->add_columns(tile.output, rows, below.stride, sums + below.first_sums);
    this->add_columns(tile.extra, rows, below.stride, sums + below.second_sums);
  }

  // The transpose of the first layer for this query, and sums that start at 0.
  DEBIAS_TEAM void start_first(int64_t b) const {
    const Layer<T>& first = net.layers[0];
    const int64_t stride = first.in_stride, d = first.in;
    const T *keys = first.backward, *products = keys + first.out * stride, *query = tile.query;
    T* const mixed = tile.mixed_back;
    this->widen(net.args.queries + b * d, d, tile.query);
    team.grid(first.out, d, [=](int64_t u, int64_t i) {
      mixed[u * stride + i] = keys[u * stride + i] + query[i] * products[u * stride + i];
    });
    this->clear(tile.mixed_sums, d * first.stride);
    this->clear(tile.sums, first.stride);
  }

  // dk_t = a_t dh + the transpose times the slopes
  DEBIAS_TEAM void first_layer(int64_t b, int64_t t, int64_t rows) const {
    const Layer<T>& first = net.layers[0];
    const int64_t d = first.in, in_stride = first.in_stride;
    team.product(Product<T>{this->keys(b, t, rows), 1, d, d, rows, tile.output, first.stride, tile.mixed_sums,
                            first.stride, tile.mixed_sums, first.stride, first.stride});
    if (!to.keys) return;
    team.product(Product<T>{tile.output, first.stride, 1, rows, first.out, tile.mixed_back, in_stride, nullptr, 0,
                            tile.input, in_stride, in_stride});
    const T *scores = net.args.scores + net.row(b, t), *cotangent = tile.cotangent, *through = tile.input;
    Storage* const out = to.keys + net.row(b, t) * d;
    team.grid(rows, d, [=](int64_t r, int64_t i) {
      out[r * d + i] = from_float<Storage>(scores[r] * cotangent[i] + through[r * in_stride + i]);
    });
  }

  // With the sums s of the slopes and M of their products with the keys: Wq + Wd gets q s', Wk - Wd gets M, Wp gets
  // diag(q) M, and dq is (Wq + Wd)' s plus the diagonal of Wp' M.
  DEBIAS_TEAM void finish_first(int64_t b, T* block_sums) const {
    const Layer<T>& first = net.layers[0];
    const int64_t n = net.length(b), d = first.in, stride = first.stride, part = d * stride;
    const T *slopes = tile.sums, *sums = tile.mixed_sums, *query = tile.query, *weights = first.forward;
    T *out = block_sums + first.forward_sums, *bias = block_sums + first.bias_sums;
    if (n > 0) {
      team.grid(d, stride, [=](int64_t i, int64_t u) {
        const int64_t at = i * stride + u;
        out[at] += query[i] * slopes[u];
        out[part + at] += sums[at];
        out[2 * part + at] += query[i] * sums[at];
      });
      team.each(stride, [=](int64_t u) { bias[u] += slopes[u]; });
    }
    if (to.queries) {
      Storage* const grad = to.queries + b * d;
      team.each(d, [=](int64_t i) {
        const int64_t at = i * stride;
        grad[i] = from_float<Storage>(
            n == 0 ? T(0) : dot(weights + at, slopes, stride) + dot(weights + 2 * part + at, sums + at, stride));
      });
    }
    if (to.keys) {
      Storage* const rest = to.keys + net.row(b, n) * d;
      team.each((net.args.steps - n) * d, [=](int64_t k) { rest[k] = from_float<Storage>(T(0)); });
    }
  }
};

// pull and stretch of hidden layer l from the sums of every block.
template <class Team, class Storage>
DEBIAS_TEAM void finish_pull(const Team& team, const Network<Storage>& net, int l) {
  using T = accumulator_t<Storage>;
  const Layer<T> layer = net.layers[l];
  team.each(layer.stride, [=, &net](int64_t u) {
    double seen = 0, pull = 0, stretch = 0;
    for (int64_t block = 0; block < net.blocks; ++block) {
      const T* const sums = net.sums + block * net.block_sums;
      pull += static_cast<double>(sums[layer.first_sums + u]);
      stretch += static_cast<double>(sums[layer.second_sums + u]);
      seen += static_cast<double>(net.counts[block]);
    }
    layer.pull[u] = static_cast<T>(seen > 0 ? pull / seen : 0.0);
    layer.stretch[u] = static_cast<T>(seen > 0 ? stretch / seen : 0.0);
  });
}

// The gradients of layer l's parameters where they belong, from the sums over all blocks.
template <class Team, class Storage>
DEBIAS_TEAM void store_gradients(const Team& team, const Network<Storage>& net, const double* totals, int l,
                                 Storage* parameters) {
  using T = accumulator_t<Storage>;
  const Layer<T> layer = net.layers[l];
  const int64_t fan_in = net.fan_in(l), in = layer.in, part = in * layer.stride;
  const auto rounded = [](double value) { return from_float<Storage>(static_cast<T>(value)); };
  const double* const weights = totals + layer.forward_sums;
  Storage* const out = parameters + layer.parameters;
  team.each(layer.out * fan_in, [=](int64_t k) {
    const int64_t u = k / fan_in, input = k % fan_in % in, which = k % fan_in / in;  // of q, k, q - k and q * k
    const double* const at = weights + input * layer.stride + u;
    double sum = which == 1 ? at[part] : (which == 3 ? at[2 * part] : at[0]);
    if (which == 2) sum -= at[part];
    out[k] = rounded(sum);
  });
  const bool gates = net.dice() && !net.last(l);
  Storage* const bias = out + layer.out * fan_in;
  team.each(layer.out, [=](int64_t u) {
    bias[u] = rounded(totals[layer.bias_sums + u]);
    if (gates) bias[layer.out + u] = rounded(totals[layer.alpha_sums + u]);
  });
}

}  // namespace attention
}  // namespace debias
