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
#include "kernels/attention/attention_turn.cuh"
#include "kernels/attention/attention_visibility.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/ld_shared.cuh"
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

// What a CTA does: the rows of one tile, on one split of the KV range.
template <class Tile>
struct DecodeWork {
  const AttentionParams& params;
  const AttentionWarp<Tile>& warp;
  const AttentionRow row;
  const DecodeRows rows;
  const KvHeads cache;
  typename Tile::Visibility& visibility;

  // Q, and the first tiles of K and V.
  __device__ __forceinline__ void prefetch(const SplitRange& range) const {
    const int last_tile = min(range.last_tile, range.first_tile + Tile::kStages);
#pragma unroll 1
    for (int tile = range.first_tile; tile < last_tile; ++tile) {
      prefetch_heads<Tile, Tile::kTileKv>([&](int slot) { return k_of(tile, slot); });
      prefetch_heads<Tile, Tile::kTileKv>([&](int slot) { return v_of(tile, slot); });
    }
    prefetch_heads<Tile, Tile::kTileQ>([&](int tile_row) { return q_of(tile_row); });
  }

  __device__ __forceinline__ void load_q(uint32_t q) const {
    gather_heads<Tile, Tile::kTileQ, 1>(q, [&](int tile_row) { return q_of(tile_row); });
  }

  __device__ __forceinline__ void prepare() const {
    find_visible_tokens(
        params, row, [&](int tile_row) { return rows.token(tile_row); }, visibility);
    __syncthreads();
  }

  template <class Ready>
  __device__ __forceinline__ void turn_q(uint32_t q, const Ready& ready) const {
    turn_heads<Tile, Tile::kTileQ, 2>(
        q, 0, min(Tile::kTileQ, rows.count - rows.first), params.rotary_size,
        [&](int tile_row) { return angles_of(rows.token(tile_row)); }, ready);
  }

  // K and V of new tokens come from the packed QKV.
  __device__ __forceinline__ void load_k_v(uint32_t stage, int tile) const {
    const int first_token = token_of_tile(tile);
    if (first_token + Tile::kTileKv <= 0) {
      const KvHeads heads = cache.from(tile * Tile::kTileKv, Tile::kHeadBytes);
      load_heads<Tile, Tile::kTileKv>(stage, heads.k);
      load_heads<Tile, Tile::kTileKv>(stage + Tile::kKvBytes, heads.v);
    } else {
      constexpr int kNewUnroll = 4;  // the last split has the longest way: addresses side by side
      gather_heads<Tile, Tile::kTileKv, kNewUnroll>(stage,
                                                    [&](int slot) { return k_of(tile, slot); });
      gather_heads<Tile, Tile::kTileKv, kNewUnroll>(stage + Tile::kKvBytes,
                                                    [&](int slot) { return v_of(tile, slot); });
    }
  }

  // Turns K of the new tokens, and writes them to the cache. An invalid token of a tree leaves its
  // slot as it was; nobody sees it, but its V times a weight 0 must be 0.
  __device__ __forceinline__ void complete(uint32_t stage, int tile) const {
    const int first_token = token_of_tile(tile);
    if (first_token + Tile::kTileKv <= 0) return;
    const int first_slot = max(0, -first_token);  // of the new ones in the tile
    const int last_slot = min(Tile::kTileKv, row.slots - first_token);
    turn_heads<Tile, Tile::kTileKv, 2>(
        stage, first_slot, last_slot, params.rotary_size,
        [&](int slot) { return angles_of(first_token + slot); }, [] {});
    __syncthreads();
    const KvHeads heads = cache.from(tile * Tile::kTileKv, Tile::kHeadBytes);
    const int chunks = (last_slot - first_slot) * Tile::kHeadChunks;
#pragma unroll 1
    for (int i = threadIdx.x; i < chunks; i += Tile::kThreads) {
      const unsigned index = i;
      const int slot = first_slot + static_cast<int>(index / Tile::kHeadChunks);
      const int chunk = static_cast<int>(index % Tile::kHeadChunks);
      const int token = first_token + slot;
      const uint32_t k = stage + head_offset<Tile>(slot, chunk);
      const uint32_t v = k + Tile::kKvBytes;
      const int offset = slot * Tile::kHeadBytes + chunk * 16;
      if (!visibility.token_valid(token)) {
        ptx::st_shared_v4(v, {0, 0, 0, 0});
      } else if (rows.first == 0) {  // one CTA of those that share K and V
        *reinterpret_cast<uint4*>(heads.k + offset) = ptx::ld_shared_v4(k);
        *reinterpret_cast<uint4*>(heads.v + offset) = ptx::ld_shared_v4(v);
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ void mask(int tile, AttentionScores<Tile>& scores) const {
    // Token of the warp's first slot.
    const int first = token_of_tile(tile) + warp.kv * Tile::kWarpKv;
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
  }

 private:
  __device__ __forceinline__ const char* q_of(int tile_row) const {
    if (!rows.exists(tile_row)) return nullptr;
    return packed_head(params, row.batch, rows.token(tile_row), rows.head(tile_row));
  }

  __device__ __forceinline__ const char* k_of(int tile, int slot) const {
    return head_of(tile, slot, cache.k, params.num_q_heads + rows.kv_head);
  }

  __device__ __forceinline__ const char* v_of(int tile, int slot) const {
    return head_of(tile, slot, cache.v, params.num_q_heads + params.num_kv_heads + rows.kv_head);
  }

  // The head of a slot: in the cache, or the packed one of a new token; null where there is none.
  __device__ __forceinline__ const char* head_of(int tile, int slot, const char* old_heads,
                                                 int new_head) const {
    const int token = token_of_tile(tile) + slot;
    if (token >= row.slots) return nullptr;
    if (token >= 0) return packed_head(params, row.batch, token, new_head);
    return old_heads + static_cast<int64_t>(tile * Tile::kTileKv + slot) * Tile::kHeadBytes;
  }

  // Token of a tile's first slot, negative for an older one.
  __device__ __forceinline__ int token_of_tile(int tile) const {
    return tile * Tile::kTileKv - row.first_slot;
  }

  __device__ __forceinline__ const float* angles_of(int token) const {
    const int position = visibility.positions[token];
    return position < 0 ? nullptr : rope_angles(params, row.batch, position);
  }
};

// Grid: (tiles of rows * num_kv_heads, splits, batch). Without splits the output is written, else
// the partial results of blockIdx.y.
template <class Tile>
__device__ __forceinline__ void attention_decode(const AttentionParams& params) {
  extern __shared__ __align__(128) unsigned char shared_tiles[];
  auto& visibility =
      *reinterpret_cast<typename Tile::Visibility*>(shared_tiles + Tile::kVisibilityOffset);
  ptx::griddepcontrol_launch_dependents();
  const AttentionWarp<Tile> warp;
  const int batch = blockIdx.z;
  const int group = params.num_q_heads / params.num_kv_heads;
  const int row_tiles = gridDim.x / params.num_kv_heads;
  const int kv_head = blockIdx.x / row_tiles;
  const int first_row = (blockIdx.x - kv_head * row_tiles) * Tile::kTileQ;
  const DecodeRows rows = {first_row, params.q_len * group, group, kv_head};

  const KvHeads cache = kv_heads(params, batch, kv_head);
  const auto range_of = [&](const AttentionRow& row) {
    return SplitRange(row.kv_length(), Tile::kTileKv, blockIdx.y, params.splits);
  };
  if constexpr (ptx::kDependentLaunch) {  // while the kernel in front ends
    const AttentionRow expected = expected_row(params, batch);
    const DecodeWork<Tile> expected_work = {params, warp, expected, rows, cache, visibility};
    expected_work.prefetch(range_of(expected));
  }
  ptx::griddepcontrol_wait();

  const AttentionRow row = attention_row(params, batch);
  const DecodeWork<Tile> work = {params, warp, row, rows, cache, visibility};
  const SplitRange range = range_of(row);
  AttentionSums<Tile> sums;
  attend<Tile>(ptx::shared_address(shared_tiles), warp, range.first_tile, range.last_tile, work,
               sums);
  const AttentionResult<Tile> result =
      result_of<Tile>(reinterpret_cast<float4*>(shared_tiles), warp, sums);

#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int tile_row = warp.row(block, half);
      if (!rows.exists(tile_row)) continue;
      const int64_t index = rows.head_index(params, row.batch, tile_row);
      const bool valid = visibility.token_valid(rows.token(tile_row));
      store_row<Tile>(params, blockIdx.y, index, warp, result, block, half, valid);
    }
  }
}

}  // namespace edge_llm
