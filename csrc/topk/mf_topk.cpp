// The best k unseen items of each user under s = P[u].Q[i] + a[u] + b[i], without the matrix of all scores.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "common/dispatch.h"
#include "mf_score/score_inputs.h"
#include "topk/mf_topk_kernels.h"

namespace debias {
namespace {

struct Inputs {
  Tensor user_factors, item_factors, users;
  std::optional<Tensor> user_bias, item_bias, seen_offsets, seen_items;
};

void check_bias(const char* name, const std::optional<Tensor>& bias, const Tensor& factors) {
  if (!bias) return;
  check_same_device(name, *bias, "user_factors", factors);
  check_same_dtype(name, *bias, "user_factors", factors);
  check_shape(name, *bias, {factors.size(0)});
}

void check_seen_tensors(const Inputs& in) {
  if (in.seen_offsets.has_value() != in.seen_items.has_value())
    value_error("seen must have both offsets and items, got one of them");
  if (!in.seen_offsets) return;
  for (const auto& [name, tensor] : {std::pair("seen offsets", *in.seen_offsets), {"seen items", *in.seen_items}}) {
    check_same_device(name, tensor, "user_factors", in.user_factors);
    check_index(name, tensor);
    check_dim(name, tensor, 1);
  }
  check_shape("seen offsets", *in.seen_offsets, {in.user_factors.size(0) + 1});
}

void check_tensors(const Inputs& in, int64_t k) {
  check_dim("user_factors", in.user_factors, 2);
  check_float("user_factors", in.user_factors);
  check_dim("item_factors", in.item_factors, 2);
  check_same_device("item_factors", in.item_factors, "user_factors", in.user_factors);
  check_same_dtype("item_factors", in.item_factors, "user_factors", in.user_factors);
  if (in.item_factors.size(1) != in.user_factors.size(1))
    value_error("item_factors must have as many columns as user_factors, ", in.user_factors.size(1), ", got ",
                in.item_factors.size(1));
  check_dim("users", in.users, 1);
  check_index("users", in.users);
  check_same_device("users", in.users, "user_factors", in.user_factors);
  if (k < 1) value_error("k must be at least 1, got ", k);
  check_bias("user_bias", in.user_bias, in.user_factors);
  check_bias("item_bias", in.item_bias, in.item_factors);
  check_seen_tensors(in);
}

IndexArray indices(const std::optional<Tensor>& tensor) {
  if (!tensor) return {nullptr, 0};
  return {tensor->const_data_ptr(), tensor->scalar_type() == ScalarType::Long};
}

SeenItems seen_of(const Inputs& in) {
  return {indices(in.seen_offsets), indices(in.seen_items), in.seen_items ? in.seen_items->numel() : 0};
}

void check_seen(const Inputs& in) {
  if (!in.seen_offsets) return;
  const int64_t n = in.users.numel(), n_items = in.item_factors.size(0);
  const SeenItems seen = seen_of(in);
  const IndexArray users = indices(in.users);
  BadSeen bad;
  on_device_of(
      in.users, [&] { bad = cpu::check_seen(seen, users, n, n_items); },
      [&](void* stream) {
        const Tensor workspace = torch::stable::new_empty(in.users, {2}, ScalarType::Long);
        bad = cuda::check_seen(seen, users, n, n_items, output<int64_t>(workspace), stream);
      });
  if (bad.user >= 0)
    value_error("seen offsets must ascend within [0, ", seen.count, "], got something else for the user at position ",
                bad.user, " of users");
  if (bad.item >= 0) {
    const std::string got = in.users.is_cuda() ? "another index" : message(seen.items[bad.item]);
    index_error("seen items must be in [0, ", n_items, "), got ", got, " at position ", bad.item);
  }
}

std::tuple<Tensor, Tensor> mf_topk(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                                   int64_t k, const std::optional<Tensor>& user_bias,
                                   const std::optional<Tensor>& item_bias, const std::optional<Tensor>& seen_offsets,
                                   const std::optional<Tensor>& seen_items, bool validate) {
  check_tensors({user_factors, item_factors, users, user_bias, item_bias, seen_offsets, seen_items}, k);
  const Inputs in{torch::stable::contiguous(user_factors),
                  torch::stable::contiguous(item_factors),
                  torch::stable::contiguous(users),
                  contiguous(user_bias),
                  contiguous(item_bias),
                  contiguous(seen_offsets),
                  contiguous(seen_items)};
  if (validate || !runs_cuda_kernels(users)) {
    check_table_indices("users", in.users, in.user_factors.size(0));
    check_seen(in);
  }
  const int64_t n = users.numel();
  const Tensor scores = torch::stable::new_empty(in.user_factors, {n, k});
  const Tensor items = torch::stable::new_empty(in.user_factors, {n, k}, ScalarType::Long);
  if (n == 0) return {scores, items};
  const auto arguments = [&](auto type) {
    using T = typename decltype(type)::type;
    return TopkArgs<T>{pointer<T>(in.user_factors),
                       pointer<T>(in.item_factors),
                       indices(in.users),
                       pointer<T>(in.user_bias),
                       pointer<T>(in.item_bias),
                       seen_of(in),
                       output<T>(scores),
                       output<int64_t>(items),
                       n,
                       k,
                       user_factors.size(1),
                       user_factors.size(0),
                       item_factors.size(0)};
  };
  on_device_of(
      scores, [&] { dispatch_float(scores.scalar_type(), [&](auto type) { cpu::mf_topk(arguments(type)); }); },
      [&](void* stream) {
        const cuda::TopkPlan plan = cuda::topk_plan(n, in.item_factors.size(0));
        dispatch_storage(scores.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          using A = accumulator_t<T>;
          const auto lists = [&](ScalarType of) {
            return torch::stable::new_empty(in.user_factors, {n, plan.splits, k}, of);
          };
          const Tensor list_scores = lists(sizeof(A) == 8 ? ScalarType::Double : ScalarType::Float);
          const Tensor list_items = lists(ScalarType::Long);
          cuda::mf_topk(arguments(type), plan, output<A>(list_scores), output<int64_t>(list_items), stream);
        });
      });
  return {scores, items};
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "mf_topk(Tensor user_factors, Tensor item_factors, Tensor users, int k, Tensor? user_bias, Tensor? item_bias, "
      "Tensor? seen_offsets, Tensor? seen_items, bool validate) -> (Tensor scores, Tensor items)");
}

DEBIAS_IMPLEMENT(m) { m.impl("mf_topk", TORCH_BOX(&debias::mf_topk)); }
