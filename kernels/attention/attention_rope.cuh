// RoPE of the heads of the packed QKV: pairs of values (i, i + rotary_size / 2) turn by the angles
// of the token's position, the rest passes through. Threads move chunks of eight values.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

constexpr int kChunkValues = 8;  // FP16 values of 16 bytes

// A head of a token in the packed QKV: Q heads, then K heads, then V heads.
__device__ __forceinline__ const char* packed_head(const AttentionParams& params, int batch,
                                                   int token, int head) {
  const int heads = params.num_q_heads + 2 * params.num_kv_heads;
  const int64_t index = (static_cast<int64_t>(batch) * params.q_len + token) * heads + head;
  return static_cast<const char*>(params.qkv) + index * params.head_size * 2;
}

// The cosines, then the sines of a position.
__device__ __forceinline__ const float* rope_angles(const AttentionParams& params, int batch,
                                                    int position) {
  const int64_t table = params.rope_rows == 1 ? 0 : batch;
  return params.rope_cos_sin + (table * params.rope_positions + position) * params.rotary_size;
}

// Whether the two halves of the turning dimensions are whole chunks.
__device__ __forceinline__ bool turns_in_chunks(int rotary_size) {
  return rotary_size % (2 * kChunkValues) == 0;
}

// The one formula, so that all kernels give the same bits: x cos - y sin for the first value x of a
// pair, with -sin given, and y cos + x sin for the second one.
__device__ __forceinline__ float turned(float value, float other, float cosine, float sine) {
  return __fmaf_rn(other, sine, __fmul_rn(value, cosine));
}

// One value of a head in global memory.
__device__ __forceinline__ float turned_value(const char* head, const float* angles,
                                              int rotary_size, int dim) {
  const uint16_t* values = reinterpret_cast<const uint16_t*>(head);
  const int half = rotary_size / 2;
  const float value = ptx::cvt_f32_f16(values[dim]);
  if (dim >= rotary_size) return value;
  const bool first = dim < half;
  const int pair = first ? dim : dim - half;
  const float other = ptx::cvt_f32_f16(values[first ? dim + half : pair]);
  const float sine = angles[half + pair];
  return turned(value, other, angles[pair], first ? -sine : sine);
}

// The angles of eight pairs.
struct ChunkAngles {
  float cosines[kChunkValues];
  float sines[kChunkValues];

  // `pair` is a multiple of eight.
  __device__ __forceinline__ void load(const float* angles, int rotary_size, int pair) {
    load_eight(angles + pair, cosines);
    load_eight(angles + rotary_size / 2 + pair, sines);
  }

 private:
  static __device__ __forceinline__ void load_eight(const float* from, float (&to)[kChunkValues]) {
#pragma unroll
    for (int i = 0; i < kChunkValues; i += 4) {
      const float4 values = *reinterpret_cast<const float4*>(from + i);
      to[i] = values.x;
      to[i + 1] = values.y;
      to[i + 2] = values.z;
      to[i + 3] = values.w;
    }
  }
};

// The first values of eight pairs when `sign` is -1, the second ones when it is 1.
__device__ __forceinline__ uint4 turned_chunk(const uint4& chunk, const uint4& others,
                                              const ChunkAngles& angles, float sign) {
  const uint32_t values[] = {chunk.x, chunk.y, chunk.z, chunk.w};
  const uint32_t other_values[] = {others.x, others.y, others.z, others.w};
  uint32_t result[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    float pair[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = 2 * word + i;
      const float value = ptx::cvt_f32_f16(static_cast<uint16_t>(values[word] >> (16 * i)));
      const float other = ptx::cvt_f32_f16(static_cast<uint16_t>(other_values[word] >> (16 * i)));
      pair[i] = turned(value, other, angles.cosines[at], sign * angles.sines[at]);
    }
    result[word] = ptx::cvt_f16x2_f32(pair[0], pair[1]);
  }
  return {result[0], result[1], result[2], result[3]};
}

// A chunk of a head in global memory, turned, if there are angles; zeros without a head.
__device__ __forceinline__ uint4 turned_global_chunk(const char* head, const float* angles,
                                                     int rotary_size, int chunk) {
  if (head == nullptr) return {0, 0, 0, 0};
  const uint4* chunks = reinterpret_cast<const uint4*>(head);
  if (angles == nullptr || chunk * kChunkValues >= rotary_size) return chunks[chunk];
  if (turns_in_chunks(rotary_size)) {
    const int half = rotary_size / 2 / kChunkValues;  // chunks
    const bool first = chunk < half;
    const int pair = first ? chunk : chunk - half;
    ChunkAngles eight;
    eight.load(angles, rotary_size, pair * kChunkValues);
    return turned_chunk(chunks[chunk], chunks[first ? chunk + half : pair], eight,
                        first ? -1.f : 1.f);
  }
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int dim = chunk * kChunkValues + 2 * i;
    words[i] = ptx::cvt_f16x2_f32(turned_value(head, angles, rotary_size, dim),
                                  turned_value(head, angles, rotary_size, dim + 1));
  }
  return {words[0], words[1], words[2], words[3]};
}

// The chunks c and c + head_size / 16 of a head: where all dimensions turn, they turn together.
struct ChunkPair {
  uint4 first;
  uint4 second;
};

__device__ __forceinline__ ChunkPair load_pair(const char* head, int head_size, int chunk) {
  const uint4* chunks = reinterpret_cast<const uint4*>(head) + chunk;
  return {chunks[0], chunks[head_size / kChunkValues / 2]};
}

__device__ __forceinline__ ChunkPair turned_pair(const ChunkPair& pair, const ChunkAngles& angles) {
  return {turned_chunk(pair.first, pair.second, angles, -1.f),
          turned_chunk(pair.second, pair.first, angles, 1.f)};
}

}  // namespace edge_llm
