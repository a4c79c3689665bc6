// Merges the results of the warps that share the KV range of a tile.
#pragma once

#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"

namespace edge_llm {

// Merges the sums of the warps along the KV range. Each warp gets its share of the dimensions,
// AttentionResult::first_dims on, and adds those of the others to its own in a fixed order. What
// nobody needs stays out of shared memory, whose bandwidth this takes: a warp's own share, and rows
// that do not exist, by exists(row). A lane meets its own values again, so a row of 32 float2 is
// free of bank conflicts.
template <class Tile, class Exists>
__device__ __forceinline__ AttentionResult<Tile> merge_warps(float2* shared,
                                                             const AttentionWarp<Tile>& warp,
                                                             const AttentionSums<Tile>& sums,
                                                             const Exists& exists) {
  constexpr int kDims = Tile::kHeadSize / 8;
  constexpr int kShare = AttentionResult<Tile>::kDims;
  constexpr int kPairs = kDims + 1;  // of a lane and row: its values, and the state
  constexpr int kWarpRows = 2 * Tile::kBlocksM;
  static_assert(Tile::kWarpsKv * Tile::kWarpsM * kWarpRows * kPairs * 32 * 8 <=
                    Tile::kQBytes + Tile::kStages * Tile::kStageBytes,
                "the results of the warps do not fit where Q, K and V were");
  const float scale = softmax_scale(Tile::kHeadSize);
  const int tile_warp = warp.m / (16 * Tile::kBlocksM);
  const auto pair = [&](int kv_warp, int row, int index) -> float2& {
    const int first = ((kv_warp * Tile::kWarpsM + tile_warp) * kWarpRows + row) * kPairs;
    return shared[(first + index) * 32 + warp.lane];
  };
  AttentionResult<Tile> result = {};
  result.first_dims = warp.kv * kShare;
  sync_computing<Tile>();  // Q, K and V have been read
#pragma unroll
  for (int row = 0; row < kWarpRows; ++row) {
    const int block = row / 2, half = row % 2;
    if (!exists(warp.row(block, half))) continue;
#pragma unroll
    for (int dims = 0; dims < kDims; ++dims) {
      const float* sum = &sums.output[block][dims][2 * half];
      if (dims / kShare == warp.kv) {
        result.output[block][dims % kShare][2 * half] = sum[0];
        result.output[block][dims % kShare][2 * half + 1] = sum[1];
      } else {
        pair(warp.kv, row, dims) = {sum[0], sum[1]};
      }
    }
    pair(warp.kv, row, kDims) = {sums.maximum[block][half], sums.weights[block][2 * half]};
  }
  sync_computing<Tile>();

#pragma unroll
  for (int row = 0; row < kWarpRows; ++row) {
    const int block = row / 2, half = row % 2;
    if (!exists(warp.row(block, half))) continue;
    const float own_maximum = sums.maximum[block][half];
    float2 states[Tile::kWarpsKv - 1];
    float maximum = own_maximum;
    const auto other = [&](int i) { return (warp.kv + 1 + i) % Tile::kWarpsKv; };
#pragma unroll
    for (int i = 0; i < Tile::kWarpsKv - 1; ++i) {
      states[i] = pair(other(i), row, kDims);
      maximum = fmaxf(maximum, states[i].x);
    }
    const float own_factor = softmax_weight(own_maximum, maximum, scale);
    result.maximum[block][half] = maximum;
    result.weights[block][half] = sums.weights[block][2 * half] * own_factor;
#pragma unroll
    for (int dims = 0; dims < kShare; ++dims) {
      result.output[block][dims][2 * half] *= own_factor;
      result.output[block][dims][2 * half + 1] *= own_factor;
    }
#pragma unroll
    for (int i = 0; i < Tile::kWarpsKv - 1; ++i) {
      const float factor = softmax_weight(states[i].x, maximum, scale);
      result.weights[block][half] += states[i].y * factor;
#pragma unroll
      for (int dims = 0; dims < kShare; ++dims) {
        if (!result.has(dims)) continue;
        const float2 part = pair(other(i), row, result.first_dims + dims);
        result.output[block][dims][2 * half] += part.x * factor;
        result.output[block][dims][2 * half + 1] += part.y * factor;
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
template <class Tile, class Exists>
__device__ __forceinline__ AttentionResult<Tile> result_of(float2* shared,
                                                           const AttentionWarp<Tile>& warp,
                                                           const AttentionSums<Tile>& sums,
                                                           const Exists& exists) {
  if constexpr (Tile::kWarpsKv == 1) {
    return own_result<Tile>(sums);
  } else {
    return merge_warps<Tile>(shared, warp, sums, exists);
  }
}

}  // namespace edge_llm
