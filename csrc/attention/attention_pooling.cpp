// Target attention pooling: a small network weighs each position of a history, and the weighted positions are summed.
#include <torch/csrc/stable/library.h>

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "attention/attention_kernels.h"
#include "common/dispatch.h"
#include "common/huge_pages.h"
#include "mf_score/score_inputs.h"

namespace debias {
namespace {

AttentionActivation parse_activation(const std::string& name) {
  if (name == "relu") return AttentionActivation::relu;
  if (name == "sigmoid") return AttentionActivation::sigmoid;
  if (name == "dice") return AttentionActivation::dice;
  value_error("activation must be 'dice', 'relu' or 'sigmoid', got '", name, "'");
}

void check_float_like(const char* name, const Tensor& tensor, const Tensor& queries) {
  check_same_device(name, tensor, "queries", queries);
  check_same_dtype(name, tensor, "queries", queries);
}

void check_units(const std::vector<int64_t>& units) {
  if (units.size() < 2 || units.size() > kMaxAttentionLayers)
    value_error("layers must be 2 to ", kMaxAttentionLayers, ", got ", units.size());
  for (int64_t out : units)
    if (out < 1) value_error("layers must have at least 1 unit each, got ", out);
  if (units.back() != 1) value_error("the last of layers must have 1 unit, got ", units.back());
}

// Half types keep what the backward pass needs in float32.
ScalarType wide_type(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

void check_saved(const char* name, const Tensor& tensor, const Tensor& queries, int64_t numel) {
  check_same_device(name, tensor, "queries", queries);
  if (tensor.scalar_type() != wide_type(queries))
    value_error(name, " must be ", dtype_name(wide_type(queries)), ", got ", dtype_name(tensor.scalar_type()));
  check_shape(name, tensor, {numel});
}

struct Inputs {
  Tensor queries, keys, lengths, parameters;  // lengths: int64
  std::vector<int64_t> units;
  AttentionActivation activation;
  double epsilon;
  int64_t hidden_values, statistic_values;

  bool dice() const { return activation == AttentionActivation::dice; }

  template <class Storage>
  AttentionArgs<Storage> args(const Tensor& hidden, const Tensor& scores, const Tensor& statistics,
                              bool batch_statistics) const {
    using T = accumulator_t<Storage>;
    AttentionArgs<Storage> result{};
    result.queries = pointer<Storage>(queries), result.keys = pointer<Storage>(keys);
    result.parameters = pointer<Storage>(parameters), result.lengths = pointer<int64_t>(lengths);
    result.hidden = output<T>(hidden), result.scores = output<T>(scores), result.statistics = output<T>(statistics);
    result.batch = queries.size(0), result.steps = keys.size(1), result.width = queries.size(1);
    result.layers = static_cast<int>(units.size());
    for (size_t l = 0; l < units.size(); ++l) result.units[l] = units[l];
    result.activation = activation;
    result.batch_statistics = dice() && batch_statistics;
    result.epsilon = epsilon;
    return result;
  }
};

Inputs checked(const Tensor& queries, const Tensor& keys, const Tensor& lengths, const Tensor& parameters,
               const std::vector<int64_t>& units, const std::string& activation, double epsilon, bool validate) {
  check_dim("queries", queries, 2);
  check_float("queries", queries);
  check_dim("keys", keys, 3);
  check_float_like("keys", keys, queries);
  const int64_t batch = queries.size(0), d = queries.size(1);
  if (keys.size(0) != batch || keys.size(2) != d)
    value_error("keys must have shape [", batch, ", T, ", d, "], got ", shape_of(keys));
  check_same_device("lengths", lengths, "queries", queries);
  check_index("lengths", lengths);
  check_shape("lengths", lengths, {batch});
  check_units(units);
  if (!(epsilon > 0 && std::isfinite(epsilon))) value_error("epsilon must be positive and finite, got ", epsilon);
  Inputs in{torch::stable::contiguous(queries),
            torch::stable::contiguous(keys),
            torch::stable::contiguous(torch::stable::to(lengths, ScalarType::Long)),
            torch::stable::contiguous(parameters),
            units,
            parse_activation(activation),
            epsilon,
            0,
            0};
  if (validate || !runs_cuda_kernels(in.lengths)) check_table_indices("lengths", in.lengths, keys.size(1) + 1);
  int64_t n_parameters = 0, fan_in = 4 * d;
  for (size_t l = 0; l < units.size(); ++l) {
    const bool hidden = l + 1 < units.size();
    n_parameters += units[l] * (fan_in + 1 + (hidden && in.dice() ? 1 : 0));
    fan_in = units[l];
    if (!hidden) continue;
    in.hidden_values += batch * keys.size(1) * attention_stride(units[l]);
    in.statistic_values += in.dice() ? 2 * units[l] : 0;
  }
  check_float_like("parameters", parameters, queries);
  check_shape("parameters", parameters, {n_parameters});
  return in;
}

Tensor bytes_like(const Tensor& like, int64_t bytes) {
  return torch::stable::new_empty(like, {bytes}, ScalarType::Byte);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_pooling(const Tensor& queries, const Tensor& keys,
                                                             const Tensor& lengths, const Tensor& parameters,
                                                             const std::vector<int64_t>& units,
                                                             const std::optional<Tensor>& given,
                                                             const std::string& activation, double epsilon, bool keep,
                                                             bool validate) {
  const Inputs in = checked(queries, keys, lengths, parameters, units, activation, epsilon, validate);
  if (given) check_saved("statistics", *given, queries, in.statistic_values);
  const ScalarType wide = wide_type(queries);
  const Tensor out = torch::stable::new_empty(in.queries, {queries.size(0), queries.size(1)});
  // The batch's statistics are known after a pass over all positions, so these are kept in any case.
  const bool kept = keep || (in.dice() && !given);
  const Tensor hidden = torch::stable::new_empty(in.queries, {kept ? in.hidden_values : 0}, wide);
  const Tensor scores = torch::stable::new_empty(in.queries, {queries.size(0), keys.size(1)}, wide);
  const Tensor statistics = torch::stable::new_empty(in.queries, {given ? 0 : in.statistic_values}, wide);
  const Tensor used = given ? torch::stable::contiguous(*given) : statistics;
  on_device_of(
      out,
      [&] {
        dispatch_float(out.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          advise_huge_pages(output<T>(hidden), hidden.numel());
          cpu::attention_pooling(in.args<T>(hidden, scores, used, !given), output<T>(out));
        });
      },
      [&](void* stream) {
        dispatch_storage(out.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = in.args<T>(hidden, scores, used, !given);
          const Tensor space = bytes_like(in.queries, cuda::attention_workspace(args));
          cuda::attention_pooling(args, output<T>(out), output<char>(space), stream);
        });
      });
  return {out, hidden, scores, statistics};
}

// Bits of `needs`, in the order of the differentiable arguments.
enum Need { kQueries = 1, kKeys = 2, kParameters = 4 };

std::tuple<Tensor, Tensor, Tensor> attention_pooling_backward(
    const Tensor& grad, const Tensor& hidden, const Tensor& scores, const Tensor& statistics, const Tensor& queries,
    const Tensor& keys, const Tensor& lengths, const Tensor& parameters, const std::vector<int64_t>& units,
    bool batch_statistics, const std::string& activation, double epsilon, int64_t needs) {
  const Inputs in = checked(queries, keys, lengths, parameters, units, activation, epsilon, false);
  check_like("grad", grad, "queries", queries);
  check_saved("hidden", hidden, queries, in.hidden_values);
  check_saved("statistics", statistics, queries, in.statistic_values);
  check_same_device("scores", scores, "queries", queries);
  check_shape("scores", scores, {queries.size(0), keys.size(1)});
  const Tensor g = torch::stable::contiguous(grad), saved = torch::stable::contiguous(hidden),
               scored = torch::stable::contiguous(scores), used = torch::stable::contiguous(statistics),
               space = torch::stable::new_empty(saved, {in.hidden_values});
  const Tensor to_queries = empty_if(needs & kQueries, in.queries), to_keys = empty_if(needs & kKeys, in.keys),
               to_parameters = empty_if(needs & kParameters, in.parameters);
  const auto gradients = [&](auto type) {
    using T = typename decltype(type)::type;
    return AttentionGradients<T>{pointer<T>(g), output<accumulator_t<T>>(space), output<T>(to_queries),
                                 output<T>(to_keys), output<T>(to_parameters)};
  };
  on_device_of(
      g,
      [&] {
        dispatch_float(g.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          advise_huge_pages(output<T>(space), in.hidden_values);
          cpu::attention_pooling_backward(in.args<T>(saved, scored, used, batch_statistics), gradients(type));
        });
      },
      [&](void* stream) {
        dispatch_storage(g.scalar_type(), [&](auto type) {
          using T = typename decltype(type)::type;
          const auto args = in.args<T>(saved, scored, used, batch_statistics);
          const Tensor memory = bytes_like(in.queries, cuda::attention_workspace(args));
          cuda::attention_pooling_backward(args, gradients(type), output<char>(memory), stream);
        });
      });
  return {to_queries, to_keys, to_parameters};
}

}  // namespace
}  // namespace debias

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def(
      "attention_pooling(Tensor queries, Tensor keys, Tensor lengths, Tensor parameters, int[] units, "
      "Tensor? given_statistics, str activation, float epsilon, bool keep, bool validate) "
      "-> (Tensor out, Tensor hidden, Tensor scores, Tensor statistics)");
  m.def(
      "attention_pooling_backward(Tensor grad, Tensor hidden, Tensor scores, Tensor statistics, Tensor queries, "
      "Tensor keys, Tensor lengths, Tensor parameters, int[] units, bool batch_statistics, str activation, "
      "float epsilon, int needs) -> (Tensor grad_queries, Tensor grad_keys, Tensor grad_parameters)");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("attention_pooling", TORCH_BOX(&debias::attention_pooling));
  m.impl("attention_pooling_backward", TORCH_BOX(&debias::attention_pooling_backward));
}
