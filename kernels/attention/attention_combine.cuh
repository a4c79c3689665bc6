// The end of a split KV range: merges the partial results in a fixed order, so that the same inputs
// give the same bits.
#pragma once

#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_partials.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_store.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

// Four neighbouring values of a head, merged of some splits.
struct MergedValues {
  float2 state = {masked_score(), 0.f};  // the maximum, and the sum of weights
  float4 sum = {0.f, 0.f, 0.f, 0.f};

  // Merges `count` partial results, which lie state_step states and part_step parts apart.
  __device__ __forceinline__ void merge(int count, const float2* states_from, int64_t state_step,
                                        const float4* parts_from, int64_t part_step, float scale) {
#pragma unroll 1
    for (int first = 0; first < count; first += kCombinedSplits) {
      // All of them are on their way before one is needed.
      float2 states[kCombinedSplits];
      float4 parts[kCombinedSplits];
#pragma unroll
      for (int i = 0; i < kCombinedSplits; ++i) {
        const bool exists = first + i < count;
        states[i] = exists ? states_from[i * state_step] : float2{masked_score(), 0.f};
        parts[i] = exists ? parts_from[i * part_step] : float4{};
      }
      states_from += kCombinedSplits * state_step;
      parts_from += kCombinedSplits * part_step;
      float maximum = state.x;
#pragma unroll
      for (int i = 0; i < kCombinedSplits; ++i) maximum = fmaxf(maximum, states[i].x);
      if (first > 0) scale_by(softmax_weight(state.x, maximum, scale));
      state.x = maximum;
#pragma unroll
      for (int i = 0; i < kCombinedSplits; ++i) {
        if (states[i].y == 0.f) continue;  // whatever the part is
        const float factor = softmax_weight(states[i].x, maximum, scale);
        state.y += factor * states[i].y;
        sum.x += factor * parts[i].x;
        sum.y += factor * parts[i].y;
        sum.z += factor * parts[i].z;
        sum.w += factor * parts[i].w;
      }
    }
  }

 private:
  __device__ __forceinline__ void scale_by(float factor) {
    state.y *= factor;
    sum = {sum.x * factor, sum.y * factor, sum.z * factor, sum.w * factor};
  }
};

// Grid: (output heads / combined_heads()). The threads are [heads][lanes][head_size / 4]: one takes
// four neighbouring values of every lanes-th split of a head, so that the splits are read side by
// side, and the first lane merges what the lanes have.
__device__ __forceinline__ void attention_combine(const AttentionParams& params) {
  constexpr int kMostThreads = 256;  // the generator refuses more
  __shared__ float2 lane_states[kMostThreads];
  __shared__ float4 lane_sums[kMostThreads];
  const int splits = params.splits;
  const int quads = params.head_size / 4;
  const int lanes = combine_lanes(blockDim.x, params.head_size, splits);
  const int head_threads = lanes * quads;
  const int head_in_cta = threadIdx.x / head_threads;
  const int in_head = threadIdx.x - head_in_cta * head_threads;
  const int lane = in_head / quads;
  const int quad = in_head - lane * quads;
  const int heads = combined_heads(blockDim.x, params.head_size, splits);
  const int64_t head = static_cast<int64_t>(blockIdx.x) * heads + head_in_cta;
  const bool merges = head_in_cta < heads && head < output_heads(params);
  const float scale = softmax_scale(params.head_size);
  const int lane_splits = merges && lane < splits ? (splits - lane - 1) / lanes + 1 : 0;
  const float2* states = partial_state(params, lane, head);
  const float4* parts = reinterpret_cast<const float4*>(partial_output(params, lane, head)) + quad;
  const int64_t state_step = lanes * output_heads(params);
  const int64_t part_step = state_step * quads;

  ptx::griddepcontrol_launch_dependents();
  ptx::griddepcontrol_wait();
  MergedValues merged;
  merged.merge(lane_splits, states, state_step, parts, part_step, scale);
  if (lanes > 1) {
    lane_states[threadIdx.x] = merged.state;
    lane_sums[threadIdx.x] = merged.sum;
    __syncthreads();
    merged = MergedValues();
    if (merges && lane == 0) {
      merged.merge(lanes, lane_states + threadIdx.x, quads, lane_sums + threadIdx.x, quads, scale);
    }
  }
  if (!merges || lane > 0) return;

  const float factor = output_factor(merged.state.y);
  static_cast<uint2*>(params.output)[head * quads + quad] = {
      ptx::cvt_f16x2_f32(merged.sum.x * factor, merged.sum.y * factor),
      ptx::cvt_f16x2_f32(merged.sum.z * factor, merged.sum.w * factor)};
}

}  // namespace edge_llm
