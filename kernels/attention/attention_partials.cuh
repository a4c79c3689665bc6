// What the CTAs of a split KV range leave for the combine kernel, in the workspace:
//   outputs f32 [splits, heads, head_size]: sums of weight * V, relative to the split's maximum
//   states  f32 [splits, heads, 2]: the largest score, and the sum of weights, 0 where none
// with heads = batch * q_len * num_q_heads, in the order of the output.
#pragma once

#include "kernels/attention/attention_params.h"
#include "kernels/fixed_width_types.h"

namespace edge_llm {

__device__ __forceinline__ int64_t output_heads(const AttentionParams& params) {
  return static_cast<int64_t>(params.batch) * params.q_len * params.num_q_heads;
}

__device__ __forceinline__ float* partial_output(const AttentionParams& params, int split,
                                                 int64_t head_index) {
  return params.partials + (split * output_heads(params) + head_index) * params.head_size;
}

__device__ __forceinline__ float2* partial_state(const AttentionParams& params, int split,
                                                 int64_t head_index) {
  const int64_t heads = output_heads(params);
  float* states = params.partials + params.splits * heads * params.head_size;
  return reinterpret_cast<float2*>(states) + split * heads + head_index;
}

}  // namespace edge_llm
