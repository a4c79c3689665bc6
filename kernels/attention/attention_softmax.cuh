// softmax(Q K^T / sqrt(D)) V over tiles of K and V, in one pass (FlashAttention): scores of a tile
// stay in registers, and sums are rescaled whenever the largest score of a row grows.
#pragma once

#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/ex2.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ldmatrix.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/opaque.cuh"

namespace edge_llm {

__device__ __forceinline__ float masked_score() { return __int_as_float(0xff800000); }  // -infinity

// exp(x / sqrt(head_size)) == exp2(x * softmax_scale(head_size))
__device__ __forceinline__ float softmax_scale(int head_size) {
  constexpr float kLog2E = 1.4426950408889634f;
  return kLog2E * rsqrtf(static_cast<float>(head_size));
}

// exp2((score - maximum) * scale). The difference is taken first: it is exact for the maximum, so
// that no probability exceeds 1 however large the scores are. Where all is masked, all is 0.
__device__ __forceinline__ float softmax_weight(float score, float maximum, float scale) {
  return ptx::ex2_approx((score - (maximum == masked_score() ? 0.f : maximum)) * scale);
}

template <class Tile>
using AttentionScores = float[Tile::kBlocksM][Tile::kWarpKv / 8][4];

// The running result of one warp; [2] are the rows lane / 4 and lane / 4 + 8 of a block.
template <class Tile>
struct AttentionSums {
  float output[Tile::kBlocksM][Tile::kHeadSize / 8][4];  // sum of weight * V
  float weights[Tile::kBlocksM][4];                      // the same of a V that is 1 everywhere
  float maximum[Tile::kBlocksM][2];                      // largest score, of the warp's slots

  __device__ __forceinline__ AttentionSums() : output{}, weights{} {
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
      maximum[block][0] = maximum[block][1] = masked_score();
    }
  }
};

// What a warp stores of its rows: all dimensions, or where warps share the KV range, a part of
// them.
template <class Tile>
struct AttentionResult {
  static constexpr int kDims =  // of eight values
      (Tile::kHeadSize / 8 + Tile::kWarpsKv - 1) / Tile::kWarpsKv;

  float output[Tile::kBlocksM][kDims][4];
  float weights[Tile::kBlocksM][2];
  float maximum[Tile::kBlocksM][2];
  int first_dims;

  // The last warp may have fewer.
  __device__ __forceinline__ bool has(int dims) const {
    return Tile::kHeadSize / 8 % Tile::kWarpsKv == 0 || first_dims + dims < Tile::kHeadSize / 8;
  }
};

// scores = Q K^T of one tile.
template <class Tile>
__device__ __forceinline__ void multiply_q_k(uint32_t q, uint32_t k,
                                             const AttentionWarp<Tile>& warp,
                                             AttentionScores<Tile>& scores) {
  const int row = warp.lane % 8;  // of the 8 x 8 matrix whose row this lane addresses
  const int matrix = warp.lane / 8;
  const uint32_t q_lane = q + head_offset<Tile>(warp.m + 8 * (matrix % 2) + row, matrix / 2);
  const uint32_t k_lane =
      k + head_offset<Tile>(warp.kv * Tile::kWarpKv + 8 * (matrix / 2) + row, matrix % 2);
#pragma unroll
  for (int step = 0; step < Tile::kHeadSize / 16; ++step) {
    uint32_t a[Tile::kBlocksM][4];
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
      ptx::ldmatrix_x4(a[block], step_address<Tile>(q_lane, step) + 16 * block * Tile::kHeadBytes);
    }
#pragma unroll
    for (int pair = 0; pair < Tile::kWarpKv / 16; ++pair) {
      uint32_t b[4];  // K^T of 16 slots
      ptx::ldmatrix_x4(b, step_address<Tile>(k_lane, step) + 16 * pair * Tile::kHeadBytes);
#pragma unroll
      for (int block = 0; block < Tile::kBlocksM; ++block) {
        ptx::mma_m16n8k16(scores[block][2 * pair], a[block], b[0], b[1]);
        ptx::mma_m16n8k16(scores[block][2 * pair + 1], a[block], b[2], b[3]);
      }
    }
  }
}

__device__ __forceinline__ float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

// Takes the scores of a tile into the maxima, and rescales the sums to those. Most tiles of a long
// KV range hold no new maximum, and leave the sums alone.
template <class Tile>
__device__ __forceinline__ void update_maximum(float scale, const AttentionScores<Tile>& scores,
                                               AttentionSums<Tile>& sums) {
  float grown[Tile::kBlocksM][2];
  bool grows = false;
#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float maximum = sums.maximum[block][half];
#pragma unroll
      for (int slots = 0; slots < Tile::kWarpKv / 8; ++slots) {
        const float* score = &scores[block][slots][2 * half];
        maximum = fmaxf(maximum, fmaxf(score[0], score[1]));
      }
      grown[block][half] = quad_max(maximum);
      grows |= grown[block][half] != sums.maximum[block][half];
    }
  }
  if (!__any_sync(0xffffffffu, grows)) return;
#pragma unroll
  for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float maximum = grown[block][half];
      const float rescale = softmax_weight(sums.maximum[block][half], maximum, scale);
      sums.maximum[block][half] = maximum;
#pragma unroll
      for (int value = 2 * half; value < 2 * half + 2; ++value) {
        sums.weights[block][value] *= rescale;
#pragma unroll
        for (int dims = 0; dims < Tile::kHeadSize / 8; ++dims) {
          sums.output[block][dims][value] *= rescale;
        }
      }
    }
  }
}

// The weights of 16 slots as the A fragment of an m16k16 product: accumulators of Q K^T, two as a
// pair of FP16, already lie in the lanes that this wants.
__device__ __forceinline__ void weights_of(const float (*scores)[4], const float (&maximum)[2],
                                           float scale, uint32_t (&weights)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float* score = &scores[i / 2][i % 2 * 2];
    const float first = softmax_weight(score[0], maximum[i % 2], scale);
    const float second = softmax_weight(score[1], maximum[i % 2], scale);
    weights[i] = ptx::cvt_f16x2_f32(first, second);
  }
}

// sums.output += weights * V of one tile. The sum of weights is another column of V: that of the
// same rounded weights, so that rounding does not scale the output.
template <class Tile>
__device__ __forceinline__ void multiply_weights_v(uint32_t v, const AttentionWarp<Tile>& warp,
                                                   float scale, const AttentionScores<Tile>& scores,
                                                   AttentionSums<Tile>& sums) {
  constexpr uint32_t kOnes = 0x3c003c00;  // two FP16
  const int row = warp.lane % 8;
  const int matrix = warp.lane / 8;
  const uint32_t v_lane =
      v + head_offset<Tile>(warp.kv * Tile::kWarpKv + 8 * (matrix % 2) + row, matrix / 2);
#pragma unroll
  for (int step = 0; step < Tile::kWarpKv / 16; ++step) {
    uint32_t weights[Tile::kBlocksM][4];
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
      weights_of(&scores[block][2 * step], sums.maximum[block], scale, weights[block]);
      ptx::mma_m16n8k16(sums.weights[block], weights[block], kOnes, kOnes);
    }
#pragma unroll
    for (int pair = 0; pair < Tile::kHeadSize / 16; ++pair) {
      uint32_t b[4];  // V of 16 dimensions
      ptx::ldmatrix_x4_trans(b, step_address<Tile>(v_lane, pair) + 16 * step * Tile::kHeadBytes);
#pragma unroll
      for (int block = 0; block < Tile::kBlocksM; ++block) {
        ptx::mma_m16n8k16(sums.output[block][2 * pair], weights[block], b[0], b[1]);
        ptx::mma_m16n8k16(sums.output[block][2 * pair + 1], weights[block], b[2], b[3]);
      }
    }
  }
}

// Attends to the tiles [first_tile, last_tile) of the KV range. `work` knows what they hold:
//   load_q(q), load_k_v(stage, tile)  start to fill shared memory with cp.async
//   prepare()                         does what can wait until loads are on their way
//   turn_q(q, ready)                  turns Q by RoPE once ready() has returned
//   complete(stage, tile)             ends what cp.async began; all threads see what they loaded
//   mask(tile, scores)                masks the scores of a tile
template <class Tile, class Work>
__device__ __forceinline__ void attend(uint32_t shared, const AttentionWarp<Tile>& warp,
                                       int first_tile, int last_tile, const Work& work,
                                       AttentionSums<Tile>& sums) {
  const auto stage_address = [&](int stage) {
    return shared + Tile::kQBytes + stage * Tile::kStageBytes;
  };
  // One commit per tile, even where nothing is left to load: then "all but the newest groups have
  // landed" means the same tile in every iteration.
  const bool any = first_tile < last_tile;
  if (any) work.load_q(shared);
  ptx::cp_async_commit_group();
#pragma unroll 1
  for (int stage = 0; stage < Tile::kStages; ++stage) {
    if (first_tile + stage < last_tile) work.load_k_v(stage_address(stage), first_tile + stage);
    ptx::cp_async_commit_group();
  }
  work.prepare();
  if (any) {
    work.turn_q(shared, [] {
      ptx::cp_async_wait_group<Tile::kStages>();
      __syncthreads();
    });
  }

  const float scale = softmax_scale(Tile::kHeadSize);
  int stage = 0;
#pragma unroll 1  // one tile is enough work to schedule
  for (int tile = first_tile; tile < last_tile; ++tile) {
    ptx::cp_async_wait_group<Tile::kStages - 1>();
    __syncthreads();
    const uint32_t k = stage_address(stage);
    work.complete(k, tile);
    AttentionScores<Tile> scores = {};
    multiply_q_k<Tile>(ptx::opaque(shared), k, warp, scores);
    work.mask(tile, scores);
    update_maximum<Tile>(scale, scores, sums);
    multiply_weights_v<Tile>(k + Tile::kKvBytes, warp, scale, scores, sums);
    if (tile + Tile::kStages < last_tile) {
      __syncthreads();  // all have read the stage
      work.load_k_v(k, tile + Tile::kStages);
    }
    ptx::cp_async_commit_group();
    stage = stage == Tile::kStages - 1 ? 0 : stage + 1;
  }
}

}  // namespace edge_llm
