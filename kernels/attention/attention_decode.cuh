// Attention of few tokens to many slots: decode, and trees of draft tokens. The Q heads that share
// a KV head are rows of one tile, so that K and V are read once for all of them, and CTAs split the
// KV range, so that a single sequence fills the GPU.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_merge.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_partials.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_store.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/attention/attention_visibility.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/shared_address.cuh"

namespace edge_llm {

template <int kHeadSize, int kBlocksM, int kWarpsM, int kWarpsKv, int kTileKv, int kStages>
struct AttentionDecodeTile
    : AttentionTile<kHeadSize, kBlocksM, kWarpsM, kWarpsKv, kTileKv, kStages> {
  using Base = AttentionTile<kHeadSize, kBlocksM, kWarpsM, kWarpsKv, kTileKv, kStages>;
  using Visibility = TokenVisibility<Base::kTileQ>;
  // The visibility lies behind the stages.
  static constexpr int kVisibilityOffset = Base::kSharedBytes;
  static constexpr int kSharedBytes =
      Base::kSharedBytes + static_cast<int>(sizeof(TokenVisibility<Base::kTileQ>));
};

// The rows of one tile: (token, Q head of the group), the heads of a token together.
struct DecodeRows {
  int first;  // of all rows of the KV head
  int count;  // of all rows of the KV head: q_len * group
  int group;  // Q heads of a KV head
  int kv_head;

  __device__ __forceinline__ bool exists(int row) const { return first + row < count; }
  __device__ __forceinline__ int token(int row) const { return (first + row) / group; }
  __device__ __forceinline__ int64_t head_index(const AttentionParams& params, int batch,
                                                int row) const {
    const int head = (first + row) - token(row) * group;
    return q_head_index(params, batch, token(row), kv_head * group + head);
  }
};

// The tiles of one split of the KV range. Its length follows the row's real one, so that a short
// row in a large cache still uses every CTA.
struct DecodeRange {
  int first_tile;
  int last_tile;  // exclusive

  __device__ __forceinline__ DecodeRange(int slots, int tile_kv, int split, int splits) {
    const int tiles = (slots + tile_kv - 1) / tile_kv;
    const int split_tiles = (tiles + splits - 1) / splits;
    first_tile = min(split * split_tiles, tiles);
    last_tile = min(first_tile + split_tiles, tiles);
  }
};

// Grid: (tiles of rows * num_kv_heads, splits, batch). Without splits the output is written, else
// the partial results of blockIdx.y.
template <class Tile>
__device__ __forceinline__ void attention_decode(const AttentionParams& params) {
  extern __shared__ __align__(128) unsigned char shared_tiles[];
  auto& visibility =
      *reinterpret_cast<typename Tile::Visibility*>(shared_tiles + Tile::kVisibilityOffset);
  const AttentionWarp<Tile> warp;
  const AttentionRow row = attention_row(params, blockIdx.z);

  DecodeRows rows;
  rows.group = params.num_q_heads / params.num_kv_heads;
  rows.count = params.q_len * rows.group;
  const int row_tiles = gridDim.x / params.num_kv_heads;
  rows.kv_head = blockIdx.x / row_tiles;
  rows.first = (blockIdx.x - rows.kv_head * row_tiles) * Tile::kTileQ;

  find_visible_tokens(params, row, [&](int tile_row) { return rows.token(tile_row); }, visibility);
  __syncthreads();

  const auto q_source = [&](int tile_row) {
    const int64_t index = rows.head_index(params, row.batch, tile_row);
    return rows.exists(tile_row) ? static_cast<const char*>(params.q) + index * Tile::kHeadBytes
                                 : nullptr;
  };
  // An invalid token of a tree leaves its slot as it was.
  const int slots = row.kv_length();
  const auto valid = [&](int slot) {
    const int token = slot - row.first_slot;
    return slot < slots && (token < 0 || visibility.token_valid(token));
  };
  const auto mask = [&](int tile, AttentionScores<Tile>& scores) {
    // Token of the warp's first slot, negative for an older one.
    const int first = tile * Tile::kTileKv + warp.kv * Tile::kWarpKv - row.first_slot;
    if (first + Tile::kWarpKv <= 0) return;
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int tile_row = warp.row(block, half);
        uint32_t bits = 0;  // of 32 slots
#pragma unroll
        for (int eight = 0; eight < Tile::kWarpKv / 8; ++eight) {
          if (eight % 4 == 0) bits = visibility.slots(tile_row, first + 8 * eight);
          const uint32_t pair = bits >> (eight % 4 * 8 + warp.lane % 4 * 2);
          float* score = &scores[block][eight][2 * half];
          if ((pair & 1) == 0) score[0] = masked_score();
          if ((pair & 2) == 0) score[1] = masked_score();
        }
      }
    }
  };

  AttentionSums<Tile> sums;
  const DecodeRange range(slots, Tile::kTileKv, blockIdx.y, params.splits);
  attend<Tile>(ptx::shared_address(shared_tiles), warp, range.first_tile, range.last_tile, q_source,
               kv_heads(params, row.batch, rows.kv_head), valid, mask, sums);
  if constexpr (Tile::kWarpsKv > 1) {
    merge_warps<Tile>(reinterpret_cast<float4*>(shared_tiles + Tile::kQBytes), warp, sums);
    if (warp.kv > 0) return;
  }

#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int tile_row = warp.row(block, half);
      if (!rows.exists(tile_row)) continue;
      const int64_t index = rows.head_index(params, row.batch, tile_row);
      const bool valid = visibility.token_valid(rows.token(tile_row));
      const float weight = sums.weight[block][half];
      if (params.splits == 1) {
        store_output<Tile>(params.output, index, warp, sums, block, half,
                           output_factor(weight, valid));
      } else {
        store_partial<Tile>(params, blockIdx.y, index, warp, sums, block, half,
                            valid ? weight : 0.f);
      }
    }
  }
}

}  // namespace edge_llm
