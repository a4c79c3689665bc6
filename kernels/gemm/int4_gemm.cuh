// INT4 groupwise GEMM: y[m, n] = x[m, k] * w[n, k]^T, FP16 in and out, FP32 accumulation.
//
// x is the A operand and the weights the B operand of mma.m16n8k16. Both travel from global to
// shared memory by cp.async, kStages - 1 tiles of k ahead. The weights stay packed until they are
// in registers: a 16-byte chunk holds one channel for 32 k (int4_dequantize.cuh), and an 8 x 8
// matrix of ldmatrix is 8 rows of 16 bytes, so ldmatrix.x4 hands the chunks of 32 channels to a
// warp, each lane the very word whose four pairs are its B fragments of two k16 steps.
//
// Warps share a tile along n first (each weight is dequantized once), then along k (small tiles:
// more warps to hide latency, their sums are added in warp order at the end), and along m only
// where the accumulators of a tile need it.
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
  static_assert(kWarpTileM % 16 == 0 && kWarpTileN % 32 == 0, "not whole fragments");
};

// Tiles of m that are walked together, see tile_coordinates.
constexpr int kBandTiles = 16;

struct TileCoordinates {
  int m;  // first row
  int n;  // first channel
};

// CTAs start in the order of blockIdx.x. m runs fastest, so the CTAs that share a tile of weights
// run at the same time and it comes from DRAM once; but only within a band of kBandTiles, so that
// for a long x the part in use (16 * 128 rows) stays in L2 from one tile of n to the next.
template <class Tile>
__device__ __forceinline__ TileCoordinates tile_coordinates(const Int4GemmParams& params) {
  const int tiles_m = (params.m + Tile::kTileM - 1) / Tile::kTileM;
  const int tiles_n = (params.n + Tile::kTileN - 1) / Tile::kTileN;
  const int band = blockIdx.x / (kBandTiles * tiles_n);
  const int in_band = blockIdx.x - band * kBandTiles * tiles_n;
  const int band_tiles = min(kBandTiles, tiles_m - band * kBandTiles);
  return {(band * kBandTiles + in_band % band_tiles) * Tile::kTileM,
          in_band / band_tiles * Tile::kTileN};
}

// Both operands lie in memory as lines of k 16-bit words: x has m of them, and the packed weights
// n / 4, one per four channels (int4_dequantize.cuh). A tile takes 16-byte chunks of its lines,
// chunk c = k / 8 of x, and chunk c = 8 t + 2 r + h of the weights.
//
// In shared memory chunk c of line l moves to c ^ l % 8, so that the eight rows of any 8 x 8 matrix
// lie in eight different columns of 16 bytes, that is in all 32 banks. Of x a matrix reads the same
// chunk of eight lines. Of the weights it reads the chunks h, 2 + h, 4 + h, 6 + h of two
// lines, and as one line is even and the other odd, their columns have opposite parity.
template <class Tile>
__device__ __forceinline__ int chunk_offset(int line, int chunk) {
  return line * (Tile::kTileK * 2) + (chunk ^ (line % 8)) * 16;
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
      ptx::cp_async_cg_16(target + line * (Tile::kTileK * 2),
                          source + static_cast<int64_t>(line) * k_ * 2,
                          k_valid && first_line_ + line < lines_left_);
    }
  }

 private:
  static constexpr int kLineChunks = Tile::kTileK / 8;
  // All threads together copy kThreadLines lines at a time, so that a thread keeps its chunk, and
  // because this is a multiple of 8 also its place in the swizzle.
  static constexpr int kThreadLines = Tile::kThreads / kLineChunks;
  static_assert(kThreadLines % 8 == 0 && kLines % kThreadLines == 0, "not whole passes");

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
  const int n = first_n + 4 * threadIdx.x;
  const int64_t group = k_tile * Tile::kTileK / kGroupSize;
  ptx::cp_async_ca_8(target + 8 * threadIdx.x,
                     static_cast<const char*>(params.scales) + (group * params.n + n) * 2,
                     n < params.n);
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

// sums += the product of one stage, as far as it is this warp's.
template <class Tile>
__device__ __forceinline__ void multiply_stage(uint32_t x, const Int4GemmWarp<Tile>& warp,
                                               Int4GemmSums<Tile>& sums) {
  const uint32_t weights = x + Tile::kXBytes;
  const uint32_t scales = weights + Tile::kWeightBytes;
  const int row = warp.lane % 8;  // of the 8 x 8 matrix whose row this lane addresses
  const int matrix = warp.lane / 8;

  uint32_t scale[Tile::kBlocksN];  // of channel lane / 4 of each block, twice
#pragma unroll
  for (int block = 0; block < Tile::kBlocksN; ++block) {
    scale[block] =
        ptx::mov_f16x2(ptx::ld_shared_u16(scales + (warp.n + 8 * block + warp.lane / 4) * 2));
  }

#pragma unroll
  for (int turn = 0; turn < Tile::kTileK / 32 / Tile::kWarpsK; ++turn) {
    const int chunk_k = turn * Tile::kWarpsK + warp.k;  // which 32 k of the tile

    uint32_t words[Tile::kBlocksN / 4][4];  // one per block of 8 channels
#pragma unroll
    for (int quad = 0; quad < Tile::kBlocksN / 4; ++quad) {
      const int line = (warp.n + 32 * quad + 8 * matrix + row) / 4;
      const int chunk = chunk_k / 2 * 8 + row % 4 * 2 + chunk_k % 2;
      ptx::ldmatrix_x4(words[quad], weights + chunk_offset<Tile>(line, chunk));
    }

#pragma unroll
    for (int step = 0; step < 2; ++step) {  // k16 steps
      uint32_t b[Tile::kBlocksN][2];
#pragma unroll
      for (int block = 0; block < Tile::kBlocksN; ++block) {
        dequantize(words[block / 4][block % 4] >> (8 * step), b[block]);
        b[block][0] = ptx::mul_f16x2(b[block][0], scale[block]);
        b[block][1] = ptx::mul_f16x2(b[block][1], scale[block]);
      }
#pragma unroll
      for (int block_m = 0; block_m < Tile::kBlocksM; ++block_m) {
        uint32_t a[4];
        const int line = warp.m + 16 * block_m + 8 * (matrix % 2) + row;
        const int chunk = 4 * chunk_k + 2 * step + matrix / 2;
        ptx::ldmatrix_x4(a, x + chunk_offset<Tile>(line, chunk));
#pragma unroll
        for (int block_n = 0; block_n < Tile::kBlocksN; ++block_n) {
          ptx::mma_m16n8k16(sums[block_m][block_n], a, b[block_n][0], b[block_n][1]);
        }
      }
    }
  }
}

// Adds the sums of the warps along k, in their order, into those of warp.k == 0. Each lane meets
// its own fragments again, so a row of 32 float4 is free of bank conflicts.
template <class Tile>
__device__ __forceinline__ void add_warps_along_k(float4* shared, const Int4GemmWarp<Tile>& warp,
                                                  Int4GemmSums<Tile>& sums) {
  constexpr int kBlocks = Tile::kBlocksM * Tile::kBlocksN;
  constexpr int kTileWarps = Tile::kWarpsM * Tile::kWarpsN;
  const int tile_warp = threadIdx.x / 32 % kTileWarps;
  __syncthreads();  // the stages have been read
  if (warp.k > 0) {
    float4* fragments = shared + ((warp.k - 1) * kTileWarps + tile_warp) * kBlocks * 32;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      const float* sum = sums[block / Tile::kBlocksN][block % Tile::kBlocksN];
      fragments[block * 32 + warp.lane] = {sum[0], sum[1], sum[2], sum[3]};
    }
  }
  __syncthreads();
  if (warp.k > 0) return;
#pragma unroll
  for (int other = 0; other < Tile::kWarpsK - 1; ++other) {
    const float4* fragments = shared + (other * kTileWarps + tile_warp) * kBlocks * 32;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      float* sum = sums[block / Tile::kBlocksN][block % Tile::kBlocksN];
      const float4 fragment = fragments[block * 32 + warp.lane];
      sum[0] += fragment.x;
      sum[1] += fragment.y;
      sum[2] += fragment.z;
      sum[3] += fragment.w;
    }
  }
}

template <class Tile>
__device__ __forceinline__ void store_tile(const Int4GemmParams& params, TileCoordinates first,
                                           const Int4GemmWarp<Tile>& warp,
                                           const Int4GemmSums<Tile>& sums) {
#pragma unroll
  for (int block_m = 0; block_m < Tile::kBlocksM; ++block_m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = first.m + warp.m + 16 * block_m + 8 * half + warp.lane / 4;
      if (m >= params.m) continue;
#pragma unroll
      for (int block_n = 0; block_n < Tile::kBlocksN; ++block_n) {
        const int n = first.n + warp.n + 8 * block_n + warp.lane % 4 * 2;
        if (n >= params.n) continue;
        store_pair(params, blockIdx.y, m, n, sums[block_m][block_n][2 * half],
                   sums[block_m][block_n][2 * half + 1]);
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

  // One commit per tile, even where nothing is left to load: then "all but the newest
  // kStages - 2 groups have landed" means the same tile in every iteration.
#pragma unroll
  for (int stage = 0; stage < Tile::kStages - 1; ++stage) {
    if (range.first + stage < range.last) {
      loader.load(shared + stage * Tile::kStageBytes, range.first + stage);
    }
    ptx::cp_async_commit_group();
  }

  Int4GemmSums<Tile> sums = {};
  int stage = 0;
#pragma unroll 1  // one tile is enough work to schedule
  for (int k_tile = range.first; k_tile < range.last; ++k_tile) {
    ptx::cp_async_wait_group<Tile::kStages - 2>();
    __syncthreads();  // the tile is there for all, and all have read the stage loaded next
    const int ahead = k_tile + Tile::kStages - 1;
    const int ahead_stage = stage == 0 ? Tile::kStages - 1 : stage - 1;
    if (ahead < range.last) loader.load(shared + ahead_stage * Tile::kStageBytes, ahead);
    ptx::cp_async_commit_group();
    multiply_stage<Tile>(shared + stage * Tile::kStageBytes, warp, sums);
    stage = stage == Tile::kStages - 1 ? 0 : stage + 1;
  }

  if constexpr (Tile::kWarpsK > 1) {
    add_warps_along_k<Tile>(reinterpret_cast<float4*>(shared_stages), warp, sums);
    if (warp.k > 0) return;
  }
  store_tile<Tile>(params, first, warp, sums);
}

}  // namespace edge_llm
