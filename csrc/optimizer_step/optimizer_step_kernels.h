// What optimizer_step.cpp asks of the CPU and CUDA kernels. Raw pointers only: no torch header reaches a .cu file.
#pragma once

#include <cstdint>
#include <vector>

#include "common/half.h"
#include "optimizer_step/optimizer_step_math.h"

namespace debias {

// One table with its moments (null where the optimiser has none) and its gradient.
template <class Storage>
struct TableStep {
  using T = accumulator_t<Storage>;
  Storage* table;  // [n, width]
  T* first;
  T* second;
  const Storage* gradient;  // [n, width], sparse: [touched, width]
  const int64_t* rows;      // of a sparse gradient, [touched], distinct and ascending
  int64_t n, width, touched;
  bool sparse, every_row;  // every_row: those without a gradient change as well

  // Rows that the step writes.
  int64_t visited() const { return sparse && !every_row ? touched : n; }
};

struct TableRule {
  OptimizerOptions optimizer;
  double weight_decay;  // times the parameter, a part of the gradient
};

namespace cpu {
template <class T>
void optimizer_step(const std::vector<TableStep<T>>& tables, const TableRule& rule);
}  // namespace cpu

namespace cuda {
// Rows out of range, or not above the one before them, are left out.
template <class Storage>
void optimizer_step(const TableStep<Storage>& table, const TableRule& rule, void* stream);
}  // namespace cuda

}  // namespace debias
