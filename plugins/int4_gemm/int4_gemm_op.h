// The INT4 groupwise GEMM on the current device, apart from any TensorRT interface.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "plugins/abi/expressions.h"
#include "plugins/adapter/tensors.h"
#include "plugins/int4_gemm/int4_gemm_config.h"
#include "plugins/int4_gemm/int4_gemm_shapes.h"
#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/kernel_registry.h"
#include "plugins/runtime/status.h"

namespace edge_llm {

// plugins/adapter/operation.h says what each function is for.
class Int4GemmOp {
 public:
  static constexpr char kName[] = "Int4GroupwiseGemmPlugin";
  using Config = Int4GemmConfig;

  explicit Int4GemmOp(const Int4GemmConfig& config);

  const Int4GemmConfig& config() const { return config_; }
  Signature signature() const { return int4_gemm_signature(); }

  // [B, S, N]
  template <typename Abi>
  abi::DimsExprs<Abi> output_shape(int32_t, const abi::DimsExprs<Abi>* inputs,
                                   abi::ExprBuilder<Abi>& builder) const {
    const abi::DimsExprs<Abi>& x = inputs[kX];
    if (x.nbDims != 3) fail("GEMMInput has rank ", x.nbDims, "; [B, S, K] is required");
    return {3, {x.d[0], x.d[1], builder.constant(config_.n)}};
  }

  void check_largest(const Shapes& shapes) const { check(shapes); }
  int64_t workspace_bound(const Shapes& shapes) const;
  int32_t aliased_input(int32_t) const { return -1; }
  void attach();
  void check(const Shapes& shapes) const { checked_int4_gemm_rows(config_, shapes); }

  // y = x * dequantised(weights)^T; y must overlap no other buffer. No rows: nothing is launched.
  void enqueue(const Shapes& shapes, const Buffers& buffers, CUstream stream) const;

 private:
  Int4GemmConfig config_;
  const CudaDriver* driver_ = nullptr;  // null until attach()
  DeviceFacts device_;
  KernelSet kernels_;
};

}  // namespace edge_llm
