// INT4 groupwise GEMM by the matrix products of warpgroups: y[m, n] = x[m, k] * w[n, k]^T, FP16 in
// and out, FP32 accumulation. SM 90.
//
// The weights are the A operand of wgmma, 64 channels of each warpgroup, and x is the B operand. A
// comes from registers: the packing is made for the fragments of mma.m16n8k16, which a warp's share
// of A is too (int4_dequantize.cuh). B stays in shared memory, where the matrix unit reads it.
//
// Four warps load, by cp.async, and the others compute; they meet at two mbarriers per stage. A
// warpgroup dequantizes the weights of one k16 step while its product of the step before runs.
// Small steps, as a warp that waits to issue a product dequantizes nothing.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_dequantize.cuh"
#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/gemm/int4_layout.cuh"
#include "kernels/gemm/int4_store.cuh"
#include "kernels/ptx/bar_sync.cuh"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ld_shared.cuh"
#include "kernels/ptx/ldmatrix.cuh"
#include "kernels/ptx/mbarrier.cuh"
#include "kernels/ptx/shared_address.cuh"
#include "kernels/ptx/wgmma.cuh"

namespace edge_llm {

template <int kTileM_, int kTileN_, int kStages_>
struct Int4WgmmaTile {
  static constexpr int kTileM = kTileM_;
  static constexpr int kTileN = kTileN_;
  static constexpr int kTileK = kGroupSize;
  static constexpr int kStages = kStages_;

  static constexpr int kComputingThreads = 128 * (kTileN / 64);
  static constexpr int kLoadingThreads = 128;
  static constexpr int kThreads = kComputingThreads + kLoadingThreads;

  // Rows of x in one product.
  static constexpr int kProductM = kTileM < 128 ? kTileM : 128;
  static constexpr int kProducts = kTileM / kProductM;

  // Shared memory: x of all stages, then their weights, their scales, and two barriers of each.
  //   x        [2][kTileM][64] f16: of each half of k a row of 128 bytes, as wgmma wants it
  //   weights  [kTileN / 4][kTileK] packed, of 16 bits
  //   scales   [kTileN] f16
  static constexpr int kRowBytes = 128;
  static constexpr int kXHalfBytes = kTileM * kRowBytes;
  static constexpr int kXBytes = 2 * kXHalfBytes;
  static constexpr int kLineBytes = kTileK * 2;
  static constexpr int kWeightBytes = kTileN / 4 * kLineBytes;
  static constexpr int kScaleBytes = kTileN * 2;
  static constexpr int kBarrierBytes = 8;
  static constexpr int kStageBytes = kXBytes + kWeightBytes + kScaleBytes;
  static constexpr int kSharedBytes = kStages * (kStageBytes + 2 * kBarrierBytes);

  // After the last stage its memory carries the sums [kTileM][kTileN] f32. The padding of 4 floats
  // puts the rows 2 q of the four q of a warp 8 banks apart, so that its 32 stores hit 32 banks.
  static constexpr int kSumStride = kTileN + 4;

  static_assert(kTileM % 32 == 0 && kTileM % kProductM == 0, "not whole products");
  static_assert(kTileN % 64 == 0, "not whole warpgroups");
  static_assert(kTileM * kSumStride * 4 <= kStages * kStageBytes, "the sums have no room");
};

// Addresses of the stages, and of the two barriers of each: one that its data has landed, and one
// that it has been read.
template <class Tile>
struct Int4WgmmaStages {
  uint32_t shared;

  __device__ __forceinline__ uint32_t x(int stage) const { return shared + stage * Tile::kXBytes; }
  __device__ __forceinline__ uint32_t weights(int stage) const {
    return shared + Tile::kStages * Tile::kXBytes + stage * Tile::kWeightBytes;
  }
  __device__ __forceinline__ uint32_t scales(int stage) const {
    return shared + Tile::kStages * (Tile::kXBytes + Tile::kWeightBytes) +
           stage * Tile::kScaleBytes;
  }
  __device__ __forceinline__ uint32_t landed(int stage) const {
    return shared + Tile::kStages * Tile::kStageBytes + stage * Tile::kBarrierBytes;
  }
  __device__ __forceinline__ uint32_t read(int stage) const {
    return landed(stage) + Tile::kStages * Tile::kBarrierBytes;
  }

  // By all threads of the CTA.
  __device__ __forceinline__ void init() const {
    if (threadIdx.x < Tile::kStages) {
      ptx::mbarrier_init(landed(threadIdx.x), Tile::kLoadingThreads);
      ptx::mbarrier_init(read(threadIdx.x), Tile::kComputingThreads);
    }
    __syncthreads();
  }
};

// The loading warps: copies the tiles of k of a range into the stages.
template <class Tile>
__device__ __forceinline__ void load_stages(const Int4GemmParams& params,
                                            const Int4WgmmaStages<Tile>& stages,
                                            TileCoordinates first, const SplitRange& range) {
  // x has lines of k 16-bit words, and the packed weights too, one per four channels. Of each a
  // tile of k has 16 chunks of 16 bytes; a thread takes the same chunk of every kLines-th line.
  constexpr int kLineChunks = Tile::kLineBytes / 16;
  constexpr int kLines = Tile::kLoadingThreads / kLineChunks;
  static_assert(kLines % 8 == 0, "a thread would change its place in the swizzle");
  const int thread = threadIdx.x - Tile::kComputingThreads;
  const int line = thread / kLineChunks;
  const int chunk = thread % kLineChunks;
  const int64_t pitch = static_cast<int64_t>(params.k) * 2;
  const int64_t first_byte = static_cast<int64_t>(range.first) * Tile::kLineBytes + 16 * chunk;
  const char* x = static_cast<const char*>(params.x) + (first.m + line) * pitch + first_byte;
  const char* weights =
      static_cast<const char*>(params.weights) + (first.n / 4 + line) * pitch + first_byte;
  const char* scales = static_cast<const char*>(params.scales) +
                       (static_cast<int64_t>(range.first) * params.n + first.n + 4 * thread) * 2;
  const uint32_t x_place =
      chunk / 8 * Tile::kXHalfBytes + line * Tile::kRowBytes + swizzled_chunk(line, chunk % 8);
  const uint32_t weight_place = line * Tile::kLineBytes + swizzled_chunk(line, chunk);
  const int rows_left = params.m - first.m - line;
  const int lines_left = (params.n - first.n) / 4 - line;
  const bool has_scales = first.n + 4 * thread < params.n;
  int k_left = params.k - range.first * Tile::kTileK - 8 * chunk;

  // While a stage is copied the ones before land: half of them, so that the other half is there to
  // compute with.
  constexpr int kInFlight = Tile::kStages / 2;
  ptx::StageTurn<Tile::kStages> turn, landed;
#pragma unroll 1
  for (int tile = range.first; tile < range.last + kInFlight; ++tile) {
    if (tile < range.last) {
      // Nobody has read the first round's stages: the phase before the first counts as over.
      ptx::mbarrier_wait(stages.read(turn.stage), turn.parity ^ 1);
      const int rows = k_left > 0 ? rows_left : 0;
      const int lines = k_left > 0 ? lines_left : 0;
      const uint32_t weight_target = stages.weights(turn.stage) + weight_place;
      const uint32_t x_target = stages.x(turn.stage) + x_place;
#pragma unroll
      for (int i = 0; i < Tile::kTileN / 4; i += kLines) {
        ptx::cp_async_cg_16(weight_target + i * Tile::kLineBytes, weights + i * pitch, i < lines);
      }
#pragma unroll
      for (int i = 0; i < Tile::kTileM; i += kLines) {
        ptx::cp_async_cg_16(x_target + i * Tile::kRowBytes, x + i * pitch, i < rows);
      }
      if (thread < Tile::kTileN / 4) {
        ptx::cp_async_ca_8(stages.scales(turn.stage) + 8 * thread, scales, has_scales);
      }
      weights += Tile::kLineBytes;
      x += Tile::kLineBytes;
      scales += static_cast<int64_t>(params.n) * 2;
      k_left -= Tile::kTileK;
      turn.next();
    }
    ptx::cp_async_commit_group();
    if (tile < range.first + kInFlight) continue;
    ptx::cp_async_wait_group<kInFlight>();
    ptx::fence_proxy_async();
    ptx::mbarrier_arrive(stages.landed(landed.stage));
    landed.next();
  }
}

// Of 8 j rows of x from 8 j on: channels {g, g + 8} of the warp, rows 2 q + {0, 1}.
template <class Tile>
using Int4WgmmaSums = float[Tile::kProducts][Tile::kProductM / 2];

// Where one lane of a computing warp works: 16 channels.
struct Int4WgmmaWarp {
  int lane;
  int n;  // first channel of the warp in the tile

  __device__ __forceinline__ Int4WgmmaWarp() : lane(threadIdx.x % 32), n(threadIdx.x / 32 * 16) {}
};

// The words of 64 k, [32 k][channels g, g + 8], as ldmatrix.x4 hands them out.
template <class Tile>
__device__ __forceinline__ void load_words(uint32_t weights, const Int4WgmmaWarp& warp, int half,
                                           uint32_t (&words)[4]) {
  const int row = warp.lane % 8;  // of the 8 x 8 matrix whose row this lane addresses
  const int matrix = warp.lane / 8;
  const int line = (warp.n + 8 * (matrix % 2) + row) / 4;
  const int chunk = 8 * half + row % 4 * 2 + matrix / 2;
  ptx::ldmatrix_x4(words, weights + line * Tile::kLineBytes + swizzled_chunk(line, chunk));
}

// The A fragment of k16 step `step` of 64 k.
__device__ __forceinline__ void dequantize_step(const uint32_t (&words)[4],
                                                const uint32_t (&scales)[2], int step,
                                                uint32_t (&a)[4]) {
#pragma unroll
  for (int channel = 0; channel < 2; ++channel) {  // g, g + 8
    uint32_t pairs[2];
    dequantize(words[step / 2 * 2 + channel] >> (8 * (step % 2)), pairs);
    a[channel] = ptx::mul_f16x2(pairs[0], scales[channel]);
    a[2 + channel] = ptx::mul_f16x2(pairs[1], scales[channel]);
  }
}

// sums = the product of a range of tiles of k, one or more.
template <class Tile>
__device__ __forceinline__ void multiply_stages(const Int4WgmmaStages<Tile>& stages,
                                                const SplitRange& range, const Int4WgmmaWarp& warp,
                                                Int4WgmmaSums<Tile>& sums) {
  ptx::StageTurn<Tile::kStages> turn;
  int before = 0;
  uint32_t a[2][4];  // one is read by a product in flight while the other is made
  int tile = range.first;
  // Neither a loop that may be empty nor a branch between products: the compiler would wait for
  // each of them on its own.
#pragma unroll 1
  do {
    ptx::mbarrier_wait(stages.landed(turn.stage), turn.parity);
    const uint32_t first_scale = stages.scales(turn.stage) + (warp.n + warp.lane / 4) * 2;
    const uint32_t scales[2] = {ptx::mov_f16x2(ptx::ld_shared_u16(first_scale)),
                                ptx::mov_f16x2(ptx::ld_shared_u16(first_scale + 16))};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t words[4];
      load_words<Tile>(stages.weights(turn.stage), warp, half, words);
      const ptx::MatrixDescriptor x(stages.x(turn.stage) + half * Tile::kXHalfBytes);
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        dequantize_step(words, scales, step, a[step % 2]);
        ptx::wgmma_fence();
#pragma unroll
        for (int product = 0; product < Tile::kProducts; ++product) {
          constexpr int kProductBytes = Tile::kProductM * Tile::kRowBytes;
          ptx::wgmma_m64k16(sums[product], a[step % 2],
                            x.advanced(product * kProductBytes + step * 32));
        }
        ptx::wgmma_commit_group();
        ptx::wgmma_wait_group<1>();
        // The last product of the stage before is over.
        const bool first = half == 0 && step == 0;
        if (first && tile > range.first) ptx::mbarrier_arrive(stages.read(before));
      }
    }
    before = turn.stage;
    turn.next();
  } while (++tile < range.last);
  ptx::wgmma_wait_group<0>();
}

// Stores the sums, through shared memory, so that neighbouring threads have neighbouring channels.
template <class Tile>
__device__ __forceinline__ void store_sums(const Int4GemmParams& params, TileCoordinates first,
                                           const Int4WgmmaWarp& warp,
                                           const Int4WgmmaSums<Tile>& sums, float* shared_sums) {
  ptx::bar_sync<1, Tile::kComputingThreads>();  // all stages have been read
  float* const target = shared_sums + warp.lane % 4 * 2 * Tile::kSumStride + warp.n + warp.lane / 4;
#pragma unroll
  for (int product = 0; product < Tile::kProducts; ++product) {
#pragma unroll
    for (int i = 0; i < Tile::kProductM / 2; ++i) {
      const int row = product * Tile::kProductM + i / 4 * 8 + i % 2;
      target[row * Tile::kSumStride + i % 4 / 2 * 8] = sums[product][i];
    }
  }
  ptx::bar_sync<1, Tile::kComputingThreads>();
  constexpr int kRowPairs = Tile::kTileN / 2;
#pragma unroll 4
  for (int pair = threadIdx.x; pair < Tile::kTileM * kRowPairs; pair += Tile::kComputingThreads) {
    const int row = pair / kRowPairs;
    const int channel = pair % kRowPairs * 2;
    if (first.m + row >= params.m || first.n + channel >= params.n) continue;
    const float2 sum =
        *reinterpret_cast<const float2*>(shared_sums + row * Tile::kSumStride + channel);
    PairStore(params, blockIdx.y, first.m + row, first.n + channel).store(0, sum.x, sum.y);
  }
}

// Grid: (tiles of m * tiles of n, splits). Without splits y is written, else partials[blockIdx.y].
template <class Tile>
__device__ __forceinline__ void int4_wgmma(const Int4GemmParams& params) {
  extern __shared__ __align__(1024) unsigned char shared_stages[];
  const Int4WgmmaStages<Tile> stages{ptx::shared_address(shared_stages)};
  stages.init();
  ptx::griddepcontrol_wait();
  ptx::griddepcontrol_launch_dependents();

  const TileCoordinates first = tile_coordinates<Tile>(params);
  const int k_tiles = (params.k + Tile::kTileK - 1) / Tile::kTileK;
  const SplitRange range = split_range(k_tiles, blockIdx.y, params.splits);
  if (threadIdx.x >= Tile::kComputingThreads) {
    load_stages<Tile>(params, stages, first, range);
    return;
  }
  const Int4WgmmaWarp warp;
  Int4WgmmaSums<Tile> sums = {};
  multiply_stages<Tile>(stages, range, warp, sums);
  store_sums<Tile>(params, first, warp, sums, reinterpret_cast<float*>(shared_stages));
}

}  // namespace edge_llm
