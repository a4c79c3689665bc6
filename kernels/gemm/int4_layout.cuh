// Sizes and addresses that the INT4 kernels share.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_gemm_params.h"

namespace edge_llm {

constexpr int kGroupSize = 128;  // weights along k that share one scale

// The units [first, last) of k that split `split` of `splits` covers, out of `units`: as even as
// whole units allow, and never empty while splits <= units.
struct SplitRange {
  int first;
  int last;
};

__device__ __forceinline__ SplitRange split_range(int units, int split, int splits) {
  const int64_t wide_units = units;  // units * splits stays within 64 bits
  return {static_cast<int>(wide_units * split / splits),
          static_cast<int>(wide_units * (split + 1) / splits)};
}

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

// Bytes from the start of the packed weights to the 16 bytes that hold channel `n` at
// k = 64 * tile + 32 * half + [0, 32). 64 bits: n * k passes 2^31 for large vocabularies.
__device__ __forceinline__ int64_t packed_offset(int n, int tile, int half, int k) {
  return static_cast<int64_t>(n / 4) * k * 2 + tile * 128 + (n % 4) * 32 + half * 16;
}

// Bytes from the start of a line in shared memory to its chunk of 16 bytes. Chunk c of line l moves
// to c ^ l % 8: eight lines have the same chunk in eight different columns of 16 bytes, that is in
// all 32 banks. It is the 128-byte swizzle of wgmma too.
__device__ __forceinline__ int swizzled_chunk(int line, int chunk) {
  return (chunk ^ (line % 8)) * 16;
}

}  // namespace edge_llm
