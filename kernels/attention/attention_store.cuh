// The end of the attention kernels: sums to the output, or to the partial results of a split.
#pragma once

#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_partials.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

// What the sums of a row are divided by, as a factor: 0 for one that sees nothing. NaN stays NaN.
__device__ __forceinline__ float output_factor(float weight) {
  return weight == 0.f ? 0.f : 1.f / weight;
}

// Stores one row of a warp's result, f16, times `factor`; zeros where that is 0, whatever the sums
// are.
template <class Tile>
__device__ __forceinline__ void store_output(void* output, int64_t head_index,
                                             const AttentionWarp<Tile>& warp,
                                             const AttentionResult<Tile>& result, int block,
                                             int half, float factor) {
  uint32_t* head = static_cast<uint32_t*>(output) + head_index * (Tile::kHeadSize / 2) +
                   result.first_dims * 4 + warp.lane % 4;
#pragma unroll
  for (int dims = 0; dims < AttentionResult<Tile>::kDims; ++dims) {
    if (!result.has(dims)) continue;
    const float* sum = &result.output[block][dims][2 * half];
    const uint32_t pair = ptx::cvt_f16x2_f32(sum[0] * factor, sum[1] * factor);
    head[dims * 4] = factor == 0.f ? 0 : pair;
  }
}

// Stores one row of a warp's result as the partial result of a split; `weight` is the row's.
template <class Tile>
__device__ __forceinline__ void store_partial(const AttentionParams& params, int split,
                                              int64_t head_index, const AttentionWarp<Tile>& warp,
                                              const AttentionResult<Tile>& result, int block,
                                              int half, float weight) {
  const int quad_lane = warp.lane % 4;
  if (result.first_dims == 0 && quad_lane == 0) {
    *partial_state(params, split, head_index) = {result.maximum[block][half], weight};
  }
  float2* head = reinterpret_cast<float2*>(partial_output(params, split, head_index)) +
                 result.first_dims * 4 + quad_lane;
#pragma unroll
  for (int dims = 0; dims < AttentionResult<Tile>::kDims; ++dims) {
    if (!result.has(dims)) continue;
    const float* sum = &result.output[block][dims][2 * half];
    head[dims * 4] = {sum[0], sum[1]};
  }
}

// Stores one row of a warp's result: to the output, or as the partial result of a split where there
// are several. An invalid token has no weight.
template <class Tile>
__device__ __forceinline__ void store_row(const AttentionParams& params, int split,
                                          int64_t head_index, const AttentionWarp<Tile>& warp,
                                          const AttentionResult<Tile>& result, int block, int half,
                                          bool valid) {
  const float weight = valid ? result.weights[block][half] : 0.f;
  if (params.splits == 1) {
    store_output<Tile>(params.output, head_index, warp, result, block, half, output_factor(weight));
  } else {
    store_partial<Tile>(params, split, head_index, warp, result, block, half, weight);
  }
}

}  // namespace edge_llm
