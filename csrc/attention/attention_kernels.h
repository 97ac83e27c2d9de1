// What attention_pooling.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>

#include "common/half.h"

namespace debias {

enum class AttentionActivation : int { relu, sigmoid, dice };

constexpr int kMaxAttentionLayers = 8;
constexpr int64_t kAttentionLanes = 16;  // rows of hidden units are padded to a multiple of these

DEBIAS_HD constexpr int64_t attention_stride(int64_t units) {
  return (units + kAttentionLanes - 1) / kAttentionLanes * kAttentionLanes;
}

// a_t = MLP([q, k_t, q - k_t, q * k_t]) and sum_t a_t k_t over t < lengths[b].
template <class Storage>
struct AttentionArgs {
  using T = accumulator_t<Storage>;
  const Storage *queries, *keys, *parameters;  // [B, d]; [B, T, d]; layer by layer: weight, bias and, for Dice, alpha
  const int64_t* lengths;                      // values outside [0, T] are clamped
  // The forward pass writes hidden and scores, and statistics if they are the batch's; the backward pass reads them.
  T* hidden;      // pre-activations of the hidden layers, one [B, T, stride] after the other; null: nobody wants them
  T* scores;      // [B, T]
  T* statistics;  // for Dice: mean and variance of each hidden layer, one after the other
  int64_t batch, steps, width;
  int64_t units[kMaxAttentionLayers];  // outputs of each layer; the last one has 1
  int layers;
  AttentionActivation activation;
  bool batch_statistics;
  double epsilon;
};

template <class Storage>
struct AttentionGradients {
  const Storage* grad;                   // [B, d]
  accumulator_t<Storage>* hidden;        // workspace, as large as AttentionArgs::hidden
  Storage *queries, *keys, *parameters;  // null: not wanted
};

namespace cpu {
template <class T>
void attention_pooling(const AttentionArgs<T>& args, T* out);
template <class T>
void attention_pooling_backward(const AttentionArgs<T>& args, const AttentionGradients<T>& gradients);
}  // namespace cpu

namespace cuda {
// Bytes of device workspace for either pass.
template <class Storage>
int64_t attention_workspace(const AttentionArgs<Storage>& args);
template <class Storage>
void attention_pooling(const AttentionArgs<Storage>& args, Storage* out, void* workspace, void* stream);
template <class Storage>
void attention_pooling_backward(const AttentionArgs<Storage>& args, const AttentionGradients<Storage>& gradients,
                                void* workspace, void* stream);
}  // namespace cuda

}  // namespace debias
