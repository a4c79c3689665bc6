#include "plugins/int4_gemm/int4_gemm_op.h"

#include "plugins/adapter/pointers.h"
#include "plugins/runtime/int4_gemm_launcher.h"

namespace edge_llm {

Int4GemmOp::Int4GemmOp(const Int4GemmConfig& config) : config_(config) {
  // A plan of no rows throws for an n or k that the kernels cannot address.
  plan_int4_gemm({0, config.n, config.k}, DeviceFacts{});
}

int64_t Int4GemmOp::workspace_bound(const Shapes& shapes) const {
  return int4_gemm_workspace_bound(int4_gemm_rows(shapes.inputs[kX]), config_.n, config_.k);
}

void Int4GemmOp::attach() {
  const CudaDriver& driver = cuda_driver();
  device_ = current_device_facts(driver);
  kernels_ = load_kernels(driver, int4_gemm_kernels(device_.sm));
  driver_ = &driver;
}

void Int4GemmOp::enqueue(const Shapes& shapes, const Buffers& buffers, CUstream stream) const {
  const int64_t m = checked_int4_gemm_rows(config_, shapes);
  if (driver_ == nullptr) fail("enqueue before initialize() or attachToContext()");
  if (m == 0) return;
  const Int4GemmPlan plan = plan_int4_gemm({m, config_.n, config_.k}, device_);
  Int4GemmParams params{};
  params.x = checked_pointer("GEMMInput", buffers.inputs[kX], 16);
  params.weights = checked_pointer("Int4Weights", buffers.inputs[kWeights], 16);
  params.scales = checked_pointer("ScalingFactors", buffers.inputs[kScales], 8);
  params.y = checked_pointer("output", buffers.outputs[0], 8);
  if (plan.workspace_bytes > 0) checked_pointer("workspace", buffers.workspace, 16);
  params.m = static_cast<int32_t>(m);
  params.n = config_.n;
  params.k = config_.k;
  launch_int4_gemm(*driver_, kernels_, plan, params, buffers.workspace, stream);
}

}  // namespace edge_llm
