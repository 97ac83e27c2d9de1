// Deliberate faults on the memory of a tensor. Linked into the sanitized module alone, to prove that each is caught.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <limits>
#include <string>

namespace {

using torch::stable::Tensor;

int64_t planted_fault(const Tensor& tensor, const std::string& fault) {
  auto* values = static_cast<int64_t*>(tensor.mutable_data_ptr());
  const int64_t n = tensor.numel();
  if (fault == "read") return values[n];
  if (fault == "write") return values[n] = 1;
  if (fault == "overflow") return std::numeric_limits<int64_t>::max() + n;
  if (fault == "shift") return int64_t{1} << n;
  return values[n - 1];
}

}  // namespace

STABLE_TORCH_LIBRARY(debias_planted, m) { m.def("fault(Tensor tensor, str fault) -> int"); }
STABLE_TORCH_LIBRARY_IMPL(debias_planted, CPU, m) { m.impl("fault", TORCH_BOX(&planted_fault)); }
