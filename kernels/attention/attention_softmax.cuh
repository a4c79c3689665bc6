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

// exp2((score - maximum) * scale). The difference is taken first: it is exact for the maximum,
// whose weight is 1 then however large the scores are. Where all is masked, all is 0.
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
  float maximum[Tile::kBlocksM][2];                      // of the scores of the warp's slots

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

// The A fragments of Q. Eight warps have a multiprocessor, and so the registers, for themselves,
// and keep them where they are few; others read them for each tile.
template <class Tile>
class QFragments {
 public:
  static constexpr bool kKept = Tile::kThreads >= 256 && Tile::kBlocksM == 1;

  // All of Q lies in `q`.
  __device__ __forceinline__ QFragments(uint32_t q, const AttentionWarp<Tile>& warp)
      : q_(q), warp_(warp) {
    if constexpr (kKept) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) read(lane_address(q), step, kept_[step]);
    }
  }

  // What get() reads in a tile.
  __device__ __forceinline__ uint32_t address() const {
    return kKept ? 0 : lane_address(ptx::opaque(q_));
  }

  // Those of 16 dimensions.
  __device__ __forceinline__ void get(uint32_t address, int step,
                                      uint32_t (&a)[Tile::kBlocksM][4]) const {
    if constexpr (!kKept) return read(address, step, a);
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[block][i] = kept_[step][block][i];
    }
  }

 private:
  static constexpr int kSteps = Tile::kHeadSize / 16;

  __device__ __forceinline__ uint32_t lane_address(uint32_t q) const {
    const int matrix = warp_.lane / 8;  // of the 8 x 8 ones, whose row lane % 8 this lane addresses
    return q + head_offset<Tile>(warp_.m + 8 * (matrix % 2) + warp_.lane % 8, matrix / 2);
  }

  static __device__ __forceinline__ void read(uint32_t address, int step,
                                              uint32_t (&a)[Tile::kBlocksM][4]) {
#pragma unroll
    for (int block = 0; block < Tile::kBlocksM; ++block) {
      ptx::ldmatrix_x4(a[block], step_address<Tile>(address, step) + 16 * block * Tile::kHeadBytes);
    }
  }

  const uint32_t q_;
  const AttentionWarp<Tile>& warp_;
  uint32_t kept_[kKept ? kSteps : 1][Tile::kBlocksM][4];
};

// scores = Q K^T of one tile.
template <class Tile>
__device__ __forceinline__ void multiply_q_k(const QFragments<Tile>& q, uint32_t k,
                                             const AttentionWarp<Tile>& warp,
                                             AttentionScores<Tile>& scores) {
  const int row = warp.lane % 8;  // of the 8 x 8 matrix whose row this lane addresses
  const int matrix = warp.lane / 8;
  const uint32_t k_lane =
      k + head_offset<Tile>(warp.kv * Tile::kWarpKv + 8 * (matrix / 2) + row, matrix % 2);
  const uint32_t q_address = q.address();
#pragma unroll
  for (int step = 0; step < Tile::kHeadSize / 16; ++step) {
    uint32_t a[Tile::kBlocksM][4];
    q.get(q_address, step, a);
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

// Attends to the tiles [first_tile, last_tile) of the KV range. `work` knows what they hold, and in
// which order it takes them:
//   before_k(q), before_v()  what comes before the first K, and before the first V
//   load_k(stage, tile), load_v(stage, tile)  start to fill a stage of shared memory with cp.async
//   prepare(q)               what can wait until loads are on their way; Q lies in `q` when all
//                            threads have come here
//   add_new(stage, tile)     what cp.async does not bring of a tile, after prepare
//   mask(tile, scores)       masks the scores of a tile
template <class Tile, class Work>
__device__ __forceinline__ void attend(uint32_t shared, const AttentionWarp<Tile>& warp,
                                       int first_tile, int last_tile, Work& work,
                                       AttentionSums<Tile>& sums) {
  const auto stage_address = [&](int stage) {
    return shared + Tile::kQBytes + stage * Tile::kStageBytes;
  };
  work.before_k(shared);
  if (first_tile >= last_tile) {
    work.before_v();
    return work.prepare(shared);
  }
  // A commit for the first K, and one per tile, even where nothing is left to load: then "all but
  // the newest groups have landed" means the same tile in every iteration.
  work.load_k(stage_address(0), first_tile);
  ptx::cp_async_commit_group();
  work.before_v();
  work.load_v(stage_address(0), first_tile);
  ptx::cp_async_commit_group();
#pragma unroll 1
  for (int ahead = 1; ahead < Tile::kStages; ++ahead) {
    if (first_tile + ahead < last_tile) {
      work.load_k(stage_address(ahead), first_tile + ahead);
      work.load_v(stage_address(ahead), first_tile + ahead);
    }
    ptx::cp_async_commit_group();
  }
  work.prepare(shared);
#pragma unroll 1
  for (int ahead = 0; ahead < Tile::kStages; ++ahead) {
    if (first_tile + ahead < last_tile) work.add_new(stage_address(ahead), first_tile + ahead);
  }
  ptx::cp_async_wait_group<Tile::kStages>();
  __syncthreads();  // Q and the first K are there
  const QFragments<Tile> q(shared, warp);

  const float scale = softmax_scale(Tile::kHeadSize);
  uint32_t k = stage_address(0);
  bool waits_for_v = true;
#pragma unroll 1  // one tile is enough work to schedule
  for (int tile = first_tile;;) {
    AttentionScores<Tile> scores = {};
    multiply_q_k<Tile>(q, k, warp, scores);
    work.mask(tile, scores);
    update_maximum<Tile>(scale, scores, sums);
    if (waits_for_v) {
      ptx::cp_async_wait_group<Tile::kStages - 1>();
      __syncthreads();  // the first V is there
    }
    multiply_weights_v<Tile>(k + Tile::kKvBytes, warp, scale, scores, sums);
    waits_for_v = false;
    if (++tile >= last_tile) break;
    ptx::cp_async_wait_group<Tile::kStages - 2>();
    __syncthreads();  // the tile is there, and all have read the one before
    const int newest = tile + Tile::kStages - 1;
    if (newest < last_tile) {
      work.load_k(k, newest);
      work.load_v(k, newest);
      work.add_new(k, newest);
    }
    ptx::cp_async_commit_group();
    k = k == stage_address(Tile::kStages - 1) ? stage_address(0) : k + Tile::kStageBytes;
  }
}

}  // namespace edge_llm
