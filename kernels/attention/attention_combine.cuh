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

// Grid: (output heads / combined_heads()). The threads are [heads][lanes][head_size / 4]: one takes
// four neighbouring values of every lanes-th split of a head, so that the splits are read side by
// side, and the first lane adds up.
__device__ __forceinline__ void attention_combine(const AttentionParams& params) {
  constexpr int kMaxThreads = 1024;  // of a CTA, in CUDA
  constexpr int kFirstParts = 4;     // all of a thread, up to 32 splits of a head of 128
  __shared__ float2 states[kMaxThreads / 8];
  __shared__ float4 lane_sums[kMaxThreads];
  const int splits = params.splits;
  const int quads = params.head_size / 4;
  const int heads = combined_heads(blockDim.x, params.head_size, splits);
  const int lanes = min(static_cast<int>(blockDim.x) / quads, splits);
  const int place = threadIdx.x / quads;
  const int quad = threadIdx.x - place * quads;
  const int lane = place % lanes;
  const int64_t first_head = static_cast<int64_t>(blockIdx.x) * heads;
  const int64_t head = first_head + place / lanes;
  const bool merges = place < heads * lanes && head < output_heads(params);
  const float2* head_states = states + place / lanes * splits;

  ptx::griddepcontrol_wait();
  ptx::griddepcontrol_launch_dependents();
  const auto part_of = [&](int split) {
    return reinterpret_cast<const float4*>(partial_output(params, split, head))[quad];
  };
  // The first parts are on their way before their factors are known.
  float4 first_parts[kFirstParts] = {};
#pragma unroll
  for (int i = 0; i < kFirstParts; ++i) {
    const int split = lane + i * lanes;
    if (merges && split < splits) first_parts[i] = part_of(split);
  }
  for (int i = threadIdx.x; i < heads * splits; i += blockDim.x) {
    const int64_t state_head = first_head + i / splits;
    if (state_head < output_heads(params)) {
      states[i] = *partial_state(params, i % splits, state_head);
    }
  }
  __syncthreads();

  const float scale = softmax_scale(params.head_size);
  float maximum = masked_score();
  float4 sum = {0.f, 0.f, 0.f, 0.f};
  const auto add = [&](int split, const float4& part) {
    const float2 state = head_states[split];
    if (state.y == 0.f) return;
    const float factor = softmax_weight(state.x, maximum, scale);
    sum.x += factor * part.x;
    sum.y += factor * part.y;
    sum.z += factor * part.z;
    sum.w += factor * part.w;
  };
  if (merges) {
    for (int split = 0; split < splits; ++split) maximum = fmaxf(maximum, head_states[split].x);
#pragma unroll
    for (int i = 0; i < kFirstParts; ++i) {
      const int split = lane + i * lanes;
      if (split < splits) add(split, first_parts[i]);
    }
    for (int split = lane + kFirstParts * lanes; split < splits; split += lanes) {
      add(split, part_of(split));
    }
  }
  lane_sums[threadIdx.x] = sum;
  __syncthreads();
  if (!merges || lane > 0) return;

  float weight = 0.f;
  for (int split = 0; split < splits; ++split) {
    const float2 state = head_states[split];
    if (state.y != 0.f) weight += softmax_weight(state.x, maximum, scale) * state.y;
  }
  for (int other = 1; other < lanes; ++other) {
    const float4 part = lane_sums[threadIdx.x + other * quads];
    sum.x += part.x;
    sum.y += part.y;
    sum.z += part.z;
    sum.w += part.w;
  }
  const float factor = output_factor(weight);
  static_cast<uint2*>(params.output)[head * quads + quad] = {
      ptx::cvt_f16x2_f32(sum.x * factor, sum.y * factor),
      ptx::cvt_f16x2_f32(sum.z * factor, sum.w * factor)};
}

}  // namespace edge_llm
