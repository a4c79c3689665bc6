// The same attention as attention_softmax.cuh by the matrix products of warpgroups: four warps with
// 16 rows each are one. Its fragments of scores, weights and sums are those of mma.m16n8k16, so
// that all that is done to them stays the same; but the matrix unit reads K and V from shared
// memory itself, and the product of one tile's weights and V runs beside the softmax of the next.
// SM 90.
#pragma once

#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/cp_async.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ldmatrix.cuh"
#include "kernels/ptx/mbarrier.cuh"
#include "kernels/ptx/mma.cuh"
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

// Scores and sums as the products see them.
template <class Tile>
using WgmmaScores = float[Tile::kWarpKv / 2];
template <class Tile>
using WgmmaOutput = float[Tile::kHeadSize / 2];

template <class Tile>
__device__ __forceinline__ WgmmaScores<Tile>& flat(AttentionScores<Tile>& scores) {
  return reinterpret_cast<WgmmaScores<Tile>&>(scores);
}

template <class Tile>
__device__ __forceinline__ WgmmaOutput<Tile>& flat(AttentionSums<Tile>& sums) {
  return reinterpret_cast<WgmmaOutput<Tile>&>(sums.output);
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

constexpr int kWarpgroupThreads = 128;

// The barriers: one of each stage, that its K and V have landed, and one of each warpgroup, that it
// has its turn.
template <class Tile>
struct AttentionBarriers {
  uint32_t shared;

  // All threads copy, and arrive when their copies have landed.
  __device__ __forceinline__ uint32_t landed(int stage) const {
    return shared + Tile::kBarrierOffset + 8 * stage;
  }
  __device__ __forceinline__ uint32_t turn(int warpgroup) const {
    return landed(Tile::kStages + warpgroup);
  }

  // A barrier of the CTA has to follow. By one thread: where each has a lane of its own, racecheck
  // takes the lanes of other warps for writers too.
  __device__ __forceinline__ void init() const {
    if (threadIdx.x != 0) return;
#pragma unroll
    for (int stage = 0; stage < Tile::kStages; ++stage) {
      ptx::mbarrier_init(landed(stage), Tile::kThreads);
    }
#pragma unroll
    for (int warpgroup = 0; warpgroup < Tile::kWarpgroups; ++warpgroup) {
      ptx::mbarrier_init(turn(warpgroup), kWarpgroupThreads);
    }
  }
};

// Two warpgroups take turns: while one issues its products, which keeps its warps busy, the other
// has the rest of the multiprocessor for its softmax. The first begins.
template <class Tile>
class WarpgroupTurns {
 public:
  __device__ __forceinline__ explicit WarpgroupTurns(const AttentionBarriers<Tile>& barriers)
      : own_(barriers.turn(threadIdx.x / kWarpgroupThreads)),
        other_(barriers.turn(threadIdx.x / kWarpgroupThreads ^ 1)) {
    // Of a new barrier the phase before the first counts as over.
    parity_ = threadIdx.x < kWarpgroupThreads;
  }
  __device__ __forceinline__ void wait() {
    if constexpr (kTaken) {
      ptx::mbarrier_wait(own_, parity_);
      parity_ ^= 1;
    }
  }
  __device__ __forceinline__ void pass() const {
    if constexpr (kTaken) ptx::mbarrier_arrive(other_);
  }

 private:
  static constexpr bool kTaken = Tile::kWarpgroups == 2;
  const uint32_t own_, other_;
  uint32_t parity_;
};

// First byte of a stage of K and V; Q lies before the first one.
template <class Tile>
__device__ __forceinline__ uint32_t stage_address(uint32_t shared, int stage) {
  return shared + Tile::kQBytes + stage * Tile::kStageBytes;
}

// Starts to fill all stages, and prepares Q; false where there is no tile. Commits groups: one of
// the first K, one of the first V, and one of each further stage, even where nothing is left to
// load. attend() does the same in place: with a call of this its tallest tile spills.
template <class Tile, class Work>
__device__ __forceinline__ bool start_tiles(uint32_t shared, int first_tile, int last_tile,
                                            Work& work) {
  work.before_k(shared);
  if (first_tile >= last_tile) {
    work.before_v();
    work.prepare(shared);
    return false;
  }
  work.load_k(stage_address<Tile>(shared, 0), first_tile);
  ptx::cp_async_commit_group();
  work.before_v();
  work.load_v(stage_address<Tile>(shared, 0), first_tile);
  ptx::cp_async_commit_group();
#pragma unroll 1
  for (int ahead = 1; ahead < Tile::kStages; ++ahead) {
    if (first_tile + ahead < last_tile) {
      work.load_k(stage_address<Tile>(shared, ahead), first_tile + ahead);
      work.load_v(stage_address<Tile>(shared, ahead), first_tile + ahead);
    }
    ptx::cp_async_commit_group();
  }
  work.prepare(shared);
#pragma unroll 1
  for (int ahead = 0; ahead < Tile::kStages; ++ahead) {
    if (first_tile + ahead < last_tile) {
      work.add_new(stage_address<Tile>(shared, ahead), first_tile + ahead);
    }
  }
  return true;
}

// attend() by warpgroups; `work` is the same.
template <class Tile, class Work>
__device__ __forceinline__ void attend_by_warpgroups(uint32_t shared,
                                                     const AttentionWarp<Tile>& warp,
                                                     int first_tile, int last_tile, Work& work,
                                                     AttentionSums<Tile>& sums) {
  const AttentionBarriers<Tile> barriers = {shared};
  barriers.init();
  if (!start_tiles<Tile>(shared, first_tile, last_tile, work)) return;
  ptx::cp_async_wait_group<Tile::kStages>();
  ptx::fence_proxy_async();
  __syncthreads();  // Q and the first K are there
  const WgmmaQ<Tile> q(shared, warp);
  WarpgroupTurns<Tile> turns(barriers);

  const float scale = softmax_scale(Tile::kHeadSize);
  AttentionScores<Tile> scores;
  WgmmaWeights<Tile> weights;
  turns.wait();
  ptx::wgmma_fence();
  start_q_k<Tile>(q, stage_address<Tile>(shared, 0), warp, scores);
  turns.pass();
  ptx::wgmma_wait_group<0>();
  ptx::wgmma_results(flat<Tile>(scores));
  work.mask(first_tile, scores);
  weigh<Tile>(scale, scores, sums);
  round_weights<Tile>(scores, weights, sums);
  ptx::cp_async_wait_group<Tile::kStages - 2>();
  ptx::fence_proxy_async();
  ptx::mbarrier_arrive(barriers.landed(0));
  ptx::mbarrier_arrive(barriers.landed(1));
  ptx::mbarrier_wait(barriers.landed(0), 0);

  // In the step of tile i the products read K of tile i + 1 and V of tile i; the stage of tile i -
  // 1 is filled anew, with tile i - 1 + kStages; and at its end all have arrived for tile i + 2.
  ptx::StageTurn<Tile::kStages> turn, next, refilled, landing;
  next.next();
  landing.stage = 2;
#pragma unroll 1
  for (int tile = first_tile; tile + 1 < last_tile; ++tile) {
    // Nobody arrived here before having read the tile before, whose stage is filled anew.
    ptx::mbarrier_wait(barriers.landed(next.stage), next.parity);
    turns.wait();
    ptx::wgmma_fence();
    start_q_k<Tile>(q, stage_address<Tile>(shared, next.stage), warp, scores);
    start_weights_v<Tile>(weights, stage_address<Tile>(shared, turn.stage) + Tile::kKvBytes, warp,
                          sums);
    turns.pass();
    if (tile > first_tile) {  // the stage of the tile before
      const int newest = tile + Tile::kStages - 1;
      if (newest < last_tile) {
        const uint32_t target = stage_address<Tile>(shared, refilled.stage);
        work.load_k(target, newest);
        work.load_v(target, newest);
        work.add_new(target, newest);
      }
      refilled.next();
      ptx::cp_async_commit_group();
    }
    ptx::wgmma_wait_group<1>();
    ptx::wgmma_results(flat<Tile>(scores));
    work.mask(tile + 1, scores);
    const float2 factors = weigh<Tile>(scale, scores, sums);
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_results(flat<Tile>(sums));
    rescale_sums<Tile>(factors, sums);
    round_weights<Tile>(scores, weights, sums);
    ptx::cp_async_wait_group<Tile::kStages - 3>();
    ptx::fence_proxy_async();
    ptx::mbarrier_arrive(barriers.landed(landing.stage));
    landing.next();
    turn = next;
    next.next();
  }
  turns.wait();
  ptx::wgmma_fence();
  start_weights_v<Tile>(weights, stage_address<Tile>(shared, turn.stage) + Tile::kKvBytes, warp,
                        sums);
  turns.pass();
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
