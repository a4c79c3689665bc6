#include "plugins/attention/attention_op.h"

#include "plugins/adapter/pointers.h"
#include "plugins/runtime/attention_launcher.h"

namespace edge_llm {
namespace {

constexpr uintptr_t kVectorAlignment = 16;  // bytes: kernels move eight f16 at a time
constexpr uintptr_t kWordAlignment = 4;     // bytes

void set_shapes(const AttentionCall& call, AttentionParams* params) {
  const AttentionProblem& problem = call.problem;
  params->batch = static_cast<int32_t>(problem.batch);
  params->q_len = static_cast<int32_t>(problem.q_len);
  params->num_q_heads = static_cast<int32_t>(problem.num_q_heads);
  params->num_kv_heads = static_cast<int32_t>(problem.num_kv_heads);
  params->head_size = static_cast<int32_t>(problem.head_size);
  params->capacity = static_cast<int32_t>(problem.capacity);
  params->rope_rows = static_cast<int32_t>(call.rope_rows);
  params->rope_positions = static_cast<int32_t>(call.rope_positions);
  params->rotary_size = static_cast<int32_t>(call.rotary_size);
  params->mask_words = static_cast<int32_t>(call.mask_words);
  params->mode = problem.mode;
}

// The address of an i32 input.
const int32_t* words(const char* name, const void* pointer) {
  return static_cast<const int32_t*>(checked_pointer(name, pointer, kWordAlignment));
}

void set_pointers(AttentionMode mode, const Buffers& buffers, AttentionParams* params) {
  const void* const* in = buffers.inputs;
  params->qkv = checked_pointer("PackedQKV", in[kPackedQkv], kVectorAlignment);
  params->context_lengths = words("ContextLengths", in[kContextLengths]);
  params->rope_cos_sin =
      static_cast<const float*>(checked_pointer("RopeCosSin", in[kRopeCosSin], kVectorAlignment));
  if (mode != AttentionMode::kPrefill) {
    params->start_index = words("KVCacheStartIndex", in[kStartIndex]);
  }
  if (mode == AttentionMode::kTreeDecode) {
    params->tree_mask = words("AttentionMask", in[kTreeMask]);
    params->tree_positions = words("AttentionPosIds", in[kTreePositions]);
  }
  params->output =
      checked_pointer("AttentionOutput", buffers.outputs[kAttentionOutput], kVectorAlignment);
}

}  // namespace

AttentionOp::AttentionOp(const AttentionConfig& config) : config_(config) {
  // A plan without tokens throws for heads that no kernel serves.
  AttentionProblem problem;
  problem.num_q_heads = config.num_q_heads;
  problem.num_kv_heads = config.num_kv_heads;
  problem.head_size = config.head_size;
  plan_attention(problem, DeviceFacts{});
}

int64_t AttentionOp::workspace_bound(const Shapes& shapes) const {
  return attention_workspace_bound(largest_attention_problem(config_, shapes));
}

void AttentionOp::attach() {
  const CudaDriver& driver = cuda_driver();
  device_ = current_device_facts(driver);
  kernels_ = load_kernels(driver, attention_kernels(device_.sm, config_.head_size));
  driver_ = &driver;
}

void AttentionOp::enqueue(const Shapes& shapes, const Buffers& buffers, CUstream stream) const {
  const AttentionCall call = attention_call(config_, shapes);
  if (driver_ == nullptr) fail("enqueue before initialize() or attachToContext()");
  if (call.problem.batch == 0) return;  // not even a cache to copy
  const AttentionPlan plan = plan_attention(call.problem, device_);
  AttentionParams params{};
  set_shapes(call, &params);
  const void* cache_in = checked_pointer("KVCache", buffers.inputs[kKvCache], kVectorAlignment);
  params.kv_cache =
      checked_pointer("output KVCache", buffers.outputs[kKvCacheOut], kVectorAlignment);
  const bool has_tokens = call.problem.q_len > 0;  // empty tensors may have null addresses
  if (has_tokens) set_pointers(call.problem.mode, buffers, &params);
  if (plan.workspace_bytes > 0) checked_pointer("workspace", buffers.workspace, kVectorAlignment);
  launch_attention(*driver_, kernels_, plan, params, cache_in, buffers.workspace, stream);
}

}  // namespace edge_llm
