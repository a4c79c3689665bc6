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

// Grid: (output heads). The threads are [lanes][head_size / 4]: one takes four neighbouring values
// of every lanes-th split, so that the splits are read side by side, and the first lane adds up.
__device__ __forceinline__ void attention_combine(const AttentionParams& params) {
  constexpr int kMaxThreads = 1024;  // of a CTA, in CUDA
  __shared__ float2 states[kMaxAttentionSplits];
  __shared__ float4 lane_sums[kMaxThreads];
  const int64_t head = blockIdx.x;
  const int quads = params.head_size / 4;
  const int lanes = blockDim.x / quads;
  const int lane = threadIdx.x / quads;
  const int quad = threadIdx.x - lane * quads;

  ptx::griddepcontrol_wait();  // for the decode kernel
  for (int split = threadIdx.x; split < params.splits; split += blockDim.x) {
    states[split] = *partial_state(params, split, head);
  }
  __syncthreads();
  float maximum = masked_score();
  for (int split = 0; split < params.splits; ++split) maximum = fmaxf(maximum, states[split].x);

  const float scale = softmax_scale(params.head_size);
  float4 sum = {0.f, 0.f, 0.f, 0.f};
#pragma unroll 4
  for (int split = lane; split < params.splits; split += lanes) {
    const float2 state = states[split];
    if (lane >= lanes || state.y == 0.f) continue;
    const float factor = softmax_weight(state.x, maximum, scale);
    const float4 part = reinterpret_cast<const float4*>(partial_output(params, split, head))[quad];
    sum.x += factor * part.x;
    sum.y += factor * part.y;
    sum.z += factor * part.z;
    sum.w += factor * part.w;
  }
  lane_sums[threadIdx.x] = sum;
  __syncthreads();
  if (lane > 0) return;

  float weight = 0.f;
  for (int split = 0; split < params.splits; ++split) {
    if (states[split].y == 0.f) continue;
    weight += softmax_weight(states[split].x, maximum, scale) * states[split].y;
  }
  for (int other = 1; other < lanes; ++other) {
    const float4 part = lane_sums[other * quads + quad];
    sum.x += part.x;
    sum.y += part.y;
    sum.z += part.z;
    sum.w += part.w;
  }
  const float factor = output_factor(weight, true);
  static_cast<uint2*>(params.output)[head * quads + quad] = {
      ptx::cvt_f16x2_f32(sum.x * factor, sum.y * factor),
      ptx::cvt_f16x2_f32(sum.z * factor, sum.w * factor)};
}

}  // namespace edge_llm
