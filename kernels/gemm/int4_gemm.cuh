// INT4 groupwise GEMM: y[m, n] = x[m, k] * w[n, k]^T, FP16 in and out, FP32 accumulation.
//
// x is the A operand and the weights the B operand of mma.m16n8k16. Both travel from global to
// shared memory by cp.async, kStages tiles of k ahead. The weights stay packed until they are
// in registers: a 16-byte chunk holds one channel for 32 k (int4_dequantize.cuh), and an 8 x 8
// matrix of ldmatrix is 8 rows of 16 bytes, so ldmatrix.x4 hands the chunks of 32 channels to a
// warp, each lane the very word whose four pairs are its B fragments of two k16 steps. A warp loads
// a chunk from shared memory in the middle of the one before: while it waits at the barrier of a
// stage, and for what it has loaded, the matrix unit has work.
//
// Warps share a tile along n first (each weight is dequantized once), then along k (small tiles:
// more warps to hide latency, their sums are added at the end, always in the same order), and along
// m only where the accumulators of a tile need it.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_dequantize.cuh"
#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/gemm/int4_layout.cuh"
#include "kernels/gemm/int4_store.cuh"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ld_shared.cuh"
#include "kernels/ptx/ldmatrix.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/shared_address.cuh"

namespace edge_llm {

template <int kTileM_, int kTileN_, int kTileK_, int kStages_, int kWarpsM_, int kWarpsN_,
          int kWarpsK_>
struct Int4GemmTile {
  static constexpr int kTileM = kTileM_;
  static constexpr int kTileN = kTileN_;
  static constexpr int kTileK = kTileK_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarpsM = kWarpsM_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kWarpsK = kWarpsK_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN * kWarpsK;

  // One warp computes kBlocksM x kBlocksN products of m16n8.
  static constexpr int kWarpTileM = kTileM / kWarpsM;
  static constexpr int kWarpTileN = kTileN / kWarpsN;
  static constexpr int kBlocksM = kWarpTileM / 16;
  static constexpr int kBlocksN = kWarpTileN / 8;

  // Of each tile of k a warp takes kWarpChunks neighbouring chunks of 32.
  static constexpr int kWarpChunks = kTileK / 32 / kWarpsK;

  // Shared memory of one stage: x [kTileM][kTileK] f16, packed weights [kTileN / 4][kTileK] of
  // 16-bit words, scales [kTileN] f16.
  static constexpr int kXBytes = kTileM * kTileK * 2;
  static constexpr int kWeightBytes = kTileN * kTileK / 2;
  static constexpr int kStageBytes = kXBytes + kWeightBytes + kTileN * 2;
  // After the last stage the same memory carries the sums of the warps along k.
  static constexpr int kSumBytes = (kWarpsK - 1) * kTileM * kTileN * 4;
  static constexpr int kSharedBytes =
      kStages * kStageBytes > kSumBytes ? kStages * kStageBytes : kSumBytes;

  static_assert(kTileK == 64 || kTileK == 128, "a tile of k lies in one quantization group");
  static_assert(kTileK / 32 % kWarpsK == 0, "a warp takes whole chunks of 32 k");
  static_assert(kWarpTileM % 16 == 0 && kWarpTileN % 8 == 0, "not whole fragments");
};

// Both operands lie in memory as lines of k 16-bit words: x has m of them, and the packed weights
// n / 4, one per four channels (int4_dequantize.cuh). A tile takes 16-byte chunks of its lines,
// chunk c = k / 8 of x, and chunk c = 8 t + 2 r + h of the weights.
//
// In shared memory the lines are swizzled. Of x an 8 x 8 matrix reads the same chunk of eight
// lines. Of the weights it reads the chunks h, 2 + h, 4 + h, 6 + h of two lines, and as one line is
// even and the other odd, their columns have opposite parity.
template <class Tile>
__device__ __forceinline__ int chunk_offset(int line, int chunk) {
  return line * (Tile::kTileK * 2) + swizzled_chunk(line, chunk);
}

// Copies the tiles of k of one operand, kLines lines each, one after the other.
template <class Tile, int kLines>
class Int4GemmOperand {
 public:
  __device__ __forceinline__ Int4GemmOperand(const void* matrix, int first_line, int lines, int k)
      : first_line_(threadIdx.x / kLineChunks),
        chunk_(threadIdx.x % kLineChunks),
        lines_left_(lines - first_line),
        k_(k) {
    const int64_t line = first_line + first_line_;
    source_ = static_cast<const char*>(matrix) + (line * k + 8 * chunk_) * 2;
  }

  // Whatever lies past the last line or past k is filled with zeros, unread.
  __device__ __forceinline__ void load(uint32_t target, int k_tile) const {
    const bool k_valid = k_tile * Tile::kTileK + 8 * chunk_ < k_;
    const char* source = source_ + static_cast<int64_t>(k_tile) * (Tile::kTileK * 2);
    target += chunk_offset<Tile>(first_line_, chunk_);
#pragma unroll
    for (int line = 0; line < kLines; line += kThreadLines) {
      if (line + kThreadLines <= kLines || first_line_ + line < kLines) {
        ptx::cp_async_cg_16(target + line * (Tile::kTileK * 2),
                            source + static_cast<int64_t>(line) * k_ * 2,
                            k_valid && first_line_ + line < lines_left_);
      }
    }
  }

 private:
  static constexpr int kLineChunks = Tile::kTileK / 8;
  // All threads together copy kThreadLines lines at a time, so that a thread keeps its chunk, and
  // because this is a multiple of 8 also its place in the swizzle. The last time may be for some.
  static constexpr int kThreadLines = Tile::kThreads / kLineChunks;
  static_assert(kThreadLines % 8 == 0, "a thread would change its place in the swizzle");

  const char* source_;
  int first_line_;
  int chunk_;
  int lines_left_;
  int k_;
};

// Copies the scales of a tile; n % 4 == 0 aligns a row of them to 8 bytes, no more.
template <class Tile>
__device__ __forceinline__ void load_scales(const Int4GemmParams& params, uint32_t target,
                                            int first_n, int k_tile) {
  static_assert(Tile::kTileN / 4 <= Tile::kThreads, "one copy per thread");
  if (threadIdx.x >= Tile::kTileN / 4) return;
  const unsigned n = first_n + 4 * threadIdx.x;
  const unsigned group = k_tile * Tile::kTileK / kGroupSize;
  ptx::cp_async_ca_8(
      target + 8 * threadIdx.x,
      static_cast<const char*>(params.scales) + (static_cast<int64_t>(group) * params.n + n) * 2,
      n < static_cast<unsigned>(params.n) && group * kGroupSize < params.k);
}

// Copies tiles of k into the stages.
template <class Tile>
struct Int4GemmLoader {
  const Int4GemmParams& params;
  int first_n;
  Int4GemmOperand<Tile, Tile::kTileM> x;
  Int4GemmOperand<Tile, Tile::kTileN / 4> weights;

  __device__ __forceinline__ Int4GemmLoader(const Int4GemmParams& params, TileCoordinates first)
      : params(params),
        first_n(first.n),
        x(params.x, first.m, params.m, params.k),
        weights(params.weights, first.n / 4, params.n / 4, params.k) {}

  __device__ __forceinline__ void load(uint32_t stage, int k_tile) const {
    x.load(stage, k_tile);
    weights.load(stage + Tile::kXBytes, k_tile);
    load_scales<Tile>(params, stage + Tile::kXBytes + Tile::kWeightBytes, first_n, k_tile);
  }
};

// Where one lane of one warp works.
template <class Tile>
struct Int4GemmWarp {
  int lane;
  int m;  // first row and channel of the warp in the tile
  int n;
  int k;  // index among the warps that share k

  __device__ __forceinline__ Int4GemmWarp() {
    const int warp = threadIdx.x / 32;
    lane = threadIdx.x % 32;
    n = warp % Tile::kWarpsN * Tile::kWarpTileN;
    m = warp / Tile::kWarpsN % Tile::kWarpsM * Tile::kWarpTileM;
    k = warp / (Tile::kWarpsN * Tile::kWarpsM);
  }
};

template <class Tile>
using Int4GemmSums = float[Tile::kBlocksM][Tile::kBlocksN][4];

// What a lane holds of 32 k of its warp's channels.
template <class Tile>
struct Int4GemmChunk {
  static constexpr int kQuads = (Tile::kBlocksN + 3) / 4;

  uint32_t words[kQuads][4];        // one per block of 8 channels
  uint32_t scales[Tile::kBlocksN];  // of channel lane / 4 of each block, twice

  // The warp's chunk `turn` of a stage; the others there have the scales of the first.
  __device__ __forceinline__ void load(uint32_t stage, const Int4GemmWarp<Tile>& warp, int turn) {
    const uint32_t weights = stage + Tile::kXBytes;
    const int chunk_k = warp.k * Tile::kWarpChunks + turn;
    const int row = warp.lane % 8;  // of the 8 x 8 matrix whose row this lane addresses
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      // A last quad of fewer blocks has the last one more than once.
      const int block = min(4 * quad + warp.lane / 8, Tile::kBlocksN - 1);
      const int chunk = chunk_k / 2 * 8 + row % 4 * 2 + chunk_k % 2;
      const int line = (warp.n + 8 * block + row) / 4;
      ptx::ldmatrix_x4(words[quad], weights + chunk_offset<Tile>(line, chunk));
    }
    if (turn > 0) return;
    const uint32_t first = weights + Tile::kWeightBytes + (warp.n + warp.lane / 4) * 2;
#pragma unroll
    for (int block = 0; block < Tile::kBlocksN; ++block) {
      scales[block] = ptx::mov_f16x2(ptx::ld_shared_u16(first + 16 * block));
    }
  }
};

// The warp's rows of x for 16 k: the A fragments.
template <class Tile>
struct Int4GemmRows {
  uint32_t a[Tile::kBlocksM][4];

  // Those of k16 step `step` of the warp's chunk `turn` of a stage.
  __device__ __forceinline__ void load(uint32_t stage, const Int4GemmWarp<Tile>& warp, int turn,
                                       int step) {
    const int row = warp.lane % 8;
    const int matrix = warp.lane / 8;
    const int chunk = 4 * (warp.k * Tile::kWarpChunks + turn) + 2 * step + matrix / 2;
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
      const int line = warp.m + 16 * block + 8 * (matrix % 2) + row;
      ptx::ldmatrix_x4(a[block], stage + chunk_offset<Tile>(line, chunk));
    }
  }
};

// sums += the product of k16 step `step` of a chunk.
template <class Tile>
__device__ __forceinline__ void multiply_step(const Int4GemmRows<Tile>& rows,
                                              const Int4GemmChunk<Tile>& chunk, int step,
                                              Int4GemmSums<Tile>& sums) {
#pragma unroll
  for (int block_n = 0; block_n < Tile::kBlocksN; ++block_n) {
    uint32_t b[2];
    dequantize(chunk.words[block_n / 4][block_n % 4] >> (8 * step), b);
    b[0] = ptx::mul_f16x2(b[0], chunk.scales[block_n]);
    b[1] = ptx::mul_f16x2(b[1], chunk.scales[block_n]);
#pragma unroll
    for (int block_m = 0; block_m < Tile::kBlocksM; ++block_m) {
      ptx::mma_m16n8k16(sums[block_m][block_n], rows.a[block_m], b[0], b[1]);
    }
  }
}

// sums += the product of a range of tiles of k, one or more.
template <class Tile>
__device__ __forceinline__ void multiply_tiles(uint32_t shared, const Int4GemmLoader<Tile>& loader,
                                               const SplitRange& range,
                                               const Int4GemmWarp<Tile>& warp,
                                               Int4GemmSums<Tile>& sums) {
  // An empty range copies a tile too: what comes of it is not used.
  const int end = max(range.last, range.first + 1);
  // One commit per tile, even where nothing is left to load: then "all but the newest
  // kStages - 1 groups have landed" means the same tile in every iteration.
#pragma unroll
  for (int stage = 0; stage < Tile::kStages; ++stage) {
    if (range.first + stage < end) {
      loader.load(shared + stage * Tile::kStageBytes, range.first + stage);
    }
    ptx::cp_async_commit_group();
  }
  ptx::cp_async_wait_group<Tile::kStages - 1>();
  __syncthreads();

  Int4GemmChunk<Tile> chunk;
  Int4GemmRows<Tile> rows;
  chunk.load(shared, warp, 0);
  rows.load(shared, warp, 0, 0);
  int stage = 0;
  // An even number of chunks, so that a chunk and the next one keep their registers.
  constexpr int kUnroll = Tile::kWarpChunks % 2 == 0 ? 1 : 2;
#pragma unroll kUnroll
  for (int k_tile = range.first; k_tile < range.last; ++k_tile) {
    const uint32_t here = shared + stage * Tile::kStageBytes;
    // Behind the last tile it is loaded once more, for nothing.
    if (k_tile + 1 < range.last) stage = stage == Tile::kStages - 1 ? 0 : stage + 1;
    const uint32_t next = shared + stage * Tile::kStageBytes;
#pragma unroll
    for (int turn = 0; turn < Tile::kWarpChunks; ++turn) {
      Int4GemmChunk<Tile> next_chunk = chunk;
      Int4GemmRows<Tile> second_rows;
      second_rows.load(here, warp, turn, 1);
      multiply_step<Tile>(rows, chunk, 0, sums);
      if (turn + 1 < Tile::kWarpChunks) {
        next_chunk.load(here, warp, turn + 1);
        rows.load(here, warp, turn + 1, 0);
      } else {
        ptx::cp_async_wait_group<Tile::kStages - 2>();
        __syncthreads();  // the next tile is there for all, and all have read this one
        const int ahead = k_tile + Tile::kStages;
        if (ahead < end) loader.load(here, ahead);
        ptx::cp_async_commit_group();
        next_chunk.load(next, warp, 0);
        rows.load(next, warp, 0, 0);
      }
      multiply_step<Tile>(second_rows, chunk, 1, sums);
      chunk = next_chunk;
    }
  }
}

// Of the fragments of a tile each of its warps along k adds up and stores its share.
template <class Tile>
__device__ __forceinline__ bool is_share(const Int4GemmWarp<Tile>& warp, int block) {
  return block % Tile::kWarpsK == warp.k;
}

// Adds the sums of the warps along k into the shares of each, its own first and then those of the
// warps behind it. A lane meets its own fragments again, so a row of 32 float4 is free of bank
// conflicts.
template <class Tile>
__device__ __forceinline__ void add_warps_along_k(float4* shared, const Int4GemmWarp<Tile>& warp,
                                                  Int4GemmSums<Tile>& sums) {
  constexpr int kBlocks = Tile::kBlocksM * Tile::kBlocksN;
  constexpr int kTileWarps = Tile::kWarpsM * Tile::kWarpsN;
  float4* const fragments = shared + threadIdx.x / 32 % kTileWarps * kBlocks * 32 + warp.lane;
  const auto fragment = [&](int behind, int block) -> float4& {
    return fragments[((behind - 1) * kTileWarps * kBlocks + block) * 32];
  };
  __syncthreads();  // the stages have been read
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    if (is_share(warp, block)) continue;
    const float* sum = sums[block / Tile::kBlocksN][block % Tile::kBlocksN];
    // How far this warp is behind the one that adds, in a circle.
    const int behind = (warp.k + Tile::kWarpsK - block % Tile::kWarpsK) % Tile::kWarpsK;
    fragment(behind, block) = {sum[0], sum[1], sum[2], sum[3]};
  }
  __syncthreads();
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    if (!is_share(warp, block)) continue;
    float* sum = sums[block / Tile::kBlocksN][block % Tile::kBlocksN];
#pragma unroll
    for (int behind = 1; behind < Tile::kWarpsK; ++behind) {
      const float4 part = fragment(behind, block);
      sum[0] += part.x;
      sum[1] += part.y;
      sum[2] += part.z;
      sum[3] += part.w;
    }
  }
}

template <class Tile>
__device__ __forceinline__ void store_tile(const Int4GemmParams& params, TileCoordinates first,
                                           const Int4GemmWarp<Tile>& warp,
                                           const Int4GemmSums<Tile>& sums) {
  const int first_n = first.n + warp.n + warp.lane % 4 * 2;
#pragma unroll
  for (int block_m = 0; block_m < Tile::kBlocksM; ++block_m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = first.m + warp.m + 16 * block_m + 8 * half + warp.lane / 4;
      if (m >= params.m) continue;
      const PairStore row(params, blockIdx.y, m, first_n);
#pragma unroll
      for (int block_n = 0; block_n < Tile::kBlocksN; ++block_n) {
        if (first_n + 8 * block_n >= params.n) continue;
        if (!is_share(warp, block_m * Tile::kBlocksN + block_n)) continue;
        const float* sum = sums[block_m][block_n];
        row.store(8 * block_n, sum[2 * half], sum[2 * half + 1]);
      }
    }
  }
}

// Grid: (tiles of m * tiles of n, splits). Without splits y is written, else partials[blockIdx.y].
template <class Tile>
__device__ __forceinline__ void int4_gemm(const Int4GemmParams& params) {
  extern __shared__ __align__(128) unsigned char shared_stages[];
  ptx::griddepcontrol_wait();
  ptx::griddepcontrol_launch_dependents();
  const uint32_t shared = ptx::shared_address(shared_stages);

  const Int4GemmWarp<Tile> warp;
  const TileCoordinates first = tile_coordinates<Tile>(params);
  const Int4GemmLoader<Tile> loader(params, first);
  const int k_tiles = (params.k + Tile::kTileK - 1) / Tile::kTileK;
  const SplitRange range = split_range(k_tiles, blockIdx.y, params.splits);

  Int4GemmSums<Tile> sums = {};
  multiply_tiles<Tile>(shared, loader, range, warp, sums);
  if constexpr (Tile::kWarpsK > 1) {
    add_warps_along_k<Tile>(reinterpret_cast<float4*>(shared_stages), warp, sums);
  }
  store_tile<Tile>(params, first, warp, sums);
}

}  // namespace edge_llm
