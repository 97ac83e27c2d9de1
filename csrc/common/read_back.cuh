// Values that the host needs to go on. Waits for the stream.
#pragma once

#include "common/launch.cuh"

namespace debias {

inline void read_back(const int64_t* device, int64_t n, int64_t* host, cudaStream_t stream) {
  check_cuda(cudaMemcpyAsync(host, device, static_cast<size_t>(n) * sizeof(int64_t), cudaMemcpyDeviceToHost, stream));
  check_cuda(cudaStreamSynchronize(stream));
}

inline int64_t read_back(const int64_t* device, cudaStream_t stream) {
  int64_t value = 0;
  read_back(device, 1, &value, stream);
  return value;
}

}  // namespace debias
