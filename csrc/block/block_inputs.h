// What the three block losses share: the checks of tables and rated pairs, and the outputs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "block/block_kernels.h"
#include "common/check.h"
#include "common/dispatch.h"

namespace debias {

struct TableTensors {
  Tensor user_factors, item_factors;
  std::optional<Tensor> user_bias, item_bias;
};

struct RatedTensors {
  Tensor targets;
  std::optional<Tensor> weights;
  Tensor rows, columns;
};

// Where rated pairs stand when sorted: in vectors on the CPU, in tensors on CUDA.
struct RatedPlaces {
  RatedOrder order;
  std::optional<Tensor> offsets, columns, positions;
};

// Bits of `needs`, in the order of the differentiable arguments.
enum BlockNeed {
  kUserFactors,
  kItemFactors,
  kUserBias,
  kItemBias,
  kTargets,
  kWeights,
  kValue,
  kUserWeight,
  kItemWeight,
  kRatedWeights,
  kRatedValues
};
constexpr int kSharedGradients = 6, kConstantGradients = 11;

struct BlockInputs {
  TableTensors student;
  RatedTensors rated;
  RatedPlaces places;
  double scale, loss_scale;
};

BlockInputs checked_block(const TableTensors& student, const RatedTensors& rated, const std::string& reduction,
                          bool validate);
// Tables of another model over the same users and items; contiguous.
TableTensors checked_tables(const std::string& name, const TableTensors& tables, const Tensor& user_factors,
                            const Tensor& item_factors);
void check_like_pairs(const char* name, const std::optional<Tensor>& values, const Tensor& targets);

template <class T>
FactorTables<T> pointers(const TableTensors& tables) {
  return {pointer<T>(tables.user_factors), pointer<T>(tables.item_factors), pointer<T>(tables.user_bias),
          pointer<T>(tables.item_bias), tables.user_factors.size(1)};
}

// The loss, then one output per differentiable argument, without elements where it is not wanted.
class BlockOutputs {
 public:
  BlockOutputs(const BlockInputs& in, int64_t needs)
      : loss(torch::stable::new_empty(in.student.user_factors, {})), needs_(needs) {
    for (const std::optional<Tensor>& like :
         {std::optional<Tensor>(in.student.user_factors), std::optional<Tensor>(in.student.item_factors),
          in.student.user_bias, in.student.item_bias, std::optional<Tensor>(in.rated.targets), in.rated.weights})
      add(like);
  }
  void add(const std::optional<Tensor>& like) {
    const bool wanted = like && (needs_ >> gradients.size()) & 1;
    gradients.push_back(wanted ? torch::stable::new_empty(*like, like->sizes()) : torch::stable::new_empty(loss, {0}));
    wanted_.push_back(wanted);
  }
  // Null where not wanted. An output of no elements has no pointer either, and nothing to write.
  template <class T>
  T* at(int which) const {
    const auto k = static_cast<size_t>(which);
    return wanted_[k] ? output<T>(gradients[k]) : nullptr;
  }
  template <class T>
  BlockGradients<T> shared() const {
    return {at<T>(kUserFactors), at<T>(kItemFactors), at<T>(kUserBias),
            at<T>(kItemBias),    at<T>(kTargets),     at<T>(kWeights)};
  }

  Tensor loss;
  std::vector<Tensor> gradients;

 private:
  int64_t needs_;
  std::vector<bool> wanted_;
};

template <class T>
BlockArgs<T> arguments(const BlockInputs& in, const BlockOutputs& out) {
  const RatedOrder& order = in.places.order;
  const bool sorted_here = !in.places.offsets;
  return {pointers<T>(in.student),
          in.student.user_factors.size(0),
          in.student.item_factors.size(0),
          {pointer<T>(in.rated.targets), pointer<T>(in.rated.weights),
           sorted_here ? order.offsets.get() : pointer<int64_t>(in.places.offsets),
           sorted_here ? order.columns.get() : pointer<int64_t>(in.places.columns),
           sorted_here ? order.positions.get() : pointer<int64_t>(in.places.positions), in.rated.rows.numel()},
          in.scale,
          in.loss_scale,
          out.shared<T>()};
}

}  // namespace debias
