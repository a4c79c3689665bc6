// Merges the results of the warps that share the KV range of a tile.
#pragma once

#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"

namespace edge_llm {

// Merges the sums of the warps along the KV range, in their order. Each warp gets its share of the
// dimensions, AttentionResult::first_dims on. A lane meets its own fragments again, so a row of 32
// float4 is free of bank conflicts.
template <class Tile>
__device__ __forceinline__ AttentionResult<Tile> merge_warps(float4* shared,
                                                             const AttentionWarp<Tile>& warp,
                                                             const AttentionSums<Tile>& sums) {
  constexpr int kDims = Tile::kHeadSize / 8;
  constexpr int kFragments = Tile::kBlocksM * (kDims + 1);  // of a lane, the state last
  static_assert(Tile::kWarpsKv * Tile::kWarpsM * kFragments * 32 * 16 <=
                    Tile::kQBytes + Tile::kStages * Tile::kStageBytes,
                "the results of the warps do not fit where Q, K and V were");
  const float scale = softmax_scale(Tile::kHeadSize);
  const int tile_warp = warp.m / (16 * Tile::kBlocksM);
  const auto fragment = [&](int kv_warp, int block, int index) -> float4& {
    const int row = (kv_warp * Tile::kWarpsM + tile_warp) * kFragments + block * (kDims + 1);
    return shared[(row + index) * 32 + warp.lane];
  };
  __syncthreads();  // Q, K and V have been read
#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int dims = 0; dims < kDims; ++dims) {
      const float* sum = sums.output[block][dims];
      fragment(warp.kv, block, dims) = {sum[0], sum[1], sum[2], sum[3]};
    }
    fragment(warp.kv, block, kDims) = {sums.maximum[block][0], sums.maximum[block][1],
                                       sums.weights[block][0], sums.weights[block][2]};
  }
  __syncthreads();

  AttentionResult<Tile> result = {};
  result.first_dims = warp.kv * AttentionResult<Tile>::kDims;
#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
    float4 states[Tile::kWarpsKv];
    float2 maximum = {masked_score(), masked_score()};
#pragma unroll
    for (int other = 0; other < Tile::kWarpsKv; ++other) {
      states[other] = fragment(other, block, kDims);
      maximum = {fmaxf(maximum.x, states[other].x), fmaxf(maximum.y, states[other].y)};
    }
    result.maximum[block][0] = maximum.x;
    result.maximum[block][1] = maximum.y;
#pragma unroll
    for (int other = 0; other < Tile::kWarpsKv; ++other) {
      const float factors[2] = {softmax_weight(states[other].x, maximum.x, scale),
                                softmax_weight(states[other].y, maximum.y, scale)};
      result.weights[block][0] += states[other].z * factors[0];
      result.weights[block][1] += states[other].w * factors[1];
#pragma unroll
      for (int dims = 0; dims < AttentionResult<Tile>::kDims; ++dims) {
        if (!result.has(dims)) continue;
        const float4 part = fragment(other, block, result.first_dims + dims);
        float* sum = result.output[block][dims];
        sum[0] += part.x * factors[0];
        sum[1] += part.y * factors[0];
        sum[2] += part.z * factors[1];
        sum[3] += part.w * factors[1];
      }
    }
  }
  return result;
}

// The same where a warp has no others: its sums are the result.
template <class Tile>
__device__ __forceinline__ AttentionResult<Tile> own_result(const AttentionSums<Tile>& sums) {
  AttentionResult<Tile> result = {};
#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      result.maximum[block][half] = sums.maximum[block][half];
      result.weights[block][half] = sums.weights[block][2 * half];
    }
#pragma unroll
    for (int dims = 0; dims < AttentionResult<Tile>::kDims; ++dims) {
#pragma unroll
      for (int value = 0; value < 4; ++value) {
        result.output[block][dims][value] = sums.output[block][dims][value];
      }
    }
  }
  return result;
}

// What each warp stores of its tile; `shared` is where Q, K and V were.
template <class Tile>
__device__ __forceinline__ AttentionResult<Tile> result_of(float4* shared,
                                                           const AttentionWarp<Tile>& warp,
                                                           const AttentionSums<Tile>& sums) {
  if constexpr (Tile::kWarpsKv == 1) {
    return own_result<Tile>(sums);
  } else {
    return merge_warps<Tile>(shared, warp, sums);
  }
}

}  // namespace edge_llm
