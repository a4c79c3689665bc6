// Causal attention of many tokens: prefill, and chunks that follow older slots. K and V come
// straight from the cache, where the append kernel has put the new ones.
#pragma once

#include "kernels/attention/attention_divisor.cuh"
#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_merge.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_partials.cuh"
#include "kernels/attention/attention_rope.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_store.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/attention/attention_turn.cuh"
#include "kernels/attention/attention_wgmma.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/opaque.cuh"
#include "kernels/ptx/shared_address.cuh"

namespace edge_llm {

// Which kTileQ tokens of which Q head a CTA has. The last tokens see the most, so their CTAs start
// first. What the end needs is found there again, from an opaque blockIdx: the main loop has no
// registers to spare.
template <class Tile>
struct PrefillPlace {
  int split;
  int head;
  int first_token;

  __device__ __forceinline__ PrefillPlace(const AttentionParams& params, uint32_t block_x,
                                          uint32_t block_y) {
    split = static_cast<int>(block_x) / params.num_q_heads;
    head = static_cast<int>(block_x) - split * params.num_q_heads;
    first_token = first_token_of(block_y);
  }

  static __device__ __forceinline__ int first_token_of(uint32_t block_y) {
    return static_cast<int>(gridDim.y - 1 - block_y) * Tile::kTileQ;
  }
};

// What a CTA does.
template <class Tile>
struct PrefillWork {
  const AttentionParams& params;
  const AttentionWarp<Tile>& warp;
  const PrefillPlace<Tile>& place;
  AttentionRow row;
  const char* keys;  // of the KV head, in the cache
  int newest;        // slot of the tile's first token
  int slots;         // that the tile's last token sees; 0 where no token is valid

  __device__ __forceinline__ PrefillWork(const AttentionParams& params,
                                         const AttentionWarp<Tile>& warp, int batch,
                                         const PrefillPlace<Tile>& place)
      : params(params), warp(warp), place(place), row(attention_row(params, batch)) {
    const int group = params.num_q_heads / params.num_kv_heads;
    keys = cache_head(params, batch, 0, place.head / group);
    newest = row.first_slot + place.first_token;
    const int tokens = min(row.tokens - place.first_token, Tile::kTileQ);
    slots = tokens > 0 ? newest + tokens : 0;
  }

  __device__ __forceinline__ bool is_valid(int token) const { return newest + token < slots; }

  // Q comes before K and V: the append kernel may still be at work.
  __device__ __forceinline__ void before_k(uint32_t q) const {
    constexpr int kInFlight = 2;  // pairs of a thread, in 24 registers each
    const auto head_of = [&](int token) -> const char* {
      if (!is_valid(token)) return nullptr;
      return packed_head(params, row.batch, place.first_token + token, place.head);
    };
    const auto angles_of = [&](int token) -> const float* {
      return is_valid(token) ? rope_angles(params, row.batch, newest + token) : nullptr;
    };
#pragma unroll 1
    for (int i = 0; i < kThreadPairs<Tile, Tile::kTileQ>; i += kInFlight) {
      HeadPairs<Tile, Tile::kTileQ, kInFlight, decltype(head_of)> pairs(i, head_of);
      pairs.load_angles(params.rotary_size, angles_of);
      pairs.store(q, params.rotary_size, angles_of);
    }
  }

  __device__ __forceinline__ void load_k(uint32_t stage, int tile) const {
    // What was before the append kernel has ended: it waits for that before it lets this one start.
    const int first_new = newest - PrefillPlace<Tile>::first_token_of(ptx::opaque(blockIdx.y));
    if ((tile + 1) * Tile::kTileKv > first_new) ptx::griddepcontrol_wait();
    load(stage, tile, 0);
  }

  __device__ __forceinline__ void load_v(uint32_t stage, int tile) const {
    load(stage + Tile::kKvBytes, tile, values_behind_keys(params));
  }

  __device__ __forceinline__ void before_v() const {}

  __device__ __forceinline__ void prepare(uint32_t) const {}

  __device__ __forceinline__ void add_new(uint32_t, int) const {}

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

 private:
  __device__ __forceinline__ void load(uint32_t target, int tile, int64_t distance) const {
    const int first_slot = tile * Tile::kTileKv;
    // The distance is found anew for each tile: it takes two registers, which the widest one lacks.
    const char* first = keys + static_cast<int64_t>(first_slot) * Tile::kHeadBytes + distance;
    const int count = slots - first_slot;
    if (count >= Tile::kTileKv) return load_heads<Tile, Tile::kTileKv>(target, first);
    gather_heads<Tile, Tile::kTileKv, 1>(target, [&](int slot) -> const char* {
      return slot < count ? first + slot * Tile::kHeadBytes : nullptr;
    });
  }
};

// Grid: (num_q_heads * splits, tiles of q_len, batch). Without splits the output is written, else
// the partial results.
template <class Tile>
__device__ __forceinline__ void attention_prefill(const AttentionParams& params) {
  extern __shared__ __align__(Tile::kWgmma ? kMatrixBlockBytes : 128) unsigned char shared_tiles[];
  const AttentionWarp<Tile> warp;
  const PrefillPlace<Tile> place(params, blockIdx.x, blockIdx.y);
  ptx::griddepcontrol_launch_dependents();
  PrefillWork<Tile> work(params, warp, blockIdx.z, place);

  const SplitRange range(work.slots, Tile::kTileKv, place.split, SmallDivisor(params.splits));
  if constexpr (Tile::kWgmma) {
    if (load_instead<Tile>(ptx::shared_address(shared_tiles), range.first_tile, range.last_tile,
                           work)) {
      return ptx::griddepcontrol_wait();
    }
  }
  AttentionSums<Tile> sums;
  attend_by<Tile>(ptx::shared_address(shared_tiles), warp, range.first_tile, range.last_tile, work,
                  sums);
  // In every CTA, also where it needs nothing new: the kernel behind waits for this one alone.
  ptx::griddepcontrol_wait();
  const AttentionResult<Tile> result = result_of<Tile>(reinterpret_cast<float2*>(shared_tiles),
                                                       warp, sums, [](int) { return true; });

  const PrefillPlace<Tile> end(params, ptx::opaque(blockIdx.x), ptx::opaque(blockIdx.y));
#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp.row(block, half);
      const int token = end.first_token + row;
      if (token >= params.q_len) continue;
      const int64_t index = q_head_index(params, blockIdx.z, token, end.head);
      store_row<Tile>(params, end.split, index, warp, result, block, half, work.is_valid(row));
    }
  }
}

}  // namespace edge_llm
