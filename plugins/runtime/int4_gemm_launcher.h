// Plans and launches the INT4 groupwise GEMM kernels.
#ifndef EDGE_LLM_PLUGINS_RUNTIME_INT4_GEMM_LAUNCHER_H_
#define EDGE_LLM_PLUGINS_RUNTIME_INT4_GEMM_LAUNCHER_H_

#include <cuda.h>

#include <cstdint>
#include <vector>

#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/variant_facts.h"
#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/kernel_launch.h"
#include "plugins/runtime/kernel_registry.h"

namespace edge_llm {

// y[m, n] = x[m, k] * w[n, k]^T. m >= 0, n > 0 and n % 4 == 0, k > 0 and k % 64 == 0.
struct Int4GemmProblem {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
};

struct Int4GemmPlan {
  const Int4GemmVariant* variant = nullptr;  // null when m == 0: nothing to launch
  int64_t ctas = 0;                          // gridDim.x: one for each tile, or sharing the tiles
  int splits = 1;                            // gridDim.y; more than 1: the combine kernel follows
  int64_t shared_bytes =
      0;  // dynamic shared memory of a CTA: the variant's, or more to spread them
  LaunchOrder order = LaunchOrder::kAfterPrevious;
  int64_t workspace_bytes = 0;  // partial sums, f32 [splits, m, n]; 0 without splits
};

// The plan of one call: a pure function of shapes, SM and SM count. Throws for a problem that the
// kernels cannot address.
Int4GemmPlan plan_int4_gemm(const Int4GemmProblem& problem, const DeviceFacts& device);

// Bytes that suffice for the plan of every m <= max_m on every device. Pure.
int64_t int4_gemm_workspace_bound(int64_t max_m, int64_t n, int64_t k);

// The kernels that plans for a device of `sm` can ask for.
std::vector<KernelRequest> int4_gemm_kernels(int sm);

// Launches a plan on `stream`. `params` holds m, n, k and pointers, aligned as it says; splits and
// partials are filled in here. `workspace` has plan.workspace_bytes, 16-byte aligned, contents
// undefined; null when that is 0.
void launch_int4_gemm(const CudaDriver& driver, const KernelSet& kernels, const Int4GemmPlan& plan,
                      Int4GemmParams params, void* workspace, CUstream stream);

}  // namespace edge_llm

#endif  // EDGE_LLM_PLUGINS_RUNTIME_INT4_GEMM_LAUNCHER_H_
