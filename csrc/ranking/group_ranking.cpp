// Ranking metrics by group: AUC, NDCG, DCG, MAP, recall, precision, MRR, from one sort.
#include <torch/csrc/stable/library.h>

#include <tuple>
#include <vector>

#include "common/dispatch.h"
#include "common/torch_ops.h"
#include "ranking/group_ranking_kernels.h"

namespace debias {
namespace {

using Ranking = std::tuple<Tensor, Tensor, Tensor, Tensor>;

RankingOptions make_options(const std::vector<int64_t>& ks, int64_t metrics, bool expected, int64_t map_norm) {
  if (ks.size() > kMaxCuts) value_error("ks must hold at most ", kMaxCuts, " cut-offs, got ", ks.size());
  if (metrics < 0 || metrics >> kMetrics)
    value_error("metrics must be a mask of ", int{kMetrics}, " bits, got ", metrics);
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

void check_inputs(const Tensor& scores, const Tensor& labels, const Tensor& groups,
                  const std::optional<Tensor>& weights) {
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

struct Inputs {
  Tensor scores, labels, groups;
  std::optional<Tensor> weights;
};

template <class T, class Index, class Label>
RankingInputs<T, Index, Label> pointers(const Inputs& in, Label one, Label sign) {
  return {pointer<T>(in.scores),
          pointer<Label>(in.labels),
          pointer<Index>(in.groups),
          pointer<double>(in.weights),
          in.scores.numel(),
          one,
          sign};
}

template <class V>
Tensor gathered(const Tensor& values, const Tensor& order, void* stream) {
  const Tensor out = torch::stable::new_empty(values, {order.numel()});
  cuda::gather(pointer<V>(values), pointer<int64_t>(order), order.numel(), output<V>(out), stream);
  return out;
}

// Positions of the rows by group, within a group by `key`; and the groups in that order. Ties keep their order.
template <class Index>
std::pair<Tensor, Tensor> sort_by_group(const Tensor& groups, const Tensor& order_by_key, void* stream) {
  const auto [sorted, by_group] = sort(gathered<Index>(groups, order_by_key, stream));
  return {gathered<int64_t>(order_by_key, by_group, stream), sorted};
}

template <class T, class Label>
std::pair<Tensor, Tensor> prepared(const Inputs& in, Label one, Label sign, bool validate, void* stream) {
  using Key = score_key_t<accumulator_t<T>>;
  const int64_t n = in.scores.numel();
  const Tensor keys = torch::stable::new_empty(in.scores, {n}, sizeof(Key) == 4 ? ScalarType::Int : ScalarType::Long);
  const Tensor hits = torch::stable::new_empty(in.scores, {n}, ScalarType::Byte);
  const Tensor bad = torch::stable::new_empty(in.scores, {3}, ScalarType::Long);
  cuda::prepare_rows(pointers<T, int64_t>(in, one, sign), PreparedRows<T>{output<Key>(keys), output<uint8_t>(hits)},
                     output<int64_t>(bad), stream);
  if (validate) raise(cuda::read_bad_rows(pointer<int64_t>(bad), n, stream), in.labels, in.weights);
  return {keys, hits};
}

// Keys and hits are in the order of the input.
template <class Key, class Index>
void rank_sorted(const Inputs& in, const Tensor& keys, const Tensor& hits, const RankingOptions& options,
                 const AllocateRanking& allocate, void* stream) {
  const int64_t n = keys.numel();
  const auto doubles = [&](int64_t count) { return torch::stable::new_empty(keys, {count}, ScalarType::Double); };
  const auto [order, groups] = sort_by_group<Index>(in.groups, sort(keys).second, stream);
  const Tensor sorted_keys = gathered<Key>(keys, order, stream), sorted_hits = gathered<uint8_t>(hits, order, stream);
  const Tensor heads = torch::stable::new_empty(keys, {n}, ScalarType::Long);
  cuda::group_heads(pointer<Index>(groups), n, output<int64_t>(heads), stream);
  const Tensor slots = cumsum(heads), hit_counts = cumsum(sorted_hits);
  const int64_t n_groups = cuda::last_value(pointer<int64_t>(slots), n, stream);
  const RankingOutputs out = allocate(n_groups);
  const Tensor starts = torch::stable::new_empty(keys, {n_groups + 1}, ScalarType::Long);
  cuda::group_starts(pointer<Index>(groups), pointer<int64_t>(slots), n, output<int64_t>(starts), out.groups, stream);
  SortedRows<Key> rows{pointer<Key>(sorted_keys),
                       pointer<uint8_t>(sorted_hits),
                       pointer<int64_t>(hit_counts),
                       nullptr,
                       nullptr,
                       nullptr,
                       nullptr,
                       pointer<int64_t>(starts),
                       nullptr};
  std::vector<Tensor> alive;
  if (options.wants_full()) {
    const Tensor sums = doubles(n + 1), workspace = doubles(n / 256 + 1);
    cuda::discount_sums(n, output<double>(sums), output<double>(workspace), stream);
    rows.discounts = pointer<double>(sums);
    alive.push_back(sums);
  }
  if (in.weights) {
    const Tensor weights = gathered<double>(*in.weights, order, stream), positive = doubles(n), negative = doubles(n);
    cuda::weight_sums(rows.hits, pointer<double>(weights), rows.starts, n_groups, output<double>(positive),
                      output<double>(negative), stream);
    rows.weights = pointer<double>(weights);
    rows.positive_sums = pointer<double>(positive);
    rows.negative_sums = pointer<double>(negative);
    alive.insert(alive.end(), {weights, positive, negative});
    if (options.wants_full()) {
      const Tensor best_first = doubles(n);
      cuda::ideal_keys(rows.hits, rows.weights, n, output<double>(best_first), stream);
      const Tensor best = sort_by_group<Index>(groups, sort(best_first).second, stream).first;
      alive.push_back(gathered<double>(weights, best, stream));
      rows.ideal_weights = pointer<double>(alive.back());
    }
  }
  cuda::rank_groups(rows, options, n_groups, out, stream);
}

Ranking group_ranking(const Tensor& scores, const Tensor& labels, const Tensor& groups,
                      const std::optional<Tensor>& weights, std::vector<int64_t> ks, int64_t metrics, bool expected,
                      int64_t map_norm, bool validate) {
  const RankingOptions options = make_options(ks, metrics, expected, map_norm);
  check_inputs(scores, labels, groups, weights);
  const Inputs in{torch::stable::contiguous(scores), torch::stable::contiguous(labels),
                  torch::stable::contiguous(groups), contiguous(weights)};
  std::optional<Ranking> out;
  const AllocateRanking allocate = [&](int64_t n_groups) {
    const auto ids = [&] { return torch::stable::new_empty(in.scores, {n_groups}, ScalarType::Long); };
    out = Ranking{ids(), torch::stable::new_empty(in.scores, {options.n_values, n_groups}, ScalarType::Double), ids(),
                  ids()};
    const auto& [group_ids, values, sizes, positives] = *out;
    return RankingOutputs{output<int64_t>(group_ids), output<double>(values), output<int64_t>(sizes),
                          output<int64_t>(positives)};
  };
  dispatch_label(labels.scalar_type(), [&](auto one, auto sign) {
    if (scores.numel() == 0) return void(allocate(0));
    dispatch_index(groups.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      on_device_of(
          in.scores,
          [&] {
            dispatch_float(scores.scalar_type(), [&](auto type) {
              using T = typename decltype(type)::type;
              raise(cpu::group_ranking(pointers<T, Index>(in, one, sign), options, allocate), in.labels, in.weights);
            });
          },
          [&](void* stream) {
            dispatch_storage(scores.scalar_type(), [&](auto type) {
              using T = typename decltype(type)::type;
              const auto [keys, hits] = prepared<T>(in, one, sign, validate, stream);
              rank_sorted<score_key_t<accumulator_t<T>>, Index>(in, keys, hits, options, allocate, stream);
            });
          });
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
