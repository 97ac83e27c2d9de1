// The loss of a factor model over a batch of pairs: gather, dot, row loss and slopes in one pass. The gradients of the
// tables are mf_score's backward pass on the slopes.
#include <torch/csrc/stable/library.h>

#include "common/dispatch.h"
#include "common/parallel.h"
#include "mf_loss/mf_loss_inputs.h"
#include "mf_score/direct_rows.h"
#include "mf_score/row_gradients.h"

namespace debias {
namespace {

// direct_rows(type): where the kernel puts gradient rows.
template <class DirectRowsOf>
void run_cpu(const MFLossCall& call, const LossAndSlopes& out, const DirectRowsOf& direct_rows) {
  dispatch_float(call.rows.targets.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    const LossRows<T> rows = loss_rows<T>(call, out);
    const DirectRows<T> direct = direct_rows(type);
    dispatch_index(call.score.tables.users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      const RowSums sums = cpu::mf_loss(call.loss, score_args<T, Index>(call.score, nullptr), rows, direct);
      if (!sums.valid) row_error(call.loss, rows, call.rows.targets.numel());
      write_scalar<T>(std::get<0>(out), call.scale * sums.loss);
    });
  });
}

void run_cuda(const MFLossCall& call, const LossAndSlopes& out, void* stream) {
  const Tensor& targets = call.rows.targets;
  const Tensor workspace =
      torch::stable::new_empty(targets, {cuda::row_loss_workspace(targets.numel())}, ScalarType::Double);
  double* sums = output<double>(workspace);
  dispatch_storage(targets.scalar_type(), [&](auto type) {
    using T = typename decltype(type)::type;
    dispatch_index(call.score.tables.users.scalar_type(), [&](auto index) {
      using Index = typename decltype(index)::type;
      cuda::mf_loss(call.loss, score_args<T, Index>(call.score, nullptr), loss_rows<T>(call, out), sums, stream);
    });
    if (call.validate && reads_exposures(call.loss.kind)) {
      const RowSums read = cuda::read_sums(sums, stream);
      if (!read.valid) click_error(call.loss, read.weight > 0, "other values");
    }
    cuda::write_loss<T>(sums, call.scale, false, output<T>(std::get<0>(out)), stream);
  });
}

LossAndSlopes mf_loss(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users, const Tensor& items,
                      const std::optional<Tensor>& user_bias, const std::optional<Tensor>& item_bias,
                      const std::optional<Tensor>& offset, const Tensor& targets, const std::optional<Tensor>& weights,
                      const std::optional<Tensor>& exposures, const std::optional<Tensor>& pseudo_targets,
                      double offset_value, const std::string& loss, const std::string& reduction, bool validate,
                      int64_t needs) {
  const MFLossCall call = checked_call(user_factors, item_factors, users, items, user_bias, item_bias, offset, targets,
                                       weights, exposures, pseudo_targets, offset_value, loss, reduction, validate);
  const LossAndSlopes out = loss_outputs(call, needs);
  const auto no_rows = [](auto type) { return DirectRows<typename decltype(type)::type>{}; };
  on_device_of(
      call.rows.targets, [&] { run_cpu(call, out, no_rows); }, [&](void* stream) { run_cuda(call, out, stream); });
  return out;
}

// The loss, and the gradients of the tables as sparse rows.
using LossAndRows =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

LossAndRows with_rows(const LossAndSlopes& loss, const std::array<SparseRows, 2>& rows, int64_t needs) {
  return std::tuple_cat(loss, rows[0], rows[1], std::make_tuple(offset_gradient(std::get<1>(loss), needs)));
}

// Rows that no two pairs share are written together with the loss, the others after it.
std::array<SparseRows, 2> sparse_rows_cpu(const MFLossCall& call, const Sides& sides, const LossAndSlopes& out) {
  const auto segments = sort_sides(sides);
  std::array<DirectSlots, 2> direct;
  parallel_blocks(2, 1, 0, [&](int64_t which, int64_t, int64_t) {
    const auto side = static_cast<size_t>(which);
    if (sides[side].want_rows) direct[side] = direct_slots(segments[side]);
  });
  const Tensor& slopes = std::get<1>(out);
  const std::array<SparseRows, 2> rows{sparse_outputs(sides[0], slopes, segments[0]),
                                       sparse_outputs(sides[1], slopes, segments[1])};
  run_cpu(call, out, [&](auto type) {
    using T = typename decltype(type)::type;
    return DirectRows<T>{direct[0].slots.data(), direct[1].slots.data(), output<T>(std::get<1>(rows[0])),
                         output<T>(std::get<1>(rows[1]))};
  });
  for (size_t side = 0; side < 2; ++side) {
    const auto& [indices, values, bias] = rows[side];
    fill_shared_rows(sides[side], slopes, direct[side].shared, values);
    fill_bias(sides[side], slopes, segments[side], bias);
  }
  return rows;
}

LossAndRows mf_loss_sparse(const Tensor& user_factors, const Tensor& item_factors, const Tensor& users,
                           const Tensor& items, const std::optional<Tensor>& user_bias,
                           const std::optional<Tensor>& item_bias, const std::optional<Tensor>& offset,
                           const Tensor& targets, const std::optional<Tensor>& weights,
                           const std::optional<Tensor>& exposures, const std::optional<Tensor>& pseudo_targets,
                           double offset_value, const std::string& loss, const std::string& reduction, bool validate,
                           int64_t needs) {
  const MFLossCall call = checked_call(user_factors, item_factors, users, items, user_bias, item_bias, offset, targets,
                                       weights, exposures, pseudo_targets, offset_value, loss, reduction, validate);
  const LossAndSlopes out = loss_outputs(call, needs | kScores);
  const Sides sides = sides_of(call.score.tables, needs);
  std::array<SparseRows, 2> rows{no_sparse_rows(targets), no_sparse_rows(targets)};
  on_device_of(
      call.rows.targets, [&] { rows = sparse_rows_cpu(call, sides, out); },
      [&](void* stream) {
        run_cuda(call, out, stream);
        for (size_t side = 0; side < 2; ++side) rows[side] = sparse_gradient(sides[side], std::get<1>(out), {});
      });
  return with_rows(out, rows, needs);
}

}  // namespace
}  // namespace debias

#define DEBIAS_MF_LOSS_ARGUMENTS                                                                                     \
  "(Tensor user_factors, Tensor item_factors, Tensor users, Tensor items, Tensor? user_bias, Tensor? item_bias, "    \
  "Tensor? offset, Tensor targets, Tensor? weights, Tensor? exposures, Tensor? pseudo_targets, float offset_value, " \
  "str loss, str reduction, bool validate, int needs)"
#define DEBIAS_MF_LOSS_COLUMNS                                                                                \
  "Tensor loss, Tensor grad_scores, Tensor grad_targets, Tensor grad_weights, Tensor grad_exposures, Tensor " \
  "grad_pseudo_targets"

STABLE_TORCH_LIBRARY_FRAGMENT(DEBIAS_NAMESPACE, m) {
  m.def("mf_loss" DEBIAS_MF_LOSS_ARGUMENTS " -> (" DEBIAS_MF_LOSS_COLUMNS ")");
  m.def("mf_loss_sparse" DEBIAS_MF_LOSS_ARGUMENTS " -> (" DEBIAS_MF_LOSS_COLUMNS
        ", Tensor user_indices, Tensor grad_user_rows, Tensor grad_user_bias, Tensor item_indices, "
        "Tensor grad_item_rows, Tensor grad_item_bias, Tensor grad_offset)");
}

DEBIAS_IMPLEMENT(m) {
  m.impl("mf_loss", TORCH_BOX(&debias::mf_loss));
  m.impl("mf_loss_sparse", TORCH_BOX(&debias::mf_loss_sparse));
}
