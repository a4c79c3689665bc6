// Causal attention of many tokens: prefill, and chunks that follow older slots. K and V come
// straight from the cache, where the append kernel has put the new ones.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_store.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/shared_address.cuh"

namespace edge_llm {

// Grid: (num_q_heads, tiles of q_len, batch). A CTA takes kTileQ tokens of one Q head; the last
// tokens see the most, so their CTAs start first.
template <class Tile>
__device__ __forceinline__ void attention_prefill(const AttentionParams& params) {
  static_assert(Tile::kWarpsKv == 1, "results of warps are not merged here");
  extern __shared__ __align__(128) unsigned char shared_tiles[];
  const AttentionWarp<Tile> warp;
  const AttentionRow row = attention_row(params, blockIdx.z);
  const int head = blockIdx.x;
  const int kv_head = head / (params.num_q_heads / params.num_kv_heads);
  const int first_token = (gridDim.y - 1 - blockIdx.y) * Tile::kTileQ;

  const int tokens = min(row.tokens - first_token, Tile::kTileQ);  // none where <= 0
  const int newest = row.first_slot + first_token;                 // slot of the tile's first token
  const int slots = tokens > 0 ? newest + tokens : 0;

  const auto load_rows = [&](uint32_t q) {
    load_q<Tile>(params, row, q, [&](int token) -> QRow {
      return {token < tokens ? first_token + token : -1, head};
    });
  };
  const KvHeads cache = kv_heads(params, row.batch, kv_head);
  const auto load_tile = [&](uint32_t stage, int tile) {
    const int first_slot = tile * Tile::kTileKv;
    load_k_v<Tile>(stage, cache.from(first_slot, Tile::kHeadBytes),
                   [&](int slot) { return first_slot + slot < slots; });
  };
  const auto mask = [&](int tile, AttentionScores<Tile>& scores) {
    const int first_slot = tile * Tile::kTileKv;
    if (first_slot + Tile::kTileKv <= newest + warp.m + 1) return;  // all rows see all of it
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int last_visible = newest - first_slot + warp.row(block, half);
#pragma unroll
        for (int eight = 0; eight < Tile::kWarpKv / 8; ++eight) {
#pragma unroll
          for (int value = 0; value < 2; ++value) {
            float& score = scores[block][eight][2 * half + value];
            if (warp.slot(eight, value) > last_visible) score = masked_score();
          }
        }
      }
    }
  };

  AttentionSums<Tile> sums;
  const int tiles = (slots + Tile::kTileKv - 1) / Tile::kTileKv;
  ptx::griddepcontrol_wait();  // for the append kernel
  attend<Tile>(ptx::shared_address(shared_tiles), warp, 0, tiles, load_rows, load_tile, mask, sums);

#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = warp.row(block, half);
      if (first_token + token >= params.q_len) continue;
      const int64_t index = q_head_index(params, row.batch, first_token + token, head);
      const float factor = output_factor(sums.weights[block][2 * half], token < tokens);
      store_output<Tile>(params.output, index, warp, sums, block, half, factor);
    }
  }
}

}  // namespace edge_llm
