// The same attention as attention_softmax.cuh by the matrix products of warpgroups: four warps with
// 16 rows each are one. Its fragments of scores, weights and sums are those of mma.m16n8k16, so
// that all that is done to them stays the same; but the matrix unit reads K and V from shared
// memory itself, and the product of one tile's weights and V runs beside the softmax of the next.
// SM 90.
#pragma once

#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/bar_sync.cuh"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ldmatrix.cuh"
#include "kernels/ptx/mbarrier.cuh"
#include "kernels/ptx/mma.cuh"
#include "kernels/ptx/setmaxnreg.cuh"
#include "kernels/ptx/wgmma.cuh"

namespace edge_llm {

// All of Q of a warp, as A fragments; it lies in `q`.
template <class Tile>
struct WgmmaQ {
  uint32_t fragments[Tile::kHeadSize / 16][4];

  __device__ __forceinline__ WgmmaQ(uint32_t q, const AttentionWarp<Tile>& warp) {
    const int matrix = warp.lane / 8;  // of the 8 x 8 ones, whose row lane % 8 this lane addresses
    const uint32_t lane_address =
        q + head_offset<Tile>(warp.m + 8 * (matrix % 2) + warp.lane % 8, matrix / 2);
#pragma unroll
    for (int step = 0; step < Tile::kHeadSize / 16; ++step) {
      ptx::ldmatrix_x4(fragments[step], step_address<Tile>(lane_address, step));
    }
  }
};

// The weights of a tile, as A fragments.
template <class Tile>
using WgmmaWeights = uint32_t[Tile::kWarpKv / 16][4];

// As the products see them.
template <class Tile>
__device__ __forceinline__ float (&flat(AttentionScores<Tile>& scores)) [Tile::kWarpKv / 2] {
  return reinterpret_cast<float (&)[Tile::kWarpKv / 2]>(scores);
} template <class Tile>
                                                                        __device__ __forceinline__
    float (&flat(AttentionSums<Tile>& sums)) [Tile::kHeadSize / 2] {
      return reinterpret_cast<float (&)[Tile::kHeadSize / 2]>(sums.output);
    }

// From eight slots of K or V to the next.
template <class Tile>
constexpr int kSlotBlockBytes = 8 * Tile::kHeadBytes;

// Starts scores = Q K^T of one tile.
template <class Tile>
__device__ __forceinline__ void start_q_k(const WgmmaQ<Tile>& q, uint32_t k,
                                          const AttentionWarp<Tile>& warp,
                                          AttentionScores<Tile>& scores) {
  const ptx::MatrixDescriptor first(k + warp.kv * (Tile::kWarpKv * Tile::kHeadBytes),
                                    kSlotBlockBytes<Tile>);
#pragma unroll
  for (int step = 0; step < Tile::kHeadSize / 16; ++step) {
    const ptx::MatrixDescriptor b = first.advanced(step / 4 * kMatrixBlockBytes + step % 4 * 32);
    if (step == 0) {
      ptx::wgmma_m64k16<ptx::WgmmaB::kRowsOfN, ptx::WgmmaSum::kReplace>(flat<Tile>(scores),
                                                                        q.fragments[step], b);
    } else {
      ptx::wgmma_m64k16(flat<Tile>(scores), q.fragments[step], b);
    }
  }
  ptx::wgmma_commit_group();
}

// Starts sums.output += weights * V of one tile.
template <class Tile>
__device__ __forceinline__ void start_weights_v(const WgmmaWeights<Tile>& weights, uint32_t v,
                                                const AttentionWarp<Tile>& warp,
                                                AttentionSums<Tile>& sums) {
  const ptx::MatrixDescriptor first(v + warp.kv * (Tile::kWarpKv * Tile::kHeadBytes),
                                    kSlotBlockBytes<Tile>, kMatrixBlockBytes);
#pragma unroll
  for (int step = 0; step < Tile::kWarpKv / 16; ++step) {
    ptx::wgmma_m64k16<ptx::WgmmaB::kRowsOfK>(flat<Tile>(sums), weights[step],
                                             first.advanced(2 * step * kSlotBlockBytes<Tile>));
  }
  ptx::wgmma_commit_group();
}

// The maximum of a row may lag behind its largest score by a weight of 2^kLagLog2, which FP16 and
// the sums have room for: then most tiles leave the sums alone.
constexpr float kLagLog2 = 8.f;

// Makes the scores of a tile weights, relative to the maxima, which follow where they lag behind
// too far; returns the factors that the sums have to be rescaled by.
template <class Tile>
__device__ __forceinline__ float2 weigh(float scale, AttentionScores<Tile>& scores,
                                        AttentionSums<Tile>& sums) {
  float rescale[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float before = sums.maximum[0][half];
    float maximum = before;
#pragma unroll
    for (int slots = 0; slots < Tile::kWarpKv / 8; ++slots) {
      const float* score = &scores[0][slots][2 * half];
      maximum = fmaxf(maximum, fmaxf(score[0], score[1]));
    }
    maximum = quad_max(maximum);
    maximum = (maximum - before) * scale > kLagLog2 ? maximum : before;
    sums.maximum[0][half] = maximum;
    rescale[half] = softmax_weight(before, maximum, scale);
#pragma unroll
    for (int slots = 0; slots < Tile::kWarpKv / 8; ++slots) {
      float* score = &scores[0][slots][2 * half];
      score[0] = softmax_weight(score[0], maximum, scale);
      score[1] = softmax_weight(score[1], maximum, scale);
    }
  }
  return {rescale[0], rescale[1]};
}

// Rescales the sums, where a factor of the warp is not 1.
template <class Tile>
__device__ __forceinline__ void rescale_sums(float2 factors, AttentionSums<Tile>& sums) {
  if (!__any_sync(0xffffffffu, factors.x != 1.f || factors.y != 1.f)) return;
#pragma unroll
  for (int value = 0; value < 4; ++value) {
    const float factor = value < 2 ? factors.x : factors.y;
    sums.weights[0][value] *= factor;
#pragma unroll
    for (int dims = 0; dims < Tile::kHeadSize / 8; ++dims) sums.output[0][dims][value] *= factor;
  }
}

// Rounds the weights of a tile, and adds them to their sum: another column of V.
template <class Tile>
__device__ __forceinline__ void round_weights(const AttentionScores<Tile>& scores,
                                              WgmmaWeights<Tile>& weights,
                                              AttentionSums<Tile>& sums) {
  constexpr uint32_t kOnes = 0x3c003c00;  // two FP16
#pragma unroll
  for (int step = 0; step < Tile::kWarpKv / 16; ++step) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* pair = &scores[0][2 * step + i / 2][i % 2 * 2];
      weights[step][i] = ptx::cvt_f16x2_f32(pair[0], pair[1]);
    }
    ptx::mma_m16n8k16(sums.weights[0], weights[step], kOnes, kOnes);
  }
}

// The stages around and around, with two barriers of each: one that its K and V have landed, and
// one that they have been read. All threads copy, and arrive at both.
template <class Tile>
struct AttentionStages {
  uint32_t shared;

  __device__ __forceinline__ uint32_t landed(int stage) const {
    return shared + Tile::kBarrierOffset + 8 * stage;
  }
  __device__ __forceinline__ uint32_t read(int stage) const {
    return landed(stage) + 8 * Tile::kStages;
  }

  // A barrier of the CTA has to follow.
  __device__ __forceinline__ void init() const {
    if (threadIdx.x >= Tile::kStages) return;
    ptx::mbarrier_init(landed(threadIdx.x), Tile::kLoadingThreads);
    ptx::mbarrier_init(read(threadIdx.x), Tile::kComputingThreads);
  }
};

// One stage after the other; the parity is that of the phase of its barriers.
template <class Tile>
struct AttentionTurn {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void next() {
    if (++stage < Tile::kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// Warpgroups that take turns: while one issues its products, which keeps its warps busy, the others
// have the rest of the multiprocessor for their softmax.
template <class Tile>
class WarpgroupTurns {
 public:
  __device__ __forceinline__ WarpgroupTurns() : warpgroup_(threadIdx.x / 128) {
    if constexpr (kTaken) {
      if (warpgroup_ == 1) ptx::bar_arrive<256>(kFirstBarrier);
    }
  }
  __device__ __forceinline__ void wait() const {
    if constexpr (kTaken) ptx::bar_sync<256>(kFirstBarrier + warpgroup_);
  }
  __device__ __forceinline__ void pass() const {
    if constexpr (kTaken) ptx::bar_arrive<256>(kFirstBarrier + (warpgroup_ ^ 1));
  }
  // After the last turn of each: the first one has been passed a turn that it does not take.
  __device__ __forceinline__ void end() const {
    if constexpr (kTaken) {
      if (warpgroup_ == 0) ptx::bar_sync<256>(kFirstBarrier);
    }
  }

 private:
  static constexpr bool kTaken = Tile::kWarpgroups == 2;
  static constexpr int kFirstBarrier = 1;
  const int warpgroup_;
};

// Registers of a thread that computes, and of one that copies: what the warpgroups have in all.
constexpr int kComputingRegisters = 232;
constexpr int kLoadingRegisters = 40;

// What the warps that copy do: the K and V of all tiles, from source.load_k and .load_v.
template <class Tile, class Source>
__device__ __forceinline__ void load_tiles(uint32_t shared, const AttentionStages<Tile>& stages,
                                           int first_tile, int last_tile, const Source& source) {
  // While a tile is copied, so many before it land.
  constexpr int kInFlight = Tile::kStages - 2;
  AttentionTurn<Tile> turn, landed;
#pragma unroll 1
  for (int tile = first_tile; tile < last_tile + kInFlight; ++tile) {
    if (tile >= first_tile + kInFlight) {
      ptx::cp_async_wait_group<kInFlight - 1>();
      ptx::fence_proxy_async();
      ptx::mbarrier_arrive(stages.landed(landed.stage));
      landed.next();
    }
    if (tile < last_tile) {
      // Nobody has read the first round's stages: the phase before the first counts as over.
      ptx::mbarrier_wait(stages.read(turn.stage), turn.parity ^ 1);
      const uint32_t stage = stage_address<Tile>(shared, turn.stage);
      source.load_k(stage, tile);
      source.load_v(stage, tile);
      turn.next();
    }
    ptx::cp_async_commit_group();
  }
}

// Gives each thread its role: true for one that has copied, and has no more to do.
template <class Tile, class Source>
__device__ __forceinline__ bool load_instead(uint32_t shared, int first_tile, int last_tile,
                                             const Source& source) {
  const AttentionStages<Tile> stages = {shared};
  stages.init();
  __syncthreads();
  if (threadIdx.x < Tile::kComputingThreads) {
    ptx::setmaxnreg_inc<kComputingRegisters>();
    return false;
  }
  ptx::setmaxnreg_dec<kLoadingRegisters>();
  load_tiles<Tile>(shared, stages, first_tile, last_tile, source);
  return true;
}

// attend() by warpgroups, while other warps copy; `work` is the same, but for load_k and load_v.
// Only the tiles that fit into the stages together may have something to add.
template <class Tile, class Work>
__device__ __forceinline__ void attend_by_warpgroups(uint32_t shared,
                                                     const AttentionWarp<Tile>& warp,
                                                     int first_tile, int last_tile, Work& work,
                                                     AttentionSums<Tile>& sums) {
  const AttentionStages<Tile> stages = {shared};
  work.before_k(shared);
  work.before_v();
  work.prepare(shared);
  if (first_tile >= last_tile) return;
  static_assert(Tile::kStages * Tile::kTileKv >= 128 + Tile::kTileKv,
                "the newest tokens do not fit into the stages");
#pragma unroll 1
  for (int ahead = 0; ahead < Tile::kStages; ++ahead) {
    if (first_tile + ahead < last_tile) {
      work.add_new(stage_address<Tile>(shared, ahead), first_tile + ahead);
    }
  }
  ptx::fence_proxy_async();
  sync_computing<Tile>();  // Q is there, and what is added
  const WgmmaQ<Tile> q(shared, warp);
  const WarpgroupTurns<Tile> turns;

  const float scale = softmax_scale(Tile::kHeadSize);
  AttentionScores<Tile> scores;
  WgmmaWeights<Tile> weights;
  ptx::mbarrier_wait(stages.landed(0), 0);
  turns.wait();
  ptx::wgmma_fence();
  start_q_k<Tile>(q, stage_address<Tile>(shared, 0), warp, scores);
  turns.pass();
  ptx::wgmma_wait_group<0>();
  ptx::wgmma_results(flat<Tile>(scores));
  work.mask(first_tile, scores);
  weigh<Tile>(scale, scores, sums);
  round_weights<Tile>(scores, weights, sums);

  AttentionTurn<Tile> turn, next;
  next.next();
#pragma unroll 1
  for (int tile = first_tile; tile + 1 < last_tile; ++tile) {
    ptx::mbarrier_wait(stages.landed(next.stage), next.parity);
    turns.wait();
    ptx::wgmma_fence();
    start_q_k<Tile>(q, stage_address<Tile>(shared, next.stage), warp, scores);
    start_weights_v<Tile>(weights, stage_address<Tile>(shared, turn.stage) + Tile::kKvBytes, warp,
                          sums);
    turns.pass();
    ptx::wgmma_wait_group<1>();
    ptx::wgmma_results(flat<Tile>(scores));
    work.mask(tile + 1, scores);
    const float2 factors = weigh<Tile>(scale, scores, sums);
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_results(flat<Tile>(sums));
    ptx::mbarrier_arrive(stages.read(turn.stage));
    rescale_sums<Tile>(factors, sums);
    round_weights<Tile>(scores, weights, sums);
    turn = next;
    next.next();
  }
  turns.wait();
  ptx::wgmma_fence();
  start_weights_v<Tile>(weights, stage_address<Tile>(shared, turn.stage) + Tile::kKvBytes, warp,
                        sums);
  turns.pass();
  turns.end();
  ptx::wgmma_wait_group<0>();
  ptx::wgmma_results(flat<Tile>(sums));
}

// attend() with the products that the tile has.
template <class Tile, class Work>
__device__ __forceinline__ void attend_by(uint32_t shared, const AttentionWarp<Tile>& warp,
                                          int first_tile, int last_tile, Work& work,
                                          AttentionSums<Tile>& sums) {
  if constexpr (Tile::kWgmma) {
    attend_by_warpgroups<Tile>(shared, warp, first_tile, last_tile, work, sums);
  } else {
    attend<Tile>(shared, warp, first_tile, last_tile, work, sums);
  }
}

}  // namespace edge_llm
