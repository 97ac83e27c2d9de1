#include "common/math.h"
#include "common/reduce.cuh"
#include "mf_loss/mf_loss_kernels.h"
#include "mf_score/pair_score.cuh"
#include "pointwise_loss/row_sums.cuh"

namespace debias {
namespace {

constexpr int kLanes = 16;                        // threads that share one pair's dot product
constexpr int kGroups = kReduceThreads / kLanes;  // pairs at a time

// Tiles of kReduceThreads pairs: the groups of lanes put the scores of a tile into shared memory, then every thread has
// one row of the loss.
template <class Loss, class Storage, class Index>
__global__ void __launch_bounds__(kReduceThreads, 1)
    mf_loss_kernel(MFScoreArgs<Storage, Index> score, LossRows<Storage> rows, double* partial) {
  using T = accumulator_t<Storage>;
  DEBIAS_SHARED_ARRAY(T, scores, kReduceThreads);
  const int group = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const T coefficient = static_cast<T>(rows.coefficient);
  const T offset = score_offset(score);
  double loss = 0, bad_targets = 0, invalid = 0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kReduceThreads;
  for (int64_t tile = static_cast<int64_t>(blockIdx.x) * kReduceThreads; tile < score.batch; tile += stride) {
    for (int round = 0; round < kLanes; ++round) {
      const int slot = round * kGroups + group;
      const T value = pair_score<kLanes>(score, tile + slot, lane, offset);
      if (lane == 0) scores[slot] = value;
    }
    __syncthreads();
    const int64_t k = tile + threadIdx.x;
    if (k < score.batch) {
      const auto read = [&](const Storage* column) { return static_cast<T>(to_float(column[k])); };
      const RowSlope<T> row = Loss::at(
          scores[threadIdx.x], read(rows.targets), rows.weights ? read(rows.weights) : T(1),
          Loss::reads_source ? read(rows.source) : T(0), Loss::reads_pseudo_target ? read(rows.pseudo_targets) : T(0));
      write_row(rows.grad_scores, k, coefficient * row.score);
      write_row(rows.grad_targets, k, coefficient * row.target);
      write_row(rows.grad_weights, k, coefficient * row.weight);
      write_row(rows.grad_source, k, coefficient * row.source);
      write_row(rows.grad_pseudo_targets, k, coefficient * row.pseudo_target);
      loss += static_cast<double>(row.value);
      bad_targets += Loss::reads_source && !is_click(read(rows.targets)) ? 1.0 : 0.0;
      invalid += row.valid ? 0.0 : 1.0;
    }
    __syncthreads();
  }
  write_partial(partial, loss, bad_targets, invalid);
}

}  // namespace

namespace cuda {

template <class Storage, class Index>
void mf_loss(const RowLossChoice& loss, const MFScoreArgs<Storage, Index>& score, const LossRows<Storage>& rows,
             double* workspace, void* stream) {
  const unsigned blocks = reduce_blocks(score.batch);
  const auto on = static_cast<cudaStream_t>(stream);
  with_row_loss(loss.kind, loss.pseudo_targets, [&](auto row_loss) {
    launch(mf_loss_kernel<decltype(row_loss), Storage, Index>, blocks, kReduceThreads, 0, on, score, rows,
           workspace + kSums);
  });
  finish_row_sums(workspace, blocks, on);
}

#define DEBIAS_INSTANTIATE(T, Index) \
  template void mf_loss(const RowLossChoice&, const MFScoreArgs<T, Index>&, const LossRows<T>&, double*, void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
