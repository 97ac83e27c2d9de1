// What the CUDA runtime says about this machine. No CUDA header: the module object includes it.
#pragma once

#include <string>

namespace debias {

struct CudaRuntimeInfo {
  int runtime_version = 0;  // of the runtime linked in, as 1000 * major + 10 * minor
  int driver_version = 0;   // the newest runtime that the driver serves; 0 without a driver
  int device_count = 0;
  std::string error;  // of the device count, empty when it succeeded
};

CudaRuntimeInfo cuda_runtime_info();

}  // namespace debias
