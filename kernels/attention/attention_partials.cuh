// A split KV range: what each CTA takes, and leaves for the combine kernel in the workspace:
//   outputs f32 [splits, heads, head_size]: sums of weight * V, relative to the split's maximum
//   states  f32 [splits, heads, 2]: the split's maximum, and the sum of weights, 0 where none
// with heads = batch * q_len * num_q_heads, in the order of the output.
// The maximum is the largest score, or by wgmma up to 2^kLagLog2 of weight below it (weigh()).
#pragma once

#include "kernels/attention/attention_divisor.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/fixed_width_types.h"

namespace edge_llm {

// The tiles of one split of the KV range. Its length follows the row's real one, so that a short
// row in a large cache still uses every CTA: no split is longer than another by more than a tile.
// The last ones are the short ones, as theirs are the new tokens.
struct SplitRange {
  int first_tile;
  int last_tile;  // exclusive

  __device__ __forceinline__ SplitRange(int slots, int tile_kv, int split,
                                        const SmallDivisor& splits) {
    const int tiles = (slots + tile_kv - 1) / tile_kv;
    first_tile = splits.ceil(tiles * split);
    last_tile = splits.ceil(tiles * (split + 1));
  }
};

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
