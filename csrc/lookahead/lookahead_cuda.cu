#include "lookahead/lookahead_pairs.cuh"

namespace debias {
namespace {

template <class A, class T, class Index>
struct PlainTerms {
  LookaheadArgs<T, Index> args;

  __device__ __forceinline__ const LookaheadArgs<T, Index>& pairs() const { return args; }
  __device__ __forceinline__ A slope(A score, int64_t k) const {
    return row_coefficient<A>(args.lower, k) * lower_row(args.lower.kind, row_input(args.lower, score, k)).slope;
  }
  __device__ __forceinline__ void write(A score, A change, int64_t k) const {
    const LookaheadRowsArgs<T, Index>& rows = args.lower;
    const LowerRow<A> row = lower_row(rows.kind, row_input(rows, score, k));
    const A cotangent = -row_coefficient<A>(rows, k) * change;
    if (rows.grad_imputations) rows.grad_imputations[k] = from_float<T>(cotangent * row.imputation);
    if (k >= rows.n_rated) return;
    if (rows.grad_targets) rows.grad_targets[k] = from_float<T>(cotangent * row.target);
    if (rows.grad_source) rows.grad_source[k] = from_float<T>(cotangent * row.source);
  }
};

}  // namespace

namespace cuda {

template <class T, class Index>
void lookahead_loss(const LookaheadArgs<T, Index>& args, const LookaheadWorkspace<accumulator_t<T>>& work, T* loss,
                    void* stream) {
  using A = accumulator_t<T>;
  using Terms = PlainTerms<A, T, Index>;
  const auto on = static_cast<cudaStream_t>(stream);
  const unsigned over_lower = group_grid(args.lower.n);
  launch(lower_scores_kernel<A, Terms>, over_lower, kThreads, 0, on, Terms{args}, work);
  lookahead_upper(args, work, wants_lower(args), loss, stream);
  if (wants_lower(args)) launch(contraction_kernel<A, Terms>, over_lower, kThreads, 0, on, Terms{args}, work);
}

#define DEBIAS_INSTANTIATE(T, Index) \
  template void lookahead_loss(const LookaheadArgs<T, Index>&, const LookaheadWorkspace<accumulator_t<T>>&, T*, void*);
DEBIAS_FOR_EACH_STORAGE_AND_INDEX(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
