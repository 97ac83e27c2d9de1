// The Python module debias_ext._C: facts about the build and run-time switches. Tensors enter through the dispatcher.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/stable/library.h>

#include "common/check.h"
#include "common/simd.h"
#include "pair_sampler_module.h"
#ifdef DEBIAS_WITH_CUDA
#include "common/cuda_runtime_info.h"
#endif

namespace py = pybind11;

namespace {

debias::SimdLevel parse_level(const std::string& name) {
  for (const auto level : {debias::SimdLevel::baseline, debias::SimdLevel::avx2, debias::SimdLevel::avx512})
    if (name == debias::simd_name(level)) return level;
  debias::value_error("simd level must be 'baseline', 'avx2' or 'avx512', got '", name, "'");
}

py::dict build_info() {
  py::dict info;
  info["version"] = DEBIAS_VERSION;
  info["torch"] = DEBIAS_BUILD_TORCH;
  info["compiler"] = __VERSION__;
  info["flags"] = DEBIAS_BUILD_FLAGS;
#ifdef DEBIAS_WITH_CUDA
  info["cuda"] = true;
  info["cuda_archs"] = DEBIAS_CUDA_ARCHS;
  info["no_cuda_reason"] = "";
#else
  info["cuda"] = false;
  info["cuda_archs"] = "";
  info["no_cuda_reason"] = DEBIAS_NO_CUDA_REASON;
#endif
  return info;
}

py::dict cuda_runtime() {
  py::dict info;
#ifdef DEBIAS_WITH_CUDA
  const debias::CudaRuntimeInfo runtime = debias::cuda_runtime_info();
  info["runtime_version"] = runtime.runtime_version;
  info["driver_version"] = runtime.driver_version;
  info["device_count"] = runtime.device_count;
  info["error"] = runtime.error;
#endif
  return info;
}

}  // namespace

STABLE_TORCH_LIBRARY(debias_ext, m) { (void)m; }  // one per process; the operators register fragments

PYBIND11_MODULE(_C, m) {
  m.doc() = "Build facts and run-time switches of debias_ext.";
  m.def("build_info", &build_info, "Version, compiler, flags and CUDA architectures of this build.");
  m.def("cuda_runtime", &cuda_runtime,
        "Versions of the CUDA runtime and driver, devices; empty in a build without CUDA.");
  m.def("simd_level", [] { return debias::simd_name(debias::simd_level()); });
  m.def("detected_simd_level", [] { return debias::simd_name(debias::detected_simd_level()); });
  m.def(
      "set_simd_level", [](const std::string& level) { debias::set_simd_level(parse_level(level)); }, py::arg("level"),
      "Lowers (or restores) the instruction set of the CPU kernels.");
  bind_pair_sampler(m);
}
