// INT4 groupwise GEMV: y = x * w^T for up to 8 rows of x, bound by the reading of the weights.
//
// The weights are the A operand of mma.m16n8k16 (16 output channels), and the rows of x are the B
// operand (8 columns). A product may sum its k in any order that both operands agree on, so lane
// 4 g + q takes of each quantization group of 128 the 32 consecutive k = 32 q + [0, 32):
//
//               q = 0      q = 1      q = 2      q = 3
//   channel g   [16 bytes] [16 bytes] [16 bytes] [16 bytes]    packed weights, one load each
//   row g of x  [64 bytes] [64 bytes] [64 bytes] [64 bytes]    FP16, four loads each
//
// Word s of the 16 bytes holds the pairs k = 8 a + 2 s, a = 0..3, and register 4 a + s of x the
// same pairs. A product takes the pairs (a, s) and (a, s + 1), s even: of x these are neighbours in
// what one load returns, as the instruction wants its B operand. Eight products cover the group:
// from global memory to fragments with no shared memory, no shuffle and no move, and every sector
// of weights read once. The codes are exact in FP16 and the scale is applied to the FP32 sum of a
// group, so nothing is rounded but sums, and y.
//
// kWarpsK warps of a CTA take the groups of its k range in turns, and their sums are added in warp
// order through shared memory at the end: the same bits each time.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_dequantize.cuh"
#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/gemm/int4_layout.cuh"
#include "kernels/gemm/int4_store.cuh"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ld_global.cuh"
#include "kernels/ptx/mma.cuh"

namespace edge_llm {

// kBlocks: blocks of 16 channels of one warp; they share the loads of x.
// kWarpsN: warps side by side along n; they read the same x, from L1 after the first.
// kWarpsK: warps that share the k range.
// kStages: groups of one warp in flight, in registers.
template <int kBlocks_, int kWarpsN_, int kWarpsK_, int kStages_>
struct Int4GemvTile {
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kWarpsK = kWarpsK_;
  static constexpr int kStages = kStages_;
  static constexpr int kM = 8;
  static constexpr int kWarpTileN = 16 * kBlocks;
  static constexpr int kTileN = kWarpTileN * kWarpsN;
  static constexpr int kThreads = 32 * kWarpsN * kWarpsK;
  // One row of sums in shared memory. The padding of 4 floats puts the rows 2 q of the four q of a
  // warp 8 banks apart, so that the warp's 32 stores hit 32 banks.
  static constexpr int kSumStride = kTileN + 4;
  static constexpr int kSharedBytes = kWarpsK * kM * kSumStride * 4;
};

// What one lane holds of one quantization group.
template <class Tile>
struct Int4GemvGroup {
  uint32_t weights[Tile::kBlocks][2][4];  // channels g and g + 8 of each block
  uint32_t x[4][4];                       // row g: [a][s]
  uint16_t scales[Tile::kBlocks][2];
};

// Where one lane reads, a turn of the warp (one group of kWarpsK) after the other. Distances that
// are the same for all lanes stay out of the pointers: registers are what limits the loads in
// flight.
template <class Tile>
class Int4GemvSource {
 public:
  // From group `first_group` on, channels from `first_n`, up to the end of group `end_group` - 1.
  __device__ __forceinline__ Int4GemvSource(const Int4GemmParams& params, int first_n,
                                            int first_group, int end_group)
      : params_(params) {
    const int lane = threadIdx.x % 32;
    const int g = lane / 4;
    const int q = lane % 4;
    const int64_t group = first_group;
    k_ = kGroupSize * first_group + 32 * q;
    end_k_ = min(kGroupSize * end_group, params.k);
    channels_left_ = params.n - first_n - g;
    weights_ = static_cast<const char*>(params.weights) +
               packed_offset(first_n + g, q / 2, q % 2, params.k) + group * kGroupBytes;
    scales_ = static_cast<const char*>(params.scales) + (group * params.n + first_n + g) * 2;
    // Lanes of rows past the last one read the last one again: what comes of it is not stored, and
    // a second reader of the same bytes costs nothing.
    const int64_t row = min(g, params.m - 1);
    x_ = static_cast<const char*>(params.x) + (row * params.k + k_) * 2;
  }

  // Loads the group `turns` turns from here. What lies past n or past the end of k is not read and
  // zero, and so is its product. A last group of 64 ends inside a group: lanes with q >= 2 hold
  // zeros then.
  __device__ __forceinline__ void load(int turns, Int4GemvGroup<Tile>& loaded) const {
    const int distance = turns * Tile::kWarpsK;  // in groups
    const int k = k_ + distance * kGroupSize;
    const bool k_valid = k < end_k_;
    const bool group_valid = k / kGroupSize * kGroupSize < end_k_;
    const char* scales = scales_ + static_cast<int64_t>(distance) * params_.n * 2;
#pragma unroll
    for (int block = 0; block < Tile::kBlocks; ++block) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int channel = 16 * block + 8 * half;
        const bool channel_valid = channel < channels_left_;
        const char* weights = weights_ + packed_offset(channel, 0, 0, params_.k);
        ptx::ld_global_nc_v4_once(loaded.weights[block][half], weights + distance * kGroupBytes,
                                  k_valid && channel_valid);
        loaded.scales[block][half] =
            ptx::ld_global_nc_u16(scales + channel * 2, group_valid && channel_valid);
      }
    }
#pragma unroll
    for (int a = 0; a < 4; ++a) {
      ptx::ld_global_nc_v4(loaded.x[a], x_ + distance * kGroupBytes + 16 * a, k_valid);
    }
  }

  __device__ __forceinline__ void advance(int turns) {
    const int distance = turns * Tile::kWarpsK;
    k_ += distance * kGroupSize;
    weights_ += distance * kGroupBytes;
    x_ += distance * kGroupBytes;
    scales_ += static_cast<int64_t>(distance) * params_.n * 2;
  }

 private:
  // From group to group along a line of x, and along a line of four packed channels.
  static constexpr int kGroupBytes = 2 * kGroupSize;

  const Int4GemmParams& params_;
  const char* weights_;  // channel g
  const char* scales_;
  const char* x_;
  int channels_left_;  // from channel g
  int k_;              // of the lane
  int end_k_;
};

// sums[block] += the group's products, FP32: channels 16 block + {g, g + 8}, rows 2 q + {0, 1}.
template <class Tile>
__device__ __forceinline__ void multiply_group(const Int4GemvGroup<Tile>& group,
                                               float (&sums)[Tile::kBlocks][4]) {
  float products[Tile::kBlocks][4] = {};
#pragma unroll
  for (int s = 0; s < 4; s += 2) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // pairs a = 2 half + {0, 1}
#pragma unroll
      for (int block = 0; block < Tile::kBlocks; ++block) {
        const auto& words = group.weights[block];
        uint32_t upper[2][2];  // channel g: [s][a]
        uint32_t lower[2][2];  // channel g + 8
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          dequantize(words[0][s + i] >> (8 * half), upper[i]);
          dequantize(words[1][s + i] >> (8 * half), lower[i]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int a = 2 * half + i;
          const uint32_t fragment[4] = {upper[0][i], lower[0][i], upper[1][i], lower[1][i]};
          ptx::mma_m16n8k16(products[block], fragment, group.x[a][s], group.x[a][s + 1]);
        }
      }
    }
  }
#pragma unroll
  for (int block = 0; block < Tile::kBlocks; ++block) {
    const float upper_scale = ptx::cvt_f32_f16(group.scales[block][0]);
    const float lower_scale = ptx::cvt_f32_f16(group.scales[block][1]);
    sums[block][0] += upper_scale * products[block][0];
    sums[block][1] += upper_scale * products[block][1];
    sums[block][2] += lower_scale * products[block][2];
    sums[block][3] += lower_scale * products[block][3];
  }
}

// Grid: (tiles of n, splits). Without splits y is written, else partials[blockIdx.y].
template <class Tile>
__device__ __forceinline__ void int4_gemv(const Int4GemmParams& params) {
  extern __shared__ float shared_sums[];  // [kWarpsK][kM][kSumStride]
  ptx::griddepcontrol_wait();
  ptx::griddepcontrol_launch_dependents();

  const int lane = threadIdx.x % 32;
  const int warp_n = threadIdx.x / 32 % Tile::kWarpsN;
  const int warp_k = threadIdx.x / 32 / Tile::kWarpsN;
  const int tile_n = blockIdx.x * Tile::kTileN;

  const int groups = (params.k + kGroupSize - 1) / kGroupSize;
  const SplitRange range = split_range(groups, blockIdx.y, params.splits);
  const int first = range.first + warp_k;
  Int4GemvSource<Tile> source(params, tile_n + warp_n * Tile::kWarpTileN, first, range.last);

  // A ring of kStages groups in registers: each is loaded kStages turns before it is used.
  Int4GemvGroup<Tile> stages[Tile::kStages];
  float sums[Tile::kBlocks][4] = {};
#pragma unroll
  for (int stage = 0; stage < Tile::kStages; ++stage) source.load(stage, stages[stage]);
#pragma unroll 1  // the ring is unrolled already
  for (int group = first; group < range.last; group += Tile::kStages * Tile::kWarpsK) {
    source.advance(Tile::kStages);
#pragma unroll
    for (int stage = 0; stage < Tile::kStages; ++stage) {
      multiply_group<Tile>(stages[stage], sums);
      source.load(stage, stages[stage]);
    }
  }

  const int g = lane / 4;
  const int q = lane % 4;
  float* warp_sums = shared_sums + warp_k * Tile::kM * Tile::kSumStride + warp_n * Tile::kWarpTileN;
#pragma unroll
  for (int block = 0; block < Tile::kBlocks; ++block) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 2 * q + i % 2;
      warp_sums[row * Tile::kSumStride + 16 * block + 8 * (i / 2) + g] = sums[block][i];
    }
  }
  __syncthreads();

  // Neighbouring threads take neighbouring pairs of channels.
  constexpr int kPairs = Tile::kM * Tile::kTileN / 2;
  for (int pair = threadIdx.x; pair < kPairs; pair += Tile::kThreads) {
    const int row = pair / (Tile::kTileN / 2);
    const int channel = pair % (Tile::kTileN / 2) * 2;
    if (row >= params.m || tile_n + channel >= params.n) continue;
    float2 total = {0.0f, 0.0f};
#pragma unroll
    for (int warp = 0; warp < Tile::kWarpsK; ++warp) {
      const float2 sum = *reinterpret_cast<const float2*>(
          shared_sums + (warp * Tile::kM + row) * Tile::kSumStride + channel);
      total.x += sum.x;
      total.y += sum.y;
    }
    store_pair(params, blockIdx.y, row, tile_n + channel, total.x, total.y);
  }
}

}  // namespace edge_llm
