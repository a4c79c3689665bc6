// The first of the attention kernels: turns Q and K by RoPE. Q goes to the workspace, K and V of
// the valid tokens to their slots of the cache. The packed QKV stays as it is.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

constexpr int kChunkValues = 8;  // FP16 values of 16 bytes, what a thread moves

// One value of the rotated head: pairs (i, i + rotary_size / 2) turn, the rest passes through.
__device__ __forceinline__ float rotated(const uint16_t* head, const float* cos_sin,
                                         int rotary_size, int dim) {
  const int half = rotary_size / 2;
  const float value = ptx::cvt_f32_f16(head[dim]);
  if (dim >= rotary_size) return value;
  const int pair = dim < half ? dim : dim - half;
  const float other = ptx::cvt_f32_f16(head[dim < half ? dim + half : pair]);
  const float sine = cos_sin[half + pair];
  return value * cos_sin[pair] + other * (dim < half ? -sine : sine);
}

// Grid: (chunks of a row / threads, batch). Chunks of a token are neighbours, so that the heads of
// a token find its cosines in L1.
__device__ __forceinline__ void attention_rope(const AttentionParams& params) {
  const int head_chunks = params.head_size / kChunkValues;
  const int heads = params.num_q_heads + 2 * params.num_kv_heads;
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  const int token = item / (heads * head_chunks);
  if (token >= params.q_len) return;
  const int in_token = item - token * (heads * head_chunks);
  const int head = in_token / head_chunks;
  const int dim = (in_token - head * head_chunks) * kChunkValues;

  const AttentionRow row = attention_row(params, blockIdx.y);
  const int position = token_position(params, row, token);
  const int kv_head = head - params.num_q_heads;  // K heads, then V heads
  if (position < 0 && kv_head >= 0) return;

  uint4 values = {0, 0, 0, 0};
  if (position >= 0) {
    const int64_t qkv_head =
        (static_cast<int64_t>(row.batch) * params.q_len + token) * heads + head;
    const uint16_t* source = static_cast<const uint16_t*>(params.qkv) + qkv_head * params.head_size;
    if (dim >= params.rotary_size || kv_head >= params.num_kv_heads) {
      values = *reinterpret_cast<const uint4*>(source + dim);
    } else {
      const int64_t table = params.rope_rows == 1 ? 0 : row.batch;
      const float* cos_sin =
          params.rope_cos_sin + (table * params.rope_positions + position) * params.rotary_size;
      float turned[kChunkValues];
#pragma unroll
      for (int i = 0; i < kChunkValues; ++i) {
        turned[i] = rotated(source, cos_sin, params.rotary_size, dim + i);
      }
      values = {ptx::cvt_f16x2_f32(turned[0], turned[1]), ptx::cvt_f16x2_f32(turned[2], turned[3]),
                ptx::cvt_f16x2_f32(turned[4], turned[5]), ptx::cvt_f16x2_f32(turned[6], turned[7])};
    }
  }

  char* target;
  if (kv_head < 0) {
    target = static_cast<char*>(params.q) +
             q_head_index(params, row.batch, token, head) * params.head_size * 2;
  } else {
    const int k_or_v = kv_head >= params.num_kv_heads;
    const int64_t slot = row.first_slot + token;
    target = cache_head(params, row.batch, k_or_v, kv_head - k_or_v * params.num_kv_heads) +
             slot * params.head_size * 2;
  }
  *reinterpret_cast<uint4*>(target + dim * 2) = values;
}

}  // namespace edge_llm
