// Merges the results of the warps that share the KV range of a tile.
#pragma once

#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tile.cuh"

namespace edge_llm {

// Merges the sums of the warps along the KV range, in their order, into those of warp.kv == 0. Each
// lane meets its own fragments again, so a row of 32 float4 is free of bank conflicts.
template <class Tile>
__device__ __forceinline__ void merge_warps(float4* shared, const AttentionWarp<Tile>& warp,
                                            AttentionSums<Tile>& sums) {
  constexpr int kDims = Tile::kHeadSize / 8;
  constexpr int kFragments = Tile::kBlocksM * (kDims + 1);  // of a lane, the state last
  static_assert((Tile::kWarpsKv - 1) * Tile::kWarpsM * kFragments * 32 * 16 <=
                    Tile::kStages * Tile::kStageBytes,
                "the results of the warps do not fit into the stages");
  const float scale = softmax_scale(Tile::kHeadSize);
  const int tile_warp = warp.m / (16 * Tile::kBlocksM);
  const auto fragment = [&](int kv_warp, int index) -> float4& {
    return shared[(((kv_warp - 1) * Tile::kWarpsM + tile_warp) * kFragments + index) * 32 +
                  warp.lane];
  };
  __syncthreads();  // the stages have been read
  if (warp.kv > 0) {
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
      for (int dims = 0; dims < kDims; ++dims) {
        const float* sum = sums.output[block][dims];
        fragment(warp.kv, block * (kDims + 1) + dims) = {sum[0], sum[1], sum[2], sum[3]};
      }
      fragment(warp.kv, block * (kDims + 1) + kDims) = {
          sums.maximum[block][0], sums.maximum[block][1], sums.weights[block][0],
          sums.weights[block][2]};
    }
  }
  __syncthreads();
  if (warp.kv > 0) return;
#pragma unroll 1
  for (int other = 1; other < Tile::kWarpsKv; ++other) {
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
      const float4 state = fragment(other, block * (kDims + 1) + kDims);
      const float other_maximum[2] = {state.x, state.y};
      const float other_weight[2] = {state.z, state.w};
      float mine[2], theirs[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float maximum = fmaxf(sums.maximum[block][half], other_maximum[half]);
        mine[half] = softmax_weight(sums.maximum[block][half], maximum, scale);
        theirs[half] = softmax_weight(other_maximum[half], maximum, scale);
        sums.maximum[block][half] = maximum;
        float& weight = sums.weights[block][2 * half];
        weight = weight * mine[half] + other_weight[half] * theirs[half];
      }
#pragma unroll
      for (int dims = 0; dims < kDims; ++dims) {
        const float4 part = fragment(other, block * (kDims + 1) + dims);
        float* sum = sums.output[block][dims];
        sum[0] = sum[0] * mine[0] + part.x * theirs[0];
        sum[1] = sum[1] * mine[0] + part.y * theirs[0];
        sum[2] = sum[2] * mine[1] + part.z * theirs[1];
        sum[3] = sum[3] * mine[1] + part.w * theirs[1];
      }
    }
  }
}

}  // namespace edge_llm
