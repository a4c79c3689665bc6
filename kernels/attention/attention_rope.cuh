// RoPE of the heads of the packed QKV, in chunks of eight values: what one thread moves.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

constexpr int kChunkValues = 8;  // FP16 values of 16 bytes

// A head of a token in the packed QKV: Q heads, then K heads, then V heads.
__device__ __forceinline__ const uint16_t* packed_head(const AttentionParams& params, int batch,
                                                       int token, int head) {
  const int heads = params.num_q_heads + 2 * params.num_kv_heads;
  const int64_t index = (static_cast<int64_t>(batch) * params.q_len + token) * heads + head;
  return static_cast<const uint16_t*>(params.qkv) + index * params.head_size;
}

// The cosines, then the sines of a position.
__device__ __forceinline__ const float* rope_angles(const AttentionParams& params, int batch,
                                                    int position) {
  const int64_t table = params.rope_rows == 1 ? 0 : batch;
  return params.rope_cos_sin + (table * params.rope_positions + position) * params.rotary_size;
}

__device__ __forceinline__ uint4 packed_chunk(const uint16_t* head, int chunk) {
  return *reinterpret_cast<const uint4*>(head + chunk * kChunkValues);
}

struct RopeChunk {
  float values[kChunkValues];

  __device__ __forceinline__ uint4 rounded() const {
    return {ptx::cvt_f16x2_f32(values[0], values[1]), ptx::cvt_f16x2_f32(values[2], values[3]),
            ptx::cvt_f16x2_f32(values[4], values[5]), ptx::cvt_f16x2_f32(values[6], values[7])};
  }
};

__device__ __forceinline__ RopeChunk widened(const uint4& chunk) {
  const uint32_t words[] = {chunk.x, chunk.y, chunk.z, chunk.w};
  RopeChunk wide;
#pragma unroll
  for (int i = 0; i < kChunkValues; ++i) {
    wide.values[i] = ptx::cvt_f32_f16(static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16)));
  }
  return wide;
}

__device__ __forceinline__ RopeChunk angles_chunk(const float* angles) {
  const float4 low = reinterpret_cast<const float4*>(angles)[0];
  const float4 high = reinterpret_cast<const float4*>(angles)[1];
  return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

// One value of the turned head: pairs (i, i + rotary_size / 2) turn, the rest passes through.
__device__ __forceinline__ float turned_value(const uint16_t* head, const float* angles,
                                              int rotary_size, int dim) {
  const int half = rotary_size / 2;
  const float value = ptx::cvt_f32_f16(head[dim]);
  if (dim >= rotary_size) return value;
  const int pair = dim < half ? dim : dim - half;
  const float other = ptx::cvt_f32_f16(head[dim < half ? dim + half : pair]);
  const float sine = angles[half + pair];
  return value * angles[pair] + other * (dim < half ? -sine : sine);
}

// A chunk of a head, turned by the angles of its position, as FP16.
__device__ __forceinline__ uint4 turned_chunk(const uint16_t* head, const float* angles,
                                              int rotary_size, int chunk) {
  const int dim = chunk * kChunkValues;
  const uint4 packed = packed_chunk(head, chunk);
  if (dim >= rotary_size) return packed;
  RopeChunk turned;
  const int half = rotary_size / 2;
  if (half % kChunkValues == 0) {  // the other values of the pairs are a chunk too
    const bool first = dim < half;
    const int pair = first ? dim : dim - half;
    const RopeChunk value = widened(packed);
    const RopeChunk other = widened(packed_chunk(head, (first ? dim + half : pair) / kChunkValues));
    const RopeChunk cosine = angles_chunk(angles + pair);
    const RopeChunk sine = angles_chunk(angles + half + pair);
#pragma unroll
    for (int i = 0; i < kChunkValues; ++i) {
      const float turn = first ? -sine.values[i] : sine.values[i];
      turned.values[i] = value.values[i] * cosine.values[i] + other.values[i] * turn;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kChunkValues; ++i) {
      turned.values[i] = turned_value(head, angles, rotary_size, dim + i);
    }
  }
  return turned.rounded();
}

}  // namespace edge_llm
