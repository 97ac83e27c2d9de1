// Ranking metrics by group: AUC, NDCG, DCG, MAP, recall, precision, MRR, from one sort.
#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "common/dispatch.h"
#include "ranking/group_ranking_kernels.h"

namespace debias {
namespace {

using Ranking = std::tuple<Tensor, Tensor, Tensor, Tensor>;

RankingOptions make_options(const std::vector<int64_t>& ks, int64_t metrics, bool expected, int64_t map_norm) {
  if (ks.size() > kMaxCuts) value_error("ks must hold at most ", kMaxCuts, " cut-offs, got ", ks.size());
  if (metrics < 0 || metrics >> kMetrics) value_error("metrics must be a mask of ", int{kMetrics}, " bits, got ", metrics);
  if (map_norm < 0 || map_norm > 2) value_error("map_norm must be 0, 1 or 2, got ", map_norm);
  RankingOptions options{};
  options.n_ks = static_cast<int>(ks.size());
  for (size_t cut = 0; cut < ks.size(); ++cut) {
    if (ks[cut] < 1) value_error("ks must be at least 1, got ", ks[cut]);
    options.ks[cut] = ks[cut];
  }
  for (int metric = 0; metric < kMetrics; ++metric) {
    const bool uncut = metric == kAuc || metric == kNdcg || metric == kDcg;
    options.first_row[metric] = metrics >> metric & 1 ? options.n_values : -1;
    if (metrics >> metric & 1) options.n_values += (uncut ? 1 : 0) + (metric == kAuc ? 0 : options.n_ks);
  }
  options.expected = expected;
  options.map_norm = static_cast<MapNorm>(map_norm);
  return options;
}

void check_rows(const char* name, const Tensor& tensor, const Tensor& scores) {
  check_same_device(name, tensor, "scores", scores);
  check_shape(name, tensor, {scores.size(0)});
}

void check_inputs(const Tensor& scores, const Tensor& labels, const Tensor& groups, const std::optional<Tensor>& weights) {
  check_dim("scores", scores, 1);
  check_float("scores", scores);
  check_rows("labels", labels, scores);
  check_rows("groups", groups, scores);
  check_index("groups", groups);
  if (!weights) return;
  check_rows("weights", *weights, scores);
  if (weights->scalar_type() != ScalarType::Double)
    value_error("weights must be float64, got ", dtype_name(weights->scalar_type()));
}

// Labels by their bit patterns: f(zero of the unsigned type, pattern of 1, sign bit).
template <class F>
void dispatch_label(ScalarType type, F&& f) {
  switch (type) {
    case ScalarType::Bool:
    case ScalarType::Byte:
    case ScalarType::Char: return f(uint8_t{1}, uint8_t{0});
    case ScalarType::Int: return f(uint32_t{1}, uint32_t{0});
    case ScalarType::Float: return f(uint32_t{0x3f800000}, uint32_t{1} << 31);
    case ScalarType::Long: return f(uint64_t{1}, uint64_t{0});
    case ScalarType::Double: return f(uint64_t{0x3ff} << 52, uint64_t{1} << 63);
    default: value_error("labels must be bool, uint8, int8, int32, int64, float32 or float64, got ", dtype_name(type));
  }
}

double value_at(const Tensor& tensor, int64_t row) {
  switch (tensor.scalar_type()) {
    case ScalarType::Bool:
    case ScalarType::Byte: return pointer<uint8_t>(tensor)[row];
    case ScalarType::Char: return pointer<int8_t>(tensor)[row];
    case ScalarType::Int: return pointer<int32_t>(tensor)[row];
    case ScalarType::Long: return static_cast<double>(pointer<int64_t>(tensor)[row]);
    case ScalarType::Double: return pointer<double>(tensor)[row];
    default: return static_cast<double>(pointer<float>(tensor)[row]);
  }
}

void raise(const BadRows& bad, const Tensor& labels, const std::optional<Tensor>& weights) {
  const auto got = [](const Tensor& tensor, int64_t row) {
    return tensor.is_cuda() ? message("another value") : message(value_at(tensor, row));
  };
  if (bad.score >= 0) value_error("scores must not be NaN, got NaN at position ", bad.score);
  if (bad.label >= 0) value_error("labels must be 0 or 1, got ", got(labels, bad.label), " at position ", bad.label);
  if (bad.weight >= 0)
    value_error("weights must be finite and at least 0, got ", got(*weights, bad.weight), " at position ", bad.weight);
}

Ranking group_ranking(const Tensor& scores_in, const Tensor& labels_in, const Tensor& groups_in,
                      const std::optional<Tensor>& weights_in, std::vector<int64_t> ks, int64_t metrics, bool expected,
                      int64_t map_norm, bool validate) {
  (void)validate;
  const RankingOptions options = make_options(ks, metrics, expected, map_norm);
  check_inputs(scores_in, labels_in, groups_in, weights_in);
  const Tensor scores = torch::stable::contiguous(scores_in), labels = torch::stable::contiguous(labels_in),
               groups = torch::stable::contiguous(groups_in);
  const std::optional<Tensor> weights = contiguous(weights_in);
  std::optional<Ranking> out;
  const AllocateRanking allocate = [&](int64_t n_groups) {
    const auto ids = [&] { return torch::stable::new_empty(scores, {n_groups}, ScalarType::Long); };
    out = Ranking{ids(), torch::stable::new_empty(scores, {options.n_values, n_groups}, ScalarType::Double), ids(), ids()};
    const auto& [group_ids, values, sizes, positives] = *out;
    return RankingOutputs{output<int64_t>(group_ids), output<double>(values), output<int64_t>(sizes),
                          output<int64_t>(positives)};
  };
  dispatch_label(labels.scalar_type(), [&](auto one, auto sign) {
    using Label = decltype(one);
    dispatch_index(groups.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      on_device_of(
          scores,
          [&] {
            dispatch_float(scores.scalar_type(), [&](auto type) {
              using T = typename decltype(type)::type;
              const RankingInputs<T, Index, Label> in{pointer<T>(scores), pointer<Label>(labels), pointer<Index>(groups),
                                                      pointer<double>(weights), scores.numel(), one, sign};
              raise(cpu::group_ranking(in, options, allocate), labels, weights);
            });
          },
          [&](void*) { value_error("not yet"); });
    });
  });
  return *out;
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "group_ranking(Tensor scores, Tensor labels, Tensor groups, Tensor? weights, int[] ks, int metrics, "
      "bool expected, int map_norm, bool validate) -> (Tensor groups, Tensor values, Tensor sizes, Tensor positives)");
}

DEBIAS_IMPLEMENT(m) { m.impl("group_ranking", TORCH_BOX(&debias::group_ranking)); }
