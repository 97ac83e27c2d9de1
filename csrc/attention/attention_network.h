// The attention network as the kernels read it: transposed, padded, the first layer in its three parts.
//
// W [q; k; q - k; q * k] = (Wq + Wd) q + ((Wk - Wd) + Wp diag(q)) k: for one query the first layer is a matrix of d
// rows.
#pragma once

#include <cmath>

#include "attention/attention_math.h"
#include "common/arena.h"

// A function of the threads that share one tile: a block on the device, one thread on the host.
#ifdef __CUDACC__
#define DEBIAS_TEAM __device__ __forceinline__
#else
#define DEBIAS_TEAM inline
#endif

namespace debias {
namespace attention {

// out[r][c] = start[r][c] + sum_k a[r row_step + k depth_step] b[k][c]; the columns are padded to kAttentionLanes.
template <class T>
struct Product {
  const T* a;
  int64_t row_step, depth_step, rows, depth;
  const T* b;
  int64_t b_step;
  const T* start;  // null: 0
  int64_t start_step;
  T* out;
  int64_t out_step, columns;
};

template <class T>
struct Layer {
  int64_t in, out, in_stride, stride;  // in of the first layer is d
  int64_t parameters, statistics;      // where its own start
  int64_t hidden;                      // where its pre-activations start
  T* forward;                          // [in, stride]; of the first layer Wq + Wd, Wk - Wd and Wp, one after the other
  T* backward;                         // [out, in_stride]; of the first layer Wk - Wd and Wp
  T *bias, *alpha, *mean, *scale, *pull, *stretch;  // [stride]
  // Where a block's sums start: of the gradients of forward, bias and alpha; two more for Dice's statistics, the
  // moments in the forward pass, and what pull and stretch are the means of in the backward pass.
  int64_t forward_sums, bias_sums, alpha_sums, first_sums, second_sums;

  DEBIAS_HD Units<T> units() const { return {alpha, mean, scale, pull, stretch}; }
};

template <class Storage>
struct Network {
  using T = accumulator_t<Storage>;
  AttentionArgs<Storage> args;
  Layer<T> layers[kMaxAttentionLayers];
  int64_t parameters, block_sums, block_size, blocks, widest;
  int64_t sample_hidden;  // pre-activations of one sample
  T* sums;                // [blocks, block_sums]
  int64_t* counts;        // valid positions of each block

  DEBIAS_HD bool dice() const { return args.activation == AttentionActivation::dice; }
  DEBIAS_HD bool batch_statistics() const { return dice() && args.batch_statistics; }
  DEBIAS_HD bool last(int l) const { return l + 1 == args.layers; }
  DEBIAS_HD int64_t fan_in(int l) const { return l == 0 ? 4 * layers[0].in : layers[l].in; }
  DEBIAS_HD int64_t parts(int l) const { return l == 0 ? 3 : 1; }
  DEBIAS_HD int64_t length(int64_t b) const {
    const int64_t length = args.lengths[b];
    return length < 0 ? 0 : (length > args.steps ? args.steps : length);
  }
  DEBIAS_HD int64_t end(int64_t block) const {
    const int64_t end = (block + 1) * block_size;
    return end < args.batch ? end : args.batch;
  }
  DEBIAS_HD int64_t row(int64_t b, int64_t t) const { return b * args.steps + t; }
  // Pre-activations that nobody wants are those of one sample.
  DEBIAS_HD T* hidden(int l, T* base, int64_t b, int64_t t) const {
    return base + layers[l].hidden + row(args.hidden ? b : 0, t) * layers[l].stride;
  }
};

// Samples go in order to at most `most` blocks of at least `least`, whatever the number of threads.
template <class Storage>
Network<Storage> make_network(const AttentionArgs<Storage>& args, Arena& arena, int64_t least, int64_t most) {
  using T = accumulator_t<Storage>;
  Network<Storage> net{};
  net.args = args;
  int64_t statistics = 0, in = args.width;
  for (int l = 0; l < args.layers; ++l) {
    Layer<T>& layer = net.layers[l];
    const int64_t out = args.units[l], stride = attention_stride(out), in_stride = attention_stride(in);
    layer.in = in, layer.out = out, layer.in_stride = in_stride, layer.stride = stride;
    layer.parameters = net.parameters, layer.statistics = statistics,
    layer.hidden = (args.hidden ? args.batch : 1) * net.sample_hidden;
    const bool unit_gates = net.dice() && !net.last(l);
    net.parameters += out * (net.fan_in(l) + 1 + (unit_gates ? 1 : 0));
    if (!net.last(l)) net.sample_hidden += args.steps * stride, statistics += 2 * out;
    layer.forward = arena.take<T>(net.parts(l) * in * stride);
    layer.backward = arena.take<T>((l == 0 ? 2 : 1) * out * in_stride);
    for (T** values : {&layer.bias, &layer.alpha, &layer.mean, &layer.scale, &layer.pull, &layer.stretch})
      *values = arena.take<T>(stride);
    layer.forward_sums = net.block_sums;
    net.block_sums += net.parts(l) * in * stride;
    for (int64_t* at : {&layer.bias_sums, &layer.alpha_sums, &layer.first_sums, &layer.second_sums}) {
      *at = net.block_sums;
      net.block_sums += stride;
    }
    for (int64_t width : {stride, in_stride}) net.widest = width > net.widest ? width : net.widest;
    in = out;
  }
  const int64_t share = (args.batch + most - 1) / most;
  net.block_size = share > least ? share : least;
  net.blocks = (args.batch + net.block_size - 1) / net.block_size;
  net.sums = arena.take<T>(net.blocks * net.block_sums);
  net.counts = arena.take<int64_t>(net.blocks);
  return net;
}

// Number `at` of the layer's weights, of input part p (0 for all but the first layer): unit u, input k.
template <class Storage>
DEBIAS_TEAM accumulator_t<Storage> weight(const Network<Storage>& net, int l, int64_t u, int64_t part, int64_t k) {
  return to_float(net.args.parameters[net.layers[l].parameters + u * net.fan_in(l) + part * net.layers[l].in + k]);
}

template <class Team, class Storage>
DEBIAS_TEAM void prepare_weights(const Team& team, const Network<Storage>& net, int l) {
  using T = accumulator_t<Storage>;
  const Layer<T>& layer = net.layers[l];
  const int64_t in = layer.in, out = layer.out, stride = layer.stride, in_stride = layer.in_stride;
  T *forward = layer.forward, *backward = layer.backward;
  const int64_t part = in * stride, back = out * in_stride;
  team.each(in * stride, [=, &net](int64_t at) {
    const int64_t k = at / stride, u = at % stride;
    for (int64_t p = 0; p < net.parts(l); ++p) forward[p * part + at] = T(0);
    if (u >= out) return;
    forward[at] = weight(net, l, u, 0, k);
    if (l > 0) return;
    const T difference = weight(net, l, u, 2, k);
    forward[at] += difference;
    forward[part + at] = weight(net, l, u, 1, k) - difference;
    forward[2 * part + at] = weight(net, l, u, 3, k);
  });
  team.each(out * in_stride, [=, &net](int64_t at) {
    const int64_t u = at / in_stride, k = at % in_stride;
    backward[at] = k < in ? weight(net, l, u, l == 0 ? 1 : 0, k) : T(0);
    if (l > 0) return;
    if (k < in) backward[at] -= weight(net, l, u, 2, k);
    backward[back + at] = k < in ? weight(net, l, u, 3, k) : T(0);
  });
}

// 1 / sqrt(variance + epsilon)
template <class T>
DEBIAS_TEAM T scale_of(T variance, double epsilon) {
  return static_cast<T>(1.0 / ::sqrt(static_cast<double>(variance) + epsilon));
}

// Everything that is known before the first position is read; `given`: the statistics are.
template <class Team, class Storage>
DEBIAS_TEAM void prepare_network(const Team& team, const Network<Storage>& net, bool given) {
  using T = accumulator_t<Storage>;
  for (int l = 0; l < net.args.layers; ++l) {
    prepare_weights(team, net, l);
    const Layer<T> layer = net.layers[l];
    const Storage* bias = net.args.parameters + layer.parameters + layer.out * net.fan_in(l);
    const bool gates = net.dice() && !net.last(l);
    const T* statistics = gates && given ? net.args.statistics + layer.statistics : nullptr;
    const double epsilon = net.args.epsilon;
    team.each(layer.stride, [=](int64_t u) {
      const bool real = u < layer.out, known = real && statistics;
      layer.bias[u] = real ? to_float(bias[u]) : T(0);
      layer.alpha[u] = real && gates ? to_float(bias[layer.out + u]) : T(0);
      layer.mean[u] = known ? statistics[u] : T(0);
      layer.scale[u] = known ? scale_of(statistics[layer.out + u], epsilon) : T(0);
      layer.pull[u] = layer.stretch[u] = T(0);
    });
  }
}

}  // namespace attention
}  // namespace debias
