// Attention with RoPE and KV cache on the current device, apart from any TensorRT interface.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "plugins/abi/expressions.h"
#include "plugins/adapter/tensors.h"
#include "plugins/attention/attention_config.h"
#include "plugins/attention/attention_shapes.h"
#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/kernel_registry.h"
#include "plugins/runtime/status.h"

namespace edge_llm {

// plugins/adapter/operation.h says what each function is for.
class AttentionOp {
 public:
  static constexpr char kName[] = "AttentionPlugin";
  using Config = AttentionConfig;

  explicit AttentionOp(const AttentionConfig& config);

  const AttentionConfig& config() const { return config_; }
  Signature signature() const { return attention_signature(config_); }

  // [B, S, Hq, D], and the shape of the cache.
  template <typename Abi>
  abi::DimsExprs<Abi> output_shape(int32_t index, const abi::DimsExprs<Abi>* inputs,
                                   abi::ExprBuilder<Abi>& builder) const {
    const abi::DimsExprs<Abi>& qkv = inputs[kPackedQkv];
    const abi::DimsExprs<Abi>& cache = inputs[kKvCache];
    if (qkv.nbDims != 3 && qkv.nbDims != 4) {
      fail("PackedQKV has rank ", qkv.nbDims, "; [B, S, H * D] or [B, S, H, D] is required");
    }
    if (cache.nbDims != 5) {
      fail("KVCache has rank ", cache.nbDims, "; [B, 2, Hkv, Cap, D] is required");
    }
    if (index == kKvCacheOut) return cache;
    const auto* heads = builder.constant(config_.num_q_heads);
    return {4, {qkv.d[0], qkv.d[1], heads, builder.constant(config_.head_size)}};
  }

  void check_largest(const Shapes& shapes) const {
    check_largest_attention_shapes(config_, shapes);
  }
  int64_t workspace_bound(const Shapes& shapes) const;
  int32_t aliased_input(int32_t output) const {
    return config_.alias_kv_cache != 0 && output == kKvCacheOut ? kKvCache : -1;
  }
  void attach();
  void check(const Shapes& shapes) const { attention_call(config_, shapes); }

  // Where the two caches are not one, the whole input is copied to the output first; the two must
  // not overlap in part, and other tensors not at all.
  void enqueue(const Shapes& shapes, const Buffers& buffers, CUstream stream) const;

 private:
  AttentionConfig config_;
  const CudaDriver* driver_ = nullptr;  // null until attach()
  DeviceFacts device_;
  KernelSet kernels_;
};

}  // namespace edge_llm
