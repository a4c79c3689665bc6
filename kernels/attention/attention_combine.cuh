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
  __shared__ float2 shared_states[kMaxThreads / 8];
  __shared__ float4 lane_sums[kMaxThreads];
  const int splits = params.splits;
  const int quads = params.head_size / 4;
  const int heads = combined_heads(blockDim.x, params.head_size, splits);
  const int lanes = min(static_cast<int>(blockDim.x) / quads, splits);
  const int head_threads = lanes * quads;
  const int head_in_cta = threadIdx.x / head_threads;
  const int in_head = threadIdx.x - head_in_cta * head_threads;
  const int lane = in_head / quads;
  const int quad = in_head - lane * quads;
  const int64_t head = static_cast<int64_t>(blockIdx.x) * heads + head_in_cta;
  const bool merges = head_in_cta < heads && head < output_heads(params);
  float2* states = shared_states + head_in_cta * splits;

  ptx::griddepcontrol_launch_dependents();
  ptx::griddepcontrol_wait();
  const auto part_of = [&](int split) {
    return reinterpret_cast<const float4*>(partial_output(params, split, head))[quad];
  };
  // The first parts are on their way before their factors are known.
  float4 first_parts[kFirstParts] = {};
  if (merges) {
#pragma unroll
    for (int i = 0; i < kFirstParts; ++i) {
      if (lane + i * lanes < splits) first_parts[i] = part_of(lane + i * lanes);
    }
    for (int split = in_head; split < splits; split += head_threads) {
      states[split] = *partial_state(params, split, head);
    }
  }
  __syncthreads();
  float maximum = masked_score();
  float weight = 0.f;
  float4 sum = {0.f, 0.f, 0.f, 0.f};
  const float scale = softmax_scale(params.head_size);
  const auto add = [&](int split, const float4& part) {
    const float2 state = states[split];
    if (state.y == 0.f) return;  // whatever the part is
    const float factor = softmax_weight(state.x, maximum, scale);
    weight += factor * state.y;
    sum.x += factor * part.x;
    sum.y += factor * part.y;
    sum.z += factor * part.z;
    sum.w += factor * part.w;
  };
  if (merges) {
    for (int split = 0; split < splits; ++split) maximum = fmaxf(maximum, states[split].x);
#pragma unroll
    for (int i = 0; i < kFirstParts; ++i) {
      if (lane + i * lanes < splits) add(lane + i * lanes, first_parts[i]);
    }
    for (int split = lane + kFirstParts * lanes; split < splits; split += lanes) {
      add(split, part_of(split));
    }
  }
  lane_sums[threadIdx.x] = sum;
  __syncthreads();  // the states have been read
  if (merges && quad == 0) states[lane].y = weight;
  __syncthreads();
  if (!merges || lane > 0) return;

  for (int other = 1; other < lanes; ++other) {
    const float4 part = lane_sums[threadIdx.x + other * quads];
    weight += states[other].y;
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
