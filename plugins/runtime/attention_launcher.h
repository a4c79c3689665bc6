// Plans and launches the attention kernels.
#ifndef EDGE_LLM_PLUGINS_RUNTIME_ATTENTION_LAUNCHER_H_
#define EDGE_LLM_PLUGINS_RUNTIME_ATTENTION_LAUNCHER_H_

#include <cuda.h>

#include <cstdint>
#include <vector>

#include "kernels/attention/attention_params.h"
#include "kernels/variant_facts.h"
#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/kernel_launch.h"
#include "plugins/runtime/kernel_registry.h"

namespace edge_llm {

// Shapes alone; batch and q_len may be 0. num_q_heads is 1 to 16 times num_kv_heads.
struct AttentionProblem {
  AttentionMode mode = AttentionMode::kPrefill;
  int64_t batch = 0;
  int64_t q_len = 0;  // 1 in decode, at most 128 in tree decode
  int64_t num_q_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_size = 0;  // one of kernels/variants.bzl
  int64_t capacity = 0;
};

struct AttentionPlan {
  const AttentionVariant* variant = nullptr;  // null when there are no tokens: nothing to launch
  int64_t row_tiles = 0;                      // CTAs along the rows of one head of the variant
  int splits = 1;            // CTAs along the KV range; more than 1: combine follows
  int64_t shared_bytes = 0;  // dynamic shared memory of a CTA of the variant
  LaunchOrder order = LaunchOrder::kAfterPrevious;
  int64_t workspace_bytes = 0;  // the partial results of splits
};

// The plan of one call: a pure function of shapes, SM and SM count. Throws for a problem that the
// kernels cannot address.
AttentionPlan plan_attention(const AttentionProblem& problem, const DeviceFacts& device);

// Bytes that suffice for the plan of every problem of the same heads, in any mode, with batch,
// q_len and capacity up to those of `largest` on every device. Pure; largest.mode is not read.
int64_t attention_workspace_bound(const AttentionProblem& largest);

// The kernels that plans with this head size for a device of `sm` can ask for. Throws, naming the
// head sizes there are, for one that no kernel serves.
std::vector<KernelRequest> attention_kernels(int sm, int64_t head_size);

// Launches a plan on `stream`. `params` holds shapes and pointers, aligned as it says; partials and
// splits are filled in here. The cache is read from `kv_cache_in` and written to
// params.kv_cache: where the two differ, the whole of it is copied first, and a partial overlap
// throws. `workspace` has plan.workspace_bytes, 16-byte aligned, contents undefined.
void launch_attention(const CudaDriver& driver, const KernelSet& kernels, const AttentionPlan& plan,
                      AttentionParams params, const void* kv_cache_in, void* workspace,
                      CUstream stream);

}  // namespace edge_llm

#endif  // EDGE_LLM_PLUGINS_RUNTIME_ATTENTION_LAUNCHER_H_
