#include "common/cuda_runtime_info.h"

#include "common/launch.cuh"

namespace debias {

CudaRuntimeInfo cuda_runtime_info() {
  CudaRuntimeInfo info;
  cudaRuntimeGetVersion(&info.runtime_version);
  if (cudaDriverGetVersion(&info.driver_version) != cudaSuccess) info.driver_version = 0;
  const cudaError_t error = cudaGetDeviceCount(&info.device_count);
  if (error != cudaSuccess) {
    info.device_count = 0;
    info.error = cudaGetErrorString(error);
    (void)cudaGetLastError();
  }
  return info;
}

}  // namespace debias
