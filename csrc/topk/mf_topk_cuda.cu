#include "common/launch.cuh"
#include "topk/mf_topk_kernels.h"
namespace debias {
namespace cuda {
TopkPlan topk_plan(int64_t, int64_t) { return {1, 1}; }
template <class T>
void mf_topk(const TopkArgs<T>&, const TopkPlan&, accumulator_t<T>*, int64_t*, void*) {
  throw std::runtime_error("mf_topk has no CUDA kernel yet");
}
BadSeen check_seen(const SeenItems&, const IndexArray&, int64_t, int64_t, int64_t*, void*) { return {}; }
template void mf_topk(const TopkArgs<float>&, const TopkPlan&, float*, int64_t*, void*);
template void mf_topk(const TopkArgs<double>&, const TopkPlan&, double*, int64_t*, void*);
template void mf_topk(const TopkArgs<Half>&, const TopkPlan&, float*, int64_t*, void*);
template void mf_topk(const TopkArgs<BFloat16>&, const TopkPlan&, float*, int64_t*, void*);
}  // namespace cuda
}  // namespace debias
