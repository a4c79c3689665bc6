// Causal attention of many tokens: prefill, and chunks that follow older slots. K and V come
// straight from the cache, where the append kernel has put the new ones.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_merge.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_partials.cuh"
#include "kernels/attention/attention_rope.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_store.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/attention/attention_turn.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/shared_address.cuh"

namespace edge_llm {

// What a CTA does: kTileQ tokens of one Q head.
template <class Tile>
struct PrefillWork {
  const AttentionParams& params;
  const AttentionWarp<Tile>& warp;
  AttentionRow row;
  int head;
  int first_token;
  int tokens;          // valid ones of the tile; none where <= 0
  int newest;          // slot of the tile's first token
  int slots;           // that the tile's last token sees
  int first_new_tile;  // of the CTA's: what the append kernel writes starts there

  __device__ __forceinline__ PrefillWork(const AttentionParams& params,
                                         const AttentionWarp<Tile>& warp, int batch, int head,
                                         int q_tile)
      : params(params), warp(warp), row(attention_row(params, batch)), head(head) {
    first_token = q_tile * Tile::kTileQ;
    tokens = min(row.tokens - first_token, Tile::kTileQ);
    newest = row.first_slot + first_token;
    slots = tokens > 0 ? newest + tokens : 0;
  }

  __device__ __forceinline__ void load_q(uint32_t q) const {
    gather_heads<Tile, Tile::kTileQ, 1>(q, [&](int token) -> const char* {
      return token < tokens ? packed_head(params, row.batch, first_token + token, head) : nullptr;
    });
  }

  template <class Ready>
  __device__ __forceinline__ void turn_q(uint32_t q, const Ready& ready) const {
    turn_heads<Tile, Tile::kTileQ, 4>(
        q, 0, Tile::kTileQ, params.rotary_size,
        [&](int token) {
          return token < tokens ? rope_angles(params, row.batch, newest + token) : nullptr;
        },
        ready);
  }

  __device__ __forceinline__ void load_k_v(uint32_t stage, int tile) const {
    const int first_slot = tile * Tile::kTileKv;
    // What was before the append kernel has ended: it waits for that before it lets this one start.
    if (tile == first_new_tile) ptx::griddepcontrol_wait();
    const int kv_head = head / (params.num_q_heads / params.num_kv_heads);
    const KvHeads heads = kv_heads(params, row.batch, kv_head).from(first_slot, Tile::kHeadBytes);
    const int count = slots - first_slot;
    const auto load = [&](uint32_t target, const char* first) {
      if (count >= Tile::kTileKv) return load_heads<Tile, Tile::kTileKv>(target, first);
      gather_heads<Tile, Tile::kTileKv, 1>(target, [&](int slot) -> const char* {
        return slot < count ? first + slot * Tile::kHeadBytes : nullptr;
      });
    };
    load(stage, heads.k);
    load(stage + Tile::kKvBytes, heads.v);
  }

  __device__ __forceinline__ void prepare() const {}

  __device__ __forceinline__ void complete(uint32_t, int) const {}

  __device__ __forceinline__ void mask(int tile, AttentionScores<Tile>& scores) const {
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
  }
};

// Grid: (num_q_heads * splits, tiles of q_len, batch). The last tokens see the most, so their CTAs
// start first. Without splits the output is written, else the partial results.
template <class Tile>
__device__ __forceinline__ void attention_prefill(const AttentionParams& params) {
  extern __shared__ __align__(128) unsigned char shared_tiles[];
  const AttentionWarp<Tile> warp;
  const int split = blockIdx.x / params.num_q_heads;
  const int head = blockIdx.x - split * params.num_q_heads;
  ptx::griddepcontrol_launch_dependents();
  PrefillWork<Tile> work(params, warp, blockIdx.z, head, gridDim.y - 1 - blockIdx.y);

  AttentionSums<Tile> sums;
  const SplitRange range(work.slots, Tile::kTileKv, split, params.splits);
  work.first_new_tile = max(work.row.first_slot / Tile::kTileKv, range.first_tile);
  attend<Tile>(ptx::shared_address(shared_tiles), warp, range.first_tile, range.last_tile, work,
               sums);
  // In every CTA, also where it needs nothing new: the kernel behind waits for this one alone.
  ptx::griddepcontrol_wait();
  const AttentionResult<Tile> result =
      result_of<Tile>(reinterpret_cast<float4*>(shared_tiles), warp, sums);

#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = warp.row(block, half);
      if (work.first_token + token >= params.q_len) continue;
      const int64_t index = q_head_index(params, work.row.batch, work.first_token + token, head);
      store_row<Tile>(params, split, index, warp, result, block, half, token < work.tokens);
    }
  }
}

}  // namespace edge_llm
