// What a CTA of the attention kernels holds: rows of Q, and tiles of K and V that pass by.
//
// A row is one (token, Q head). Warps share a tile along its rows first; where there are few rows,
// along the KV range too, and their results are merged at the end.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/ptx/cp_async.cuh"

namespace edge_llm {

template <int kHeadSize_, int kBlocksM_, int kWarpsM_, int kWarpsKv_, int kTileKv_, int kStages_>
struct AttentionTile {
  static constexpr int kHeadSize = kHeadSize_;
  static constexpr int kBlocksM = kBlocksM_;  // m16 blocks of one warp
  static constexpr int kWarpsM = kWarpsM_;
  static constexpr int kWarpsKv = kWarpsKv_;
  static constexpr int kTileKv = kTileKv_;
  static constexpr int kStages = kStages_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsKv;
  static constexpr int kTileQ = 16 * kBlocksM * kWarpsM;
  static constexpr int kWarpKv = kTileKv / kWarpsKv;  // slots of one warp in each tile

  // Shared memory: Q [kTileQ][kHeadSize] f16, then per stage K and V [kTileKv][kHeadSize] f16.
  static constexpr int kHeadBytes = kHeadSize * 2;
  static constexpr int kHeadChunks = kHeadSize / 8;  // of 16 bytes
  static constexpr int kQBytes = kTileQ * kHeadBytes;
  static constexpr int kKvBytes = kTileKv * kHeadBytes;
  static constexpr int kStageBytes = 2 * kKvBytes;
  static constexpr int kSharedBytes = kQBytes + kStages * kStageBytes;

  static_assert(kHeadSize % 16 == 0 && kWarpKv % 16 == 0, "not whole products of k16");
  static_assert(kStages >= 2, "a tile loads while another is in use");
};

// Chunk c of row r moves to c ^ (r / kWrapRows % kColumns), so that the eight rows of an 8 x 8
// matrix lie in eight different columns of 16 bytes, that is in all 32 banks. kWrapRows rows in a
// row of memory already lie in different columns (their stride is kColumns columns, or an odd
// multiple of it), and the next ones repeat them: the XOR moves these within a group of kColumns
// chunks, which divides every row, those of 80 and 96 values too.
template <class Tile>
__device__ __forceinline__ int head_offset(int row, int chunk) {
  constexpr int kLowestBit = Tile::kHeadChunks & -Tile::kHeadChunks;
  constexpr int kColumns = kLowestBit < 8 ? kLowestBit : 8;
  constexpr int kWrapRows = 8 / kColumns;
  return row * Tile::kHeadBytes + (chunk ^ (row / kWrapRows % kColumns)) * 16;
}

// A head in global memory; zeros stand for an invalid one, which is not read.
struct HeadSource {
  const char* head;
  bool valid;
};

// Copies kRows heads to shared memory; source(row) says from where.
template <class Tile, int kRows, class Source>
__device__ __forceinline__ void load_heads(uint32_t target, const Source& source) {
  constexpr int kChunks = kRows * Tile::kHeadChunks;
#pragma unroll
  for (int first = 0; first < kChunks; first += Tile::kThreads) {
    const unsigned index = first + threadIdx.x;
    if (kChunks % Tile::kThreads != 0 && index >= kChunks) break;
    const int row = index / Tile::kHeadChunks;
    const int chunk = index % Tile::kHeadChunks;
    const HeadSource from = source(row);
    ptx::cp_async_cg_16(target + head_offset<Tile>(row, chunk), from.head + chunk * 16, from.valid);
  }
}

// Where one lane of one warp works.
template <class Tile>
struct AttentionWarp {
  int lane;
  int m;   // first row of the warp in the tile
  int kv;  // index among the warps that share the KV range

  __device__ __forceinline__ AttentionWarp() {
    const int warp = threadIdx.x / 32;
    lane = threadIdx.x % 32;
    m = warp % Tile::kWarpsM * (16 * Tile::kBlocksM);
    kv = warp / Tile::kWarpsM;
  }

  // Row in the tile of the accumulators 2 * half and 2 * half + 1 of a block.
  __device__ __forceinline__ int row(int block, int half) const {
    return m + 16 * block + 8 * half + lane / 4;
  }

  // Slot in the tile of accumulator `value` (0 or 1 of a half) of a block of eight.
  __device__ __forceinline__ int slot(int block, int value) const {
    return kv * Tile::kWarpKv + 8 * block + lane % 4 * 2 + value;
  }
};

}  // namespace edge_llm
