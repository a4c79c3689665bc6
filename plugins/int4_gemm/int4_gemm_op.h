// The INT4 groupwise GEMM on the current device, apart from any TensorRT interface.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "plugins/int4_gemm/int4_gemm_config.h"
#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/kernel_registry.h"

namespace edge_llm {

// Device memory of one call; y must overlap no other buffer.
struct Int4GemmBuffers {
  const void* x;        // f16 [m, k]
  const void* weights;  // i8 [n / 2, k], packed
  const void* scales;   // f16 [ceil(k / group_size), n]
  void* y;              // f16 [m, n]
  void* workspace;      // workspace_bound(m) bytes, contents undefined; null when that is 0
};

// A value: a copy shares nothing that changes. Failures throw Error.
class Int4GemmOp {
 public:
  explicit Int4GemmOp(const Int4GemmConfig& config);

  const Int4GemmConfig& config() const { return config_; }

  // Bytes that suffice for every m <= max_m on every device.
  int64_t workspace_bound(int64_t max_m) const;

  // Resolves the driver and loads the kernels for the device of the current context.
  void attach();

  // Launches y = x * dequantised(weights)^T on `stream`, after attach(). Refuses null and
  // misaligned pointers before the first launch; m == 0 launches nothing.
  void enqueue(int64_t m, const Int4GemmBuffers& buffers, CUstream stream) const;

 private:
  Int4GemmConfig config_;
  const CudaDriver* driver_ = nullptr;  // null until attach()
  DeviceFacts device_;
  KernelSet kernels_;
};

}  // namespace edge_llm
