#include "plugins/int4_gemm/int4_gemm_op.h"

#include "plugins/runtime/int4_gemm_launcher.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

void check_pointer(const char* name, const void* pointer, uintptr_t alignment) {
  if (pointer == nullptr) fail(name, " is a null pointer");
  if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) {
    fail(name, " is at ", pointer, "; a multiple of ", alignment, " bytes is required");
  }
}

}  // namespace

Int4GemmOp::Int4GemmOp(const Int4GemmConfig& config) : config_(config) {
  // A plan of no rows throws for an n or k that the kernels cannot address.
  plan_int4_gemm({0, config.n, config.k}, DeviceFacts{});
}

int64_t Int4GemmOp::workspace_bound(int64_t max_m) const {
  return int4_gemm_workspace_bound(max_m, config_.n, config_.k);
}

void Int4GemmOp::attach() {
  const CudaDriver& driver = cuda_driver();
  device_ = current_device_facts(driver);
  kernels_ = load_kernels(driver, int4_gemm_kernels(device_.sm));
  driver_ = &driver;
}

void Int4GemmOp::enqueue(int64_t m, const Int4GemmBuffers& buffers, CUstream stream) const {
  if (driver_ == nullptr) fail("enqueue before initialize() or attachToContext()");
  if (m == 0) return;
  const Int4GemmPlan plan = plan_int4_gemm({m, config_.n, config_.k}, device_);
  check_pointer("GEMMInput", buffers.x, 16);
  check_pointer("Int4Weights", buffers.weights, 16);
  check_pointer("ScalingFactors", buffers.scales, 8);
  check_pointer("output", buffers.y, 8);
  if (plan.workspace_bytes > 0) check_pointer("workspace", buffers.workspace, 16);
  Int4GemmParams params{};
  params.x = buffers.x;
  params.weights = buffers.weights;
  params.scales = buffers.scales;
  params.y = buffers.y;
  params.m = static_cast<int32_t>(m);
  params.n = config_.n;
  params.k = config_.k;
  launch_int4_gemm(*driver_, kernels_, plan, params, buffers.workspace, stream);
}

}  // namespace edge_llm
