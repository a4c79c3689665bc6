// Attention of few tokens to many slots: decode, and trees of draft tokens. The Q heads that share
// a KV head are rows of one tile, so that K and V are read once for all of them, and CTAs split the
// KV range, so that a single sequence fills the GPU. The same kernel turns Q and the new K by RoPE
// and writes the cache: no CTA waits for another, as new K and V come from the packed QKV.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_merge.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_partials.cuh"
#include "kernels/attention/attention_rope.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_store.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/attention/attention_visibility.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/shared_address.cuh"
#include "kernels/ptx/st_shared.cuh"

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
  __device__ __forceinline__ int head(int row) const {
    return kv_head * group + (first + row) - token(row) * group;
  }
  __device__ __forceinline__ int64_t head_index(const AttentionParams& params, int batch,
                                                int row) const {
    return q_head_index(params, batch, token(row), head(row));
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

// As load_k_v, where a tile has slots of new tokens: these come from the packed QKV. `token` is
// that of the tile's first slot, negative for an older one, and valid(token) says which have K and
// V.
template <class Tile, class Valid>
__device__ __forceinline__ void load_new_k_v(const AttentionParams& params, const AttentionRow& row,
                                             int kv_head, uint32_t stage, const KvHeads& tile,
                                             int first_token, bool write_cache,
                                             const Valid& valid) {
  const int k_head = params.num_q_heads + kv_head;
  for_each_chunk<Tile, Tile::kTileKv, 1>([&](int slot, int chunk) {
    const int offset = slot * Tile::kHeadBytes + chunk * 16;
    const uint32_t target = stage + head_offset<Tile>(slot, chunk);
    const int token = first_token + slot;
    if (token < 0 || !valid(token)) {
      ptx::cp_async_cg_16(target, tile.k + offset, token < 0);
      ptx::cp_async_cg_16(target + Tile::kKvBytes, tile.v + offset, token < 0);
      return;
    }
    const float* angles = rope_angles(params, row.batch, token_position(params, row, token));
    const uint16_t* packed_k = packed_head(params, row.batch, token, k_head);
    const uint16_t* packed_v = packed_head(params, row.batch, token, k_head + params.num_kv_heads);
    const uint4 k = turned_chunk(packed_k, angles, params.rotary_size, chunk);
    const uint4 v = packed_chunk(packed_v, chunk);
    ptx::st_shared_v4(target, k);
    ptx::st_shared_v4(target + Tile::kKvBytes, v);
    if (write_cache) {
      *reinterpret_cast<uint4*>(tile.k + offset) = k;
      *reinterpret_cast<uint4*>(tile.v + offset) = v;
    }
  });
}

// Grid: (tiles of rows * num_kv_heads, splits, batch). Without splits the output is written, else
// the partial results of blockIdx.y.
template <class Tile>
__device__ __forceinline__ void attention_decode(const AttentionParams& params) {
  extern __shared__ __align__(128) unsigned char shared_tiles[];
  auto& visibility =
      *reinterpret_cast<typename Tile::Visibility*>(shared_tiles + Tile::kVisibilityOffset);
  ptx::griddepcontrol_launch_dependents();
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

  const auto load_rows = [&](uint32_t q) {
    load_q<Tile>(params, row, q, [&](int tile_row) -> QRow {
      return {rows.exists(tile_row) ? rows.token(tile_row) : -1, rows.head(tile_row)};
    });
  };
  const int slots = row.kv_length();
  const KvHeads cache = kv_heads(params, row.batch, rows.kv_head);
  const auto load_tile = [&](uint32_t stage, int tile) {
    const int first_slot = tile * Tile::kTileKv;
    const KvHeads heads = cache.from(first_slot, Tile::kHeadBytes);
    const int first_token = first_slot - row.first_slot;
    if (first_token + Tile::kTileKv <= 0) {
      load_k_v<Tile>(stage, heads, [](int) { return true; });
    } else {
      // An invalid token of a tree leaves its slot as it was.
      load_new_k_v<Tile>(
          params, row, rows.kv_head, stage, heads, first_token, rows.first == 0,
          [&](int token) { return token < row.slots && visibility.token_valid(token); });
    }
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
  attend<Tile>(ptx::shared_address(shared_tiles), warp, range.first_tile, range.last_tile,
               load_rows, load_tile, mask, sums);
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
      const float weight = sums.weights[block][2 * half];
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
