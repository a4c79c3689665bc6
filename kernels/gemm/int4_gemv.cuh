// INT4 groupwise GEMV: y = x * w^T for few rows of x, bound by the reading of the weights.
//
// The weights are the A operand of mma.m16n8k16 (16 output channels), and the rows of x are the B
// operand (8 columns). A product may sum its k in any order that both operands agree on, so lane
// 4 g + q takes of each quantization group of 128 the 32 consecutive k = 32 q + [0, 32):
//
//               q = 0      q = 1      q = 2      q = 3
//   channel g   [16 bytes] [16 bytes] [16 bytes] [16 bytes]    packed weights
//   row g of x  [64 bytes] [64 bytes] [64 bytes] [64 bytes]    FP16, four loads each
//
// Word s of the 16 bytes holds the pairs k = 8 a + 2 s, a = 0..3, and register 4 a + s of x the
// same pairs. A product takes the pairs (a, s) and (a, s + 1), s even: of x these are neighbours in
// what one load returns, as the instruction wants its B operand. Eight products cover the group:
// to fragments with no shuffle and no move. The codes are exact in FP16 and the scale is applied to
// the FP32 sum of a group, so nothing is rounded but sums, and y.
//
// CTAs stay, and take one tile of n after the other. Weights flow through rings in shared memory,
// one of each warp, that do not run dry from one tile to the next and need no registers for what is
// under way.
//
// kWarpsK warps of a CTA take the groups of its k range in turns, and their sums are added in warp
// order through shared memory at the end of a tile: the same bits each time.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_dequantize.cuh"
#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/gemm/int4_layout.cuh"
#include "kernels/gemm/int4_store.cuh"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ld_global.cuh"
#include "kernels/ptx/ld_shared.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/shared_address.cuh"

namespace edge_llm {

// kM: rows of x, 8 or 16.
// kBlocks: blocks of 16 channels of one warp; they share the loads of x.
// kWarpsN: warps side by side along n; they read the same x, from L1 after the first.
// kWarpsK: warps that share the k range.
// kStages: groups of one warp in its ring.
template <int kM_, int kBlocks_, int kWarpsN_, int kWarpsK_, int kStages_>
struct Int4GemvTile {
  static constexpr int kM = kM_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kWarpsK = kWarpsK_;
  static constexpr int kStages = kStages_;
  static constexpr int kRowBlocks = kM / 8;
  static constexpr int kWarpTileN = 16 * kBlocks;
  static constexpr int kTileN = kWarpTileN * kWarpsN;
  static constexpr int kThreads = 32 * kWarpsN * kWarpsK;
  // A stage of a ring: the codes of one group, then a scale per channel.
  static constexpr int kCodeBytes = kWarpTileN * kGroupSize / 2;
  static constexpr int kStageBytes = kCodeBytes + kWarpTileN * 2;
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kRingsBytes = kThreads / 32 * kRingBytes;
  // One row of sums in shared memory. The padding of 4 floats puts the rows 2 q of the four q of a
  // warp 8 banks apart, so that the warp's 32 stores hit 32 banks.
  static constexpr int kSumStride = kTileN + 4;
  static constexpr int kSums = kWarpsK * kM * kSumStride;
  // Two buffers of sums: one is filled while the other is still read.
  static constexpr int kSharedBytes = kRingsBytes + 2 * kSums * 4;

  static_assert(kM % 8 == 0, "not whole columns of a product");
  static_assert(kStages >= 2, "a group loads while another is in use");
};

// What one CTA computes: every gridDim.x-th tile of n, and of k the groups [first, last), in turns
// of kWarpsK.
template <class Tile>
struct Int4GemvWork {
  int tiles;
  SplitRange groups;
  int turns;

  __device__ __forceinline__ explicit Int4GemvWork(const Int4GemmParams& params)
      : tiles((params.n + Tile::kTileN - 1) / Tile::kTileN),
        groups(split_range((params.k + kGroupSize - 1) / kGroupSize, blockIdx.y, params.splits)),
        turns((groups.last - groups.first + Tile::kWarpsK - 1) / Tile::kWarpsK) {}
};

// Where one lane of one warp works.
struct Int4GemvLane {
  int lane;
  int g;
  int q;
  int warp_n;
  int warp_k;

  template <class Tile>
  static __device__ __forceinline__ Int4GemvLane of() {
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    return {lane, lane / 4, lane % 4, warp % Tile::kWarpsN, warp / Tile::kWarpsN};
  }
};

// Where 8 channels of a group lie in a stage: chunk c = 8 t + 2 r + h of two packed lines (see
// int4_dequantize.cuh). Lane 4 g + q reads t = q / 2, h = q % 2, and the XOR puts what eight
// neighbouring lanes read into eight different columns of 16 bytes, that is in all 32 banks.
__device__ __forceinline__ int code_offset(int line, int chunk) {
  return line * 2 * kGroupSize + (chunk ^ (chunk & 8) / 2) * 16;
}

// The ring of one warp: its groups pass in the order of its work.
template <class Tile>
class Int4GemvRing {
 public:
  __device__ __forceinline__ Int4GemvRing(const Int4GemmParams& params,
                                          const Int4GemvWork<Tile>& work, const Int4GemvLane& place,
                                          uint32_t ring)
      : params_(params), work_(work), place_(place), ring_(ring), tile_(blockIdx.x) {}

  // Starts the first loads; from then on each pop() starts another.
  __device__ __forceinline__ void fill() {
#pragma unroll
    for (int stage = 0; stage < Tile::kStages - 1; ++stage) push();
  }

  // The stage of the next group. All lanes have it; what they read of the one before is lost.
  __device__ __forceinline__ uint32_t pop() {
    ptx::cp_async_wait_group<Tile::kStages - 2>();
    __syncwarp();
    push();
    const uint32_t stage = ring_ + read_ * Tile::kStageBytes;
    read_ = read_ == Tile::kStages - 1 ? 0 : read_ + 1;
    return stage;
  }

 private:
  // One commit per group, even where nothing is left to load: then "all but the newest
  // kStages - 2 groups have landed" means the same group every time.
  __device__ __forceinline__ void push() {
    if (tile_ < work_.tiles) {
      load(ring_ + write_ * Tile::kStageBytes,
           tile_ * Tile::kTileN + place_.warp_n * Tile::kWarpTileN,
           work_.groups.first + turn_ * Tile::kWarpsK + place_.warp_k);
      if (++turn_ == work_.turns) {
        turn_ = 0;
        tile_ += gridDim.x;
      }
    }
    ptx::cp_async_commit_group();
    write_ = write_ == Tile::kStages - 1 ? 0 : write_ + 1;
  }

  // Neighbouring lanes copy neighbouring chunks, so that every request is a whole line of memory.
  // What lies past n or past the end of k is not read and zero, and so is its product.
  __device__ __forceinline__ void load(uint32_t stage, int first_n, int group) const {
    const bool group_valid = group < work_.groups.last;
    const int line = place_.lane / 16;
    const int chunk = place_.lane % 16;
    const bool k_valid = group_valid && group * kGroupSize + chunk / 8 * 64 < params_.k;
    const int n = first_n + 4 * line;
    const char* codes = static_cast<const char*>(params_.weights) +
                        packed_offset(n, 0, 0, params_.k) +
                        static_cast<int64_t>(group) * (2 * kGroupSize) + chunk * 16;
#pragma unroll
    for (int channel = 0; channel < Tile::kWarpTileN; channel += 8) {
      ptx::cp_async_cg_16(stage + channel * (kGroupSize / 2) + code_offset(line, chunk),
                          codes + packed_offset(channel, 0, 0, params_.k),
                          k_valid && n + channel < params_.n);
    }
    if (place_.lane >= Tile::kWarpTileN / 4) return;
    const int scale_n = first_n + 4 * place_.lane;
    ptx::cp_async_ca_8(stage + Tile::kCodeBytes + 8 * place_.lane,
                       static_cast<const char*>(params_.scales) +
                           (static_cast<int64_t>(group) * params_.n + scale_n) * 2,
                       group_valid && scale_n < params_.n);
  }

  const Int4GemmParams& params_;
  const Int4GemvWork<Tile>& work_;
  const Int4GemvLane& place_;
  const uint32_t ring_;
  int tile_;  // of the next group to load
  int turn_ = 0;
  int write_ = 0;
  int read_ = 0;
};

// What one lane holds of one group of x: row g of each block of eight, [a][s].
template <class Tile>
using Int4GemvRows = uint32_t[Tile::kRowBlocks][4][4];

// Where one lane reads x.
template <class Tile>
class Int4GemvRowSource {
 public:
  __device__ __forceinline__ Int4GemvRowSource(const Int4GemmParams& params,
                                               const Int4GemvWork<Tile>& work,
                                               const Int4GemvLane& place)
      : k_((work.groups.first + place.warp_k) * kGroupSize + 32 * place.q),
        end_k_(min(work.groups.last * kGroupSize, params.k)) {
    // Lanes of rows past the last one read the last one again: what comes of it is not stored, and
    // a second reader of the same bytes costs nothing.
#pragma unroll
    for (int block = 0; block < Tile::kRowBlocks; ++block) {
      const int64_t row = min(8 * block + place.g, params.m - 1);
      rows_[block] = static_cast<const char*>(params.x) + (row * params.k + k_) * 2;
    }
  }

  // Zeros past the end of k. A last group of 64 ends inside a group: lanes with q >= 2 hold zeros.
  __device__ __forceinline__ void load(int turn, Int4GemvRows<Tile>& x) const {
    const int distance = turn * Tile::kWarpsK * kGroupSize;
    const bool valid = k_ + distance < end_k_;
#pragma unroll
    for (int block = 0; block < Tile::kRowBlocks; ++block) {
#pragma unroll
      for (int a = 0; a < 4; ++a) {
        ptx::ld_global_nc_v4(x[block][a], rows_[block] + distance * 2 + 16 * a, valid);
      }
    }
  }

 private:
  const int k_;
  const int end_k_;
  const char* rows_[Tile::kRowBlocks];
};

// Of each block of 16 channels and 8 rows: channels {g, g + 8}, rows 2 q + {0, 1}.
template <class Tile>
using Int4GemvSums = float[Tile::kBlocks][Tile::kRowBlocks][4];

__device__ __forceinline__ uint32_t word_of(const uint4& words, int index) {
  return index == 0 ? words.x : index == 1 ? words.y : index == 2 ? words.z : words.w;
}

// sums += the products of a group, FP32.
template <class Tile>
__device__ __forceinline__ void multiply_group(uint32_t stage, const Int4GemvLane& place,
                                               const Int4GemvRows<Tile>& x,
                                               Int4GemvSums<Tile>& sums) {
  const uint32_t codes =
      stage + code_offset(place.g / 4, 8 * (place.q / 2) + 2 * (place.g % 4) + place.q % 2);
  const uint32_t scales = stage + Tile::kCodeBytes + 2 * place.g;
  uint4 words[Tile::kBlocks][2];  // channels g and g + 8
#pragma unroll
  for (int block = 0; block < Tile::kBlocks; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      words[block][half] = ptx::ld_shared_v4(codes + (16 * block + 8 * half) * (kGroupSize / 2));
    }
  }
  Int4GemvSums<Tile> products = {};
#pragma unroll
  for (int s = 0; s < 4; s += 2) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // pairs a = 2 half + {0, 1}
#pragma unroll
      for (int block = 0; block < Tile::kBlocks; ++block) {
        uint32_t upper[2][2];  // channel g: [s][a]
        uint32_t lower[2][2];  // channel g + 8
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          dequantize(word_of(words[block][0], s + i) >> (8 * half), upper[i]);
          dequantize(word_of(words[block][1], s + i) >> (8 * half), lower[i]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int a = 2 * half + i;
          const uint32_t fragment[4] = {upper[0][i], lower[0][i], upper[1][i], lower[1][i]};
#pragma unroll
          for (int rows = 0; rows < Tile::kRowBlocks; ++rows) {
            ptx::mma_m16n8k16(products[block][rows], fragment, x[rows][a][s], x[rows][a][s + 1]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int block = 0; block < Tile::kBlocks; ++block) {
    const float upper_scale = ptx::cvt_f32_f16(ptx::ld_shared_u16(scales + 32 * block));
    const float lower_scale = ptx::cvt_f32_f16(ptx::ld_shared_u16(scales + 32 * block + 16));
#pragma unroll
    for (int rows = 0; rows < Tile::kRowBlocks; ++rows) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[block][rows][i] += (i < 2 ? upper_scale : lower_scale) * products[block][rows][i];
      }
    }
  }
}

template <class Tile>
__device__ __forceinline__ void share_sums(const Int4GemvLane& place,
                                           const Int4GemvSums<Tile>& sums, float* shared_sums) {
  float* const first = shared_sums + place.warp_k * Tile::kM * Tile::kSumStride +
                       place.warp_n * Tile::kWarpTileN + place.g;
#pragma unroll
  for (int block = 0; block < Tile::kBlocks; ++block) {
#pragma unroll
    for (int rows = 0; rows < Tile::kRowBlocks; ++rows) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = 8 * rows + 2 * place.q + i % 2;
        first[row * Tile::kSumStride + 16 * block + 8 * (i / 2)] = sums[block][rows][i];
      }
    }
  }
}

// Adds the sums of the warps along k and stores them.
template <class Tile>
__device__ __forceinline__ void store_sums(const Int4GemmParams& params, int first_n,
                                           const float* shared_sums) {
  // Neighbouring threads take neighbouring pairs of channels.
  constexpr int kPairs = Tile::kM * Tile::kTileN / 2;
  for (int pair = threadIdx.x; pair < kPairs; pair += Tile::kThreads) {
    const int row = pair / (Tile::kTileN / 2);
    const int channel = pair % (Tile::kTileN / 2) * 2;
    if (row >= params.m || first_n + channel >= params.n) continue;
    float2 total = {0.0f, 0.0f};
#pragma unroll
    for (int warp = 0; warp < Tile::kWarpsK; ++warp) {
      const float2 sum = *reinterpret_cast<const float2*>(
          shared_sums + (warp * Tile::kM + row) * Tile::kSumStride + channel);
      total.x += sum.x;
      total.y += sum.y;
    }
    PairStore(params, blockIdx.y, row, first_n + channel).store(0, total.x, total.y);
  }
}

// Grid: (CTAs that share the tiles of n, splits). Without splits y is written, else
// partials[blockIdx.y].
template <class Tile>
__device__ __forceinline__ void int4_gemv(const Int4GemmParams& params) {
  extern __shared__ __align__(128) unsigned char shared[];
  const Int4GemvWork<Tile> work(params);
  const Int4GemvLane place = Int4GemvLane::of<Tile>();
  Int4GemvRing<Tile> ring(params, work, place,
                          ptx::shared_address(shared) + threadIdx.x / 32 * Tile::kRingBytes);
  const Int4GemvRowSource<Tile> source(params, work, place);
  float* shared_sums = reinterpret_cast<float*>(shared + Tile::kRingsBytes);
  float* other_sums = shared_sums + Tile::kSums;

  ptx::griddepcontrol_wait();
  ptx::griddepcontrol_launch_dependents();
  ring.fill();
  // x of the even and of the odd turns. Where there are no others it serves all tiles.
  Int4GemvRows<Tile> x[2];
  source.load(0, x[0]);
  source.load(1, x[1]);

#pragma unroll 1
  for (int tile = blockIdx.x; tile < work.tiles; tile += gridDim.x) {
    Int4GemvSums<Tile> sums = {};
#pragma unroll 1
    for (int even = 0; even < work.turns; even += 2) {
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int turn = even + odd;
        if (turn >= work.turns) break;
        multiply_group<Tile>(ring.pop(), place, x[odd], sums);
        if (work.turns > 2) source.load(turn + 2 < work.turns ? turn + 2 : odd, x[odd]);
      }
    }
    share_sums<Tile>(place, sums, shared_sums);
    __syncthreads();
    store_sums<Tile>(params, tile * Tile::kTileN, shared_sums);
    float* const filled = shared_sums;
    shared_sums = other_sums;
    other_sums = filled;
  }
}

}  // namespace edge_llm
