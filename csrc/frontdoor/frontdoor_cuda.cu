#include "common/device.cuh"
#include "common/reduce.cuh"
#include "frontdoor/frontdoor_math.h"
#include "frontdoor/frontdoor_pass.cuh"

namespace debias {
namespace {

using namespace frontdoor;

constexpr int kThreads = 256;

// The same for every sample.
__global__ void __launch_bounds__(kThreads, 1) counts_kernel(int64_t n_samples, int64_t count, int64_t* counts) {
  for (int64_t i = first_thread(); i < n_samples; i += thread_stride()) counts[i] = count;
}

// Takes one from the count of a row's sample; integers come out the same in any order.
__global__ void __launch_bounds__(kThreads, 1)
    leave_out_kernel(const int64_t* context_index, int64_t n_context, int64_t n_samples, int64_t* counts) {
  for (int64_t j = first_thread(); j < n_context; j += thread_stride())
    if (in_range(context_index[j], n_samples))
      atomicAdd(reinterpret_cast<unsigned long long*>(counts + context_index[j]), ~0ull);
}

// How many context rows the mean of a sample runs over.
template <class Storage>
void count_rows(const FrontdoorArgs<Storage>& args, int64_t* counts, cudaStream_t stream) {
  const bool indexed = args.exclude_self && args.context_index;
  const int64_t count = args.n_context - (args.exclude_self && !indexed ? 1 : 0);
  launch(counts_kernel, grid_size(args.n_samples, kThreads), kThreads, 0, stream, args.n_samples, count, counts);
  if (indexed)
    launch(leave_out_kernel, grid_size(args.n_context, kThreads), kThreads, 0, stream, args.context_index,
           args.n_context, args.n_samples, counts);
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    means_kernel(const T* sums, int64_t splits, int64_t panel, int64_t first, int64_t count, int64_t teachers,
                 const int64_t* counts, T* means) {
  for (int64_t row = first_thread(); row < count; row += thread_stride()) {
    double sum = 0;
    for (int64_t split = 0; split < splits; ++split) sum += static_cast<double>(sums[split * panel + row]);
    means[first + row] = static_cast<T>(sum / static_cast<double>(counts[(first + row) / teachers]));
  }
}

template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    aggregate_kernel(FrontdoorArgs<Storage> args, const accumulator_t<Storage>* means, Storage* out) {
  using T = accumulator_t<Storage>;
  const int64_t teachers = args.n_teachers;
  for (int64_t i = first_thread(); i < args.n_samples; i += thread_stride()) {
    const Storage* alpha = args.attention + i * teachers;
    const Attention<T> attention = attention_of<T>(alpha, teachers, args.logits);
    out[i] = from_float<Storage>(attended(attention, alpha, means + i * teachers, teachers));
  }
}

// The coefficients of the rows' slopes, d loss / d mean[i, k] / count_i, and the gradient of the attention.
template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    coefficients_kernel(FrontdoorArgs<Storage> args, const int64_t* counts, const Storage* grad,
                        const accumulator_t<Storage>* means, accumulator_t<Storage>* coefficients,
                        Storage* grad_attention) {
  using T = accumulator_t<Storage>;
  const int64_t teachers = args.n_teachers;
  for (int64_t i = first_thread(); i < args.n_samples; i += thread_stride()) {
    const Storage* alpha = args.attention + i * teachers;
    const T *mean = means + i * teachers, g = to_float(grad[i]);
    const Attention<T> attention = attention_of<T>(alpha, teachers, args.logits);
    const T total = attended(attention, alpha, mean, teachers);
    const int64_t count = counts[i] > 1 ? counts[i] : 1;
    for (int64_t k = 0; k < teachers; ++k) {
      const T value = to_float(alpha[k]);
      coefficients[i * teachers + k] = g * attention.weight(value) / static_cast<T>(count);
      if (grad_attention)
        grad_attention[i * teachers + k] = from_float<Storage>(g * attention_slope(attention, value, mean[k], total));
    }
  }
}

// One panel of a pass: adds the splits, writes the own side's gradient, and a share of the weights' gradient per
// (chunk of own rows, unit). The number after the last unit is the sum of the slopes, the bias's share.
template <class Storage>
__global__ void __launch_bounds__(kReduceThreads, 1)
    finish_kernel(PassArgs<Storage> args, int64_t splits, const accumulator_t<Storage>* own_coefficients,
                  Storage* grad_own, double* partial) {
  using T = accumulator_t<Storage>;
  const int64_t h = args.hidden, share = (args.count + gridDim.y - 1) / gridDim.y;
  const int64_t begin = share * blockIdx.y, end = begin + share < args.count ? begin + share : args.count;
  for (int64_t u = blockIdx.x; u <= h; u += gridDim.x) {
    const T weight = u < h ? static_cast<T>(to_float(args.weight[u])) : T(0);
    double total = 0;
    for (int64_t row = begin + threadIdx.x; row < end; row += blockDim.x) {
      double exact = 0;
      for (int64_t split = 0; split < splits; ++split)
        exact += static_cast<double>(args.sums[(split * (h + 1) + u) * args.panel + row]);
      T sum = static_cast<T>(exact);
      const int64_t at = args.first + row;
      if (own_coefficients) sum = gated_product(own_coefficients[at], sum);
      if (u < h) {
        if (grad_own) grad_own[at * h + u] = from_float<Storage>(gated_product(weight, sum));
        total += gated_product(static_cast<double>(to_float(args.own[at * h + u])), static_cast<double>(sum));
      } else {
        total += static_cast<double>(sum);
      }
    }
    total = block_sum(total);
    if (threadIdx.x == 0) partial[blockIdx.y * (h + 1) + u] = total;
  }
}

// The first `row_shares` shares come from the mediators' passes; the bias counts these alone.
template <class Storage>
__global__ void __launch_bounds__(kThreads, 1)
    head_kernel(const double* partial, int64_t row_shares, int64_t shares, int64_t h, Storage* weight, Storage* bias) {
  for (int64_t u = first_thread(); u <= h; u += thread_stride()) {
    double total = 0;
    for (int64_t share = 0; share < (u < h ? shares : row_shares); ++share) total += partial[share * (h + 1) + u];
    Storage* out = u < h ? (weight ? weight + u : nullptr) : bias;
    if (out) *out = from_float<Storage>(static_cast<accumulator_t<Storage>>(total));
  }
}

template <class Storage>
Plan plan_of(const FrontdoorArgs<Storage>& args, bool own_is_context, bool gradient) {
  const int64_t rows = args.rows(), h = args.hidden, numbers = gradient ? h + 1 : 1;
  return {own_is_context ? args.n_context : rows, own_is_context ? rows : args.n_context, h, numbers,
          static_cast<int64_t>(sizeof(accumulator_t<Storage>))};
}

template <class Storage>
PassArgs<Storage> pass_of(const FrontdoorArgs<Storage>& args, const Plan& plan, bool own_is_context,
                          accumulator_t<Storage>* sums) {
  return {own_is_context ? args.context : args.mediators,
          own_is_context ? args.mediators : args.context,
          args.weight,
          args.bias,
          nullptr,
          args.context_index,
          own_is_context,
          args.exclude_self,
          args.n_teachers,
          0,
          0,
          plan.panel,
          plan.other,
          plan.other_per_split(),
          args.hidden,
          sums};
}

// The parts of the workspace, in units of int64.
template <class Storage>
struct Workspace {
  using T = accumulator_t<Storage>;
  Plan rows, context;
  int64_t partial_at, sums_at, coefficients_at, size;
  int64_t* memory;

  Workspace(const FrontdoorArgs<Storage>& args, bool backward, int64_t* where)
      : rows(plan_of(args, false, backward)), context(plan_of(args, true, backward)), memory(where) {
    const auto units = [](int64_t numbers) { return (numbers * static_cast<int64_t>(sizeof(T)) + 7) / 8; };
    const int64_t shares = backward ? rows.panels() * rows.shares() + context.panels() * context.shares() : 0;
    partial_at = args.n_samples;
    sums_at = partial_at + shares * (args.hidden + 1);
    coefficients_at = sums_at + units(backward ? std::max(rows.workspace(), context.workspace()) : rows.workspace());
    size = coefficients_at + (backward ? units(args.rows()) : 0);
  }

  int64_t* counts() const { return memory; }
  double* partial() const { return reinterpret_cast<double*>(memory + partial_at); }
  T* sums() const { return reinterpret_cast<T*>(memory + sums_at); }
  T* coefficients() const { return reinterpret_cast<T*>(memory + coefficients_at); }
};

// Every panel of one side's gradient. Returns how many shares it left in `partial`.
template <class Storage>
int64_t side_gradient(const FrontdoorArgs<Storage>& args, const Workspace<Storage>& space, bool own_is_context,
                      Storage* grad_own, double* partial, cudaStream_t stream) {
  const Plan& plan = own_is_context ? space.context : space.rows;
  PassArgs<Storage> pass = pass_of(args, plan, own_is_context, space.sums());
  if (own_is_context) pass.coefficients = space.coefficients();
  const accumulator_t<Storage>* own_coefficients = own_is_context ? nullptr : space.coefficients();
  const dim3 grid(grid_size(args.hidden + 1, 1), static_cast<unsigned>(plan.shares()));
  int64_t shares = 0;
  for (; pass.first < plan.own; pass.first += plan.panel, shares += plan.shares()) {
    pass.count = std::min(plan.panel, plan.own - pass.first);
    gradient_pass(pass, plan, stream);
    launch(finish_kernel<Storage>, grid, kReduceThreads, 0, stream, pass, plan.splits, own_coefficients, grad_own,
           partial + shares * (args.hidden + 1));
  }
  return shares;
}

}  // namespace

namespace cuda {

template <class Storage>
int64_t frontdoor_workspace(const FrontdoorArgs<Storage>& args, bool backward) {
  return Workspace<Storage>(args, backward, nullptr).size;
}

template <class Storage>
void frontdoor_aggregate(const FrontdoorArgs<Storage>& args, Storage* out, accumulator_t<Storage>* means,
                         int64_t* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const Workspace<Storage> space(args, false, workspace);
  const Plan& plan = space.rows;
  count_rows(args, space.counts(), on);
  PassArgs<Storage> pass = pass_of(args, plan, false, space.sums());
  for (; pass.first < plan.own; pass.first += plan.panel) {
    pass.count = std::min(plan.panel, plan.own - pass.first);
    mean_pass(pass, plan, on);
    launch(means_kernel<accumulator_t<Storage>>, grid_size(pass.count, kThreads), kThreads, 0, on,
           static_cast<const accumulator_t<Storage>*>(space.sums()), plan.splits, plan.panel, pass.first, pass.count,
           args.n_teachers, static_cast<const int64_t*>(space.counts()), means);
  }
  launch(aggregate_kernel<Storage>, grid_size(args.n_samples, kThreads), kThreads, 0, on, args,
         static_cast<const accumulator_t<Storage>*>(means), out);
}

template <class Storage>
void frontdoor_backward(const FrontdoorArgs<Storage>& args, const Storage* grad, const accumulator_t<Storage>* means,
                        const FrontdoorGradients<Storage>& gradients, int64_t* workspace, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const Workspace<Storage> space(args, true, workspace);
  count_rows(args, space.counts(), on);
  launch(coefficients_kernel<Storage>, grid_size(args.n_samples, kThreads), kThreads, 0, on, args,
         static_cast<const int64_t*>(space.counts()), grad, means, space.coefficients(), gradients.attention);
  const bool head = gradients.weight || gradients.bias;
  int64_t row_shares = 0, shares = 0;
  if (gradients.mediators || head)
    shares = row_shares = side_gradient(args, space, false, gradients.mediators, space.partial(), on);
  if (gradients.context || gradients.weight)
    shares += side_gradient(args, space, true, gradients.context, space.partial() + shares * (args.hidden + 1), on);
  if (head)
    launch(head_kernel<Storage>, grid_size(args.hidden + 1, kThreads), kThreads, 0, on,
           static_cast<const double*>(space.partial()), row_shares, shares, args.hidden, gradients.weight,
           gradients.bias);
}

#define DEBIAS_INSTANTIATE(T)                                                                         \
  template int64_t frontdoor_workspace(const FrontdoorArgs<T>&, bool);                                \
  template void frontdoor_aggregate(const FrontdoorArgs<T>&, T*, accumulator_t<T>*, int64_t*, void*); \
  template void frontdoor_backward(const FrontdoorArgs<T>&, const T*, const accumulator_t<T>*,        \
                                   const FrontdoorGradients<T>&, int64_t*, void*);
DEBIAS_FOR_EACH_STORAGE(DEBIAS_INSTANTIATE)
#undef DEBIAS_INSTANTIATE

}  // namespace cuda
}  // namespace debias
