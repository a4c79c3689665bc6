// What a CTA of the attention kernels holds: rows of Q, and tiles of K and V that pass by.
//
// A row is one (token, Q head). Warps share a tile along its rows first; where there are few rows,
// along the KV range too, and their results are merged at the end.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/prefetch.cuh"

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
  static constexpr bool kWgmma = false;               // AttentionWgmmaTile

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

// A tile whose products are those of warpgroups (attention_wgmma.cuh): four warps with 16 rows each
// are one.
template <class Base>
struct AttentionWgmmaTile : Base {
  static constexpr bool kWgmma = true;
  static constexpr int kWarpgroups = Base::kThreads / 128;

  // Behind all else the AttentionBarriers.
  static constexpr int kBarrierOffset = Base::kSharedBytes;
  static constexpr int kSharedBytes = Base::kSharedBytes + 8 * (Base::kStages + kWarpgroups);

  static_assert(Base::kBlocksM == 1 && Base::kWarpsM % 4 == 0, "not whole warpgroups");
  static_assert(Base::kHeadSize % 64 == 0, "not whole rows of 128 bytes");
  static_assert(Base::kStages >= 3, "K of a tile is in use along with V of the one before");
};

// Chunk c of row r moves to c ^ (r / kWrapRows % kColumns), so that the eight rows of an 8 x 8
// matrix lie in eight different columns of 16 bytes, that is in all 32 banks. kWrapRows rows in a
// row of memory already lie in different columns (their stride is kColumns columns, or an odd
// multiple of it), and the next ones repeat them: the XOR moves these within a group of kColumns
// chunks, which divides every row, those of 80 and 96 values too.
template <class Tile>
struct AttentionSwizzle {
  static constexpr int kLowestBit = Tile::kHeadChunks & -Tile::kHeadChunks;
  static constexpr int kColumns = kLowestBit < 8 ? kLowestBit : 8;
  static constexpr int kWrapRows = 8 / kColumns;
};

// Of wgmma, blocks of eight rows of 128 bytes: those of the same rows one behind the other.
constexpr int kMatrixBlockBytes = 8 * 128;

template <class Tile>
__device__ __forceinline__ int head_offset(int row, int chunk) {
  using Swizzle = AttentionSwizzle<Tile>;
  if constexpr (Tile::kWgmma) {
    // The compiler sees that rows at a distance of a multiple of 8 differ by a constant.
    return row * Tile::kHeadBytes - row % 8 * (Tile::kHeadBytes - 128) +
           chunk / 8 * kMatrixBlockBytes + (chunk ^ row) % 8 * 16;
  }
  return row * Tile::kHeadBytes + (chunk ^ (row / Swizzle::kWrapRows % Swizzle::kColumns)) * 16;
}

// Address of chunk c + 2 * step of a row, given that of its chunk c < 2: one XOR, the rest is an
// immediate of the load. Rows at a distance of a multiple of 8 have the same swizzle.
template <class Tile>
__device__ __forceinline__ uint32_t step_address(uint32_t address, int step) {
  constexpr int kColumns = AttentionSwizzle<Tile>::kColumns;
  constexpr int kGroupBytes = Tile::kWgmma ? kMatrixBlockBytes : kColumns * 16;
  return (address ^ (2 * step % kColumns * 16)) + 2 * step / kColumns * kGroupBytes;
}

// Calls body(row, chunk) for every 16-byte chunk of kRows heads, by all threads together:
// neighbours in memory by neighbouring threads.
template <class Tile, int kRows, int kUnroll, class Body>
__device__ __forceinline__ void for_each_chunk(const Body& body) {
  constexpr int kChunks = kRows * Tile::kHeadChunks;
  if constexpr (Tile::kThreads % Tile::kHeadChunks == 0) {
    // A thread keeps its chunk, and its rows have constant distances: so do its addresses.
    const int first_row = threadIdx.x / Tile::kHeadChunks;
    const int chunk = threadIdx.x % Tile::kHeadChunks;
#pragma unroll kUnroll
    for (int step = 0; step < kChunks; step += Tile::kThreads) {
      const int row = first_row + step / Tile::kHeadChunks;
      if (kChunks % Tile::kThreads != 0 && row >= kRows) break;
      body(row, chunk);
    }
  } else {
#pragma unroll kUnroll
    for (int first = 0; first < kChunks; first += Tile::kThreads) {
      const unsigned index = first + threadIdx.x;
      if (kChunks % Tile::kThreads != 0 && index >= kChunks) break;
      body(static_cast<int>(index / Tile::kHeadChunks),
           static_cast<int>(index % Tile::kHeadChunks));
    }
  }
}

// Copies kRows heads, one behind the other, to shared memory.
template <class Tile, int kRows>
__device__ __forceinline__ void load_heads(uint32_t target, const char* heads) {
  if constexpr (Tile::kWgmma) {
    // The swizzle of a thread's rows is the same, so both addresses have constant distances. The
    // compiler sees it in the other layout alone.
    constexpr int kStep = Tile::kThreads * 16;  // bytes of all threads
    static_assert(kStep % (8 * Tile::kHeadBytes) == 0 && kRows * Tile::kHeadBytes % kStep == 0,
                  "a thread would change its place in the swizzle");
    target += head_offset<Tile>(threadIdx.x / Tile::kHeadChunks, threadIdx.x % Tile::kHeadChunks);
    heads += threadIdx.x * 16;
#pragma unroll
    for (int i = 0; i < kRows * Tile::kHeadBytes; i += kStep) {
      ptx::cp_async_cg_16(target + i, heads + i);
    }
  } else {
    for_each_chunk<Tile, kRows, kRows>([&](int row, int chunk) {
      ptx::cp_async_cg_16(target + head_offset<Tile>(row, chunk),
                          heads + row * Tile::kHeadBytes + chunk * 16);
    });
  }
}

// Copies kRows heads to shared memory, from head_of(row); zeros, and nothing is read, where that is
// null: the product of a weight 0 and a NaN would be NaN.
template <class Tile, int kRows, int kUnroll, class HeadOf>
__device__ __forceinline__ void gather_heads(uint32_t target, const HeadOf& head_of) {
  for_each_chunk<Tile, kRows, kUnroll>([&](int row, int chunk) {
    const char* head = head_of(row);
    ptx::cp_async_cg_16(target + head_offset<Tile>(row, chunk), head + chunk * 16, head != nullptr);
  });
}

// Asks the L2 for kRows heads, from head_of(row); for none where that is null.
template <class Tile, int kRows, class HeadOf>
__device__ __forceinline__ void prefetch_heads(const HeadOf& head_of) {
  constexpr int kLineBytes = 128;
  constexpr int kLines = (Tile::kHeadBytes + kLineBytes - 1) / kLineBytes;
#pragma unroll 1
  for (int i = threadIdx.x; i < kRows * kLines; i += Tile::kThreads) {
    const char* head = head_of(i / kLines);
    if (head != nullptr) ptx::prefetch_l2(head + i % kLines * kLineBytes);
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
    kv = Tile::kWgmma && Tile::kWarpsKv == 1 ? 0 : warp / Tile::kWarpsM;
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
