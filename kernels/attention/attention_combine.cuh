// The end of a split KV range: merges the partial results in split order, so that the same inputs
// give the same bits.
#pragma once

#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_partials.cuh"
#include "kernels/attention/attention_softmax.cuh"
#include "kernels/attention/attention_store.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

// Grid: (ceil(heads * head_size / 4 / threads)). One thread merges four neighbours.
__device__ __forceinline__ void attention_combine(const AttentionParams& params) {
  const int head_quads = params.head_size / 4;
  const int64_t quad = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t head = quad / head_quads;
  if (head >= output_heads(params)) return;
  const int64_t in_head = quad - head * head_quads;

  float maximum = masked_score();
#pragma unroll 2  // further unrolling spills
  for (int split = 0; split < params.splits; ++split) {
    const float2 state = *partial_state(params, split, head);
    maximum = fmaxf(maximum, state.x);
  }
  const float scale = softmax_scale(params.head_size);
  float4 sum = {0.f, 0.f, 0.f, 0.f};
  float weight = 0.f;
#pragma unroll 2
  for (int split = 0; split < params.splits; ++split) {
    const float2 state = *partial_state(params, split, head);
    if (state.y == 0.f) continue;
    const float factor = softmax_weight(state.x, maximum, scale);
    const float4 part =
        reinterpret_cast<const float4*>(partial_output(params, split, head))[in_head];
    weight += factor * state.y;
    sum.x += factor * part.x;
    sum.y += factor * part.y;
    sum.z += factor * part.z;
    sum.w += factor * part.w;
  }
  const float factor = output_factor(weight, true);
  static_cast<uint2*>(params.output)[quad] = {ptx::cvt_f16x2_f32(sum.x * factor, sum.y * factor),
                                              ptx::cvt_f16x2_f32(sum.z * factor, sum.w * factor)};
}

}  // namespace edge_llm
