// Attention of few tokens to many slots: decode, trees of draft tokens, short chunks. The Q heads
// that share a KV head are rows of one tile, so that K and V are read once for all of them, and
// CTAs split the KV range, so that a single sequence fills the GPU. The same kernel turns Q and the
// new K by RoPE and writes the cache: no CTA waits for another, as new K and V come from the packed
// QKV.
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
#include "kernels/attention/attention_visibility.cuh"
#include "kernels/attention/attention_wgmma.cuh"
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
  int count;  // of all rows of the KV head: q_len * group, at most 2048
  int group;  // Q heads of a KV head
  int kv_head;
  SmallDivisor groups;

  __device__ __forceinline__ bool exists(int row) const { return first + row < count; }
  __device__ __forceinline__ int token(int row) const { return groups.floor(first + row); }
  __device__ __forceinline__ int head(int row) const {
    return kv_head * group + (first + row) - token(row) * group;
  }
  __device__ __forceinline__ int64_t head_index(const AttentionParams& params, int batch,
                                                int row) const {
    return q_head_index(params, batch, token(row), head(row));
  }
};

// The packed Q of each row of a tile, null where the row does not exist.
struct DecodeQ {
  const AttentionParams& params;
  const DecodeRows& rows;
  int batch;

  __device__ __forceinline__ const char* operator()(int row) const {
    if (!rows.exists(row)) return nullptr;
    return packed_head(params, batch, rows.token(row), rows.head(row));
  }
};

// What a CTA loads before it knows its row.
template <class Tile>
struct DecodeInputs {
  FindVisibility<Tile::kTileQ, Tile::kThreads> tokens;
  HeadPairs<Tile, Tile::kTileQ, kThreadPairs<Tile, Tile::kTileQ>, DecodeQ> q;

  __device__ __forceinline__ DecodeInputs(const AttentionParams& params, int batch,
                                          const DecodeRows& rows)
      : tokens(params, batch, [&](int tile_row) { return rows.token(tile_row); }),
        q(0, DecodeQ{params, rows, batch}) {}
};

// Where the K and V of a CTA come from.
template <class Tile>
struct DecodeSource {
  const AttentionParams& params;
  const AttentionRow row;
  const int kv_head;
  const KvHeads cache;
  const SplitRange range;

  // The newest first: their K takes the longest way, while other loads are on theirs.
  __device__ __forceinline__ int newest_first(int tile) const {
    return range.first_tile + range.last_tile - 1 - tile;
  }

  __device__ __forceinline__ bool has_new() const {
    return range.last_tile * Tile::kTileKv > row.first_slot;
  }

  // Token of a tile's first slot, negative for an older one.
  __device__ __forceinline__ int token_of_tile(int tile) const {
    return tile * Tile::kTileKv - row.first_slot;
  }

  __device__ __forceinline__ KvHeads cache_of(int tile) const {
    return cache.from(tile * Tile::kTileKv, Tile::kHeadBytes);
  }

  // The packed K of a new token, and how far behind it V is.
  __device__ __forceinline__ const char* new_k(int token) const {
    return packed_head(params, row.batch, token, params.num_q_heads + kv_head);
  }
  __device__ __forceinline__ int64_t v_offset() const {
    return int64_t{params.num_kv_heads} * Tile::kHeadBytes;
  }

  // Asks the L2 for the first tiles of K and V.
  __device__ __forceinline__ void prefetch() const {
    const int first_tile = max(range.first_tile, range.last_tile - Tile::kStages);
#pragma unroll 1
    for (int tile = first_tile; tile < range.last_tile; ++tile) {
      const int first_token = token_of_tile(tile);
      const KvHeads old = cache_of(tile);
      const auto prefetch = [&](const char* old_heads, int64_t new_offset) {
        prefetch_heads<Tile, Tile::kTileKv>([&](int slot) -> const char* {
          const int token = first_token + slot;
          if (token < 0) return old_heads + slot * Tile::kHeadBytes;
          return token < row.slots ? new_k(token) + new_offset : nullptr;
        });
      };
      prefetch(old.k, 0);
      prefetch(old.v, v_offset());
    }
  }
};

// What a CTA does: the rows of one tile, on one split of the KV range.
template <class Tile>
struct DecodeWork {
  const AttentionParams& params;
  const AttentionWarp<Tile>& warp;
  const DecodeRows& rows;
  const DecodeSource<Tile>& source;
  DecodeInputs<Tile>& inputs;
  typename Tile::Visibility& visibility;

  __device__ __forceinline__ void before_k(uint32_t) const {}

  // The angles of Q would wait behind all of K and V, and these behind the positions.
  __device__ __forceinline__ void before_v() {
    inputs.tokens.put_tokens(params, source.row, visibility);
    __syncthreads();
    inputs.q.load_angles(params.rotary_size, angles_of_rows());
  }

  __device__ __forceinline__ void load_k(uint32_t stage, int tile) const {
    load(stage, tile, source.cache.k);
  }

  __device__ __forceinline__ void load_v(uint32_t stage, int tile) const {
    load(stage + Tile::kKvBytes, tile, source.cache.v);
  }

  __device__ __forceinline__ void prepare(uint32_t q) const {
    inputs.q.store(q, params.rotary_size, angles_of_rows());
    if (!source.has_new()) return;
    inputs.tokens.put_rows(
        params, source.row, [&](int tile_row) { return rows.token(tile_row); }, visibility);
  }

  // K of new tokens, turned, and V, which go to the cache too. An invalid token of a tree leaves
  // its slot as it was; nobody sees it, but its V times a weight 0 must be 0.
  __device__ __forceinline__ void add_new(uint32_t stage, int tile) const {
    const int first_token = first_token_of(tile);
    if (first_token + Tile::kTileKv <= 0) return;
    const int first_slot = max(0, -first_token);  // of the new ones in the tile
    const int last_slot = min(Tile::kTileKv, source.row.slots - first_token);
    const KvHeads heads = source.cache_of(source.newest_first(tile));
    const int items = (last_slot - first_slot) * NewPair::kRowPairs;
    if (params.rotary_size == Tile::kHeadSize) {
#pragma unroll 1
      for (int item = threadIdx.x; item < items; item += Tile::kThreads) {
        const NewPair pair(*this, item, first_token, first_slot);
        ChunkPair k = {}, v = {};
        if (pair.angles != nullptr) {
          k = load_pair(pair.k, Tile::kHeadSize, pair.chunk);
          v = load_pair(pair.v, Tile::kHeadSize, pair.chunk);
          ChunkAngles eight;
          eight.load(pair.angles, params.rotary_size, pair.chunk * kChunkValues);
          k = turned_pair(k, eight);
        }
        put_new(stage, heads, pair, pair.chunk, k.first, v.first);
        put_new(stage, heads, pair, pair.chunk + NewPair::kRowPairs, k.second, v.second);
      }
    } else {
#pragma unroll 1
      for (int first = 0; first < items; first += Tile::kThreads) {  // by whole warps
        const int item = first + threadIdx.x;
        const NewPair pair(*this, min(item, items - 1), first_token, first_slot);
#pragma unroll 1
        for (int half = 0; half < 2; ++half) {
          const int chunk = pair.chunk + half * NewPair::kRowPairs;
          const uint4 k = turned_global_chunk(pair.k, pair.angles, params.rotary_size, chunk);
          const uint4 v = turned_global_chunk(pair.v, nullptr, params.rotary_size, chunk);
          if (item < items) put_new(stage, heads, pair, chunk, k, v);
        }
      }
    }
    __syncwarp();  // what follows takes whole warps
  }

  __device__ __forceinline__ void mask(int tile, AttentionScores<Tile>& scores) const {
    // Token of the warp's first slot.
    const int first = first_token_of(tile) + warp.kv * Tile::kWarpKv;
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
  // A pair of chunks of a new token; no angles and no heads where the token is invalid.
  struct NewPair {
    static constexpr int kRowPairs = Tile::kHeadChunks / 2;

    int slot;  // in the tile
    int chunk;
    const float* angles;
    const char* k;
    const char* v;

    __device__ __forceinline__ NewPair(const DecodeWork& work, unsigned item, int first_token,
                                       int first_slot) {
      slot = first_slot + static_cast<int>(item / kRowPairs);
      chunk = static_cast<int>(item % kRowPairs);
      angles = work.angles_of(first_token + slot);
      k = angles == nullptr ? nullptr : work.source.new_k(first_token + slot);
      v = angles == nullptr ? nullptr : k + work.source.v_offset();
    }
  };

  __device__ __forceinline__ void put_new(uint32_t stage, const KvHeads& heads, const NewPair& pair,
                                          int chunk, const uint4& k, const uint4& v) const {
    const uint32_t target = stage + head_offset<Tile>(pair.slot, chunk);
    ptx::st_shared_v4(target, k);
    ptx::st_shared_v4(target + Tile::kKvBytes, v);
    if (pair.angles == nullptr || rows.first > 0) return;  // one CTA of those that share K and V
    const int offset = pair.slot * Tile::kHeadBytes + chunk * 16;
    *reinterpret_cast<uint4*>(heads.k + offset) = k;
    *reinterpret_cast<uint4*>(heads.v + offset) = v;
  }

  __device__ __forceinline__ int first_token_of(int tile) const {
    return source.token_of_tile(source.newest_first(tile));
  }

  // Old slots; zeros where there is none, as the product of a weight 0 and a NaN would be NaN.
  __device__ __forceinline__ void load(uint32_t target, int tile, const char* cached_heads) const {
    const int first_token = first_token_of(tile);
    const char* heads = cached_heads + static_cast<int64_t>(source.newest_first(tile)) *
                                           (Tile::kTileKv * Tile::kHeadBytes);
    if (first_token + Tile::kTileKv <= 0) return load_heads<Tile, Tile::kTileKv>(target, heads);
    for_each_chunk<Tile, Tile::kTileKv, 1>([&](int slot, int chunk) {
      const int token = first_token + slot;
      if (token >= 0 && token < source.row.slots) return;
      ptx::cp_async_cg_16(target + head_offset<Tile>(slot, chunk),
                          heads + slot * Tile::kHeadBytes + chunk * 16, token < 0);
    });
  }

  __device__ __forceinline__ const float* angles_of(int token) const {
    const int position = visibility.positions[token];
    return position < 0 ? nullptr : rope_angles(params, source.row.batch, position);
  }

  struct AnglesOfRows {
    const DecodeWork& work;
    __device__ __forceinline__ const float* operator()(int tile_row) const {
      return work.angles_of(work.rows.token(tile_row));
    }
  };
  __device__ __forceinline__ AnglesOfRows angles_of_rows() const { return {*this}; }
};

// Grid: (tiles of rows * num_kv_heads, splits, batch). Without splits the output is written, else
// the partial results of blockIdx.y.
template <class Tile>
__device__ __forceinline__ void attention_decode(const AttentionParams& params) {
  extern __shared__ __align__(Tile::kWgmma ? kMatrixBlockBytes : 128) unsigned char shared_tiles[];
  auto& visibility =
      *reinterpret_cast<typename Tile::Visibility*>(shared_tiles + Tile::kVisibilityOffset);
  ptx::griddepcontrol_launch_dependents();
  const AttentionWarp<Tile> warp;
  const int batch = blockIdx.z;
  const int group = params.num_q_heads / params.num_kv_heads;
  const int row_tiles = gridDim.x / params.num_kv_heads;
  const int kv_head = blockIdx.x / row_tiles;
  const int first_row = (blockIdx.x - kv_head * row_tiles) * Tile::kTileQ;
  const DecodeRows rows = {first_row, params.q_len * group, group, kv_head, SmallDivisor(group)};
  const SmallDivisor splits(params.splits);
  const KvHeads cache = kv_heads(params, batch, kv_head);
  const auto source_of = [&](const AttentionRow& row) -> DecodeSource<Tile> {
    const SplitRange range(row.kv_length(), Tile::kTileKv, blockIdx.y, splits);
    return {params, row, kv_head, cache, range};
  };
  if constexpr (ptx::kDependentLaunch) {  // while the kernel in front ends
    source_of(expected_row(params, batch)).prefetch();
    prefetch_heads<Tile, Tile::kTileQ>(DecodeQ{params, rows, batch});
  }
  ptx::griddepcontrol_wait();

  const int length = params.context_lengths[batch], start = params.start_index[batch];
  DecodeInputs<Tile> inputs(params, batch, rows);
  const DecodeSource<Tile> source = source_of(attention_row(params, batch, length, start));
  DecodeWork<Tile> work = {params, warp, rows, source, inputs, visibility};
  AttentionSums<Tile> sums;
  attend_by<Tile>(ptx::shared_address(shared_tiles), warp, source.range.first_tile,
                  source.range.last_tile, work, sums);
  const auto exists = [&](int tile_row) { return rows.exists(tile_row); };
  const AttentionResult<Tile> result =
      result_of<Tile>(reinterpret_cast<float2*>(shared_tiles), warp, sums, exists);

#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int tile_row = warp.row(block, half);
      if (!rows.exists(tile_row)) continue;
      const int64_t index = rows.head_index(params, batch, tile_row);
      const bool valid = visibility.token_valid(rows.token(tile_row));
      store_row<Tile>(params, blockIdx.y, index, warp, result, block, half, valid);
    }
  }
}

}  // namespace edge_llm
