// The first of two kernels of prefill: K after RoPE, and V, of the valid tokens go to their slots
// of the cache, from where the second one reads what all tokens need.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_rope.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/prefetch.cuh"

namespace edge_llm {

// A chunk of a head, turned.
__device__ __forceinline__ uint4 turned_global_chunk(const char* head, const float* angles,
                                                     int rotary_size, int chunk) {
  const uint4* chunks = reinterpret_cast<const uint4*>(head);
  if (chunk * kChunkValues >= rotary_size) return chunks[chunk];
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

// Grid: (pairs of chunks of K and V of a row / threads, batch). A thread has a chunk of each half
// of a head, which mostly turn together: fewer threads leave room for CTAs of the kernel behind.
// Pairs of a token are neighbours, so that its heads find its angles in L1.
__device__ __forceinline__ void attention_append(const AttentionParams& params) {
  constexpr int kLineChunks = 8;  // of 128 bytes
  const int head_chunks = params.head_size / kChunkValues;
  const int pairs = head_chunks / 2;
  const int heads = 2 * params.num_kv_heads;  // K heads, then V heads
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  const int token = item / (heads * pairs);
  const int in_token = item - token * (heads * pairs);
  const int head = in_token / pairs;
  const int chunk = in_token - head * pairs;
  const int other = chunk + pairs;

  if (token >= params.q_len) return;
  const char* source = packed_head(params, blockIdx.y, token, params.num_q_heads + head);
  const uint4* chunks = reinterpret_cast<const uint4*>(source);
  if (ptx::kDependentLaunch && chunk % (kLineChunks / 2) == 0) ptx::prefetch_l2(chunks + 2 * chunk);
  ptx::griddepcontrol_wait();
  // Only now: the prefill kernel reads the packed QKV before it waits for this one.
  ptx::griddepcontrol_launch_dependents();
  const AttentionRow row = attention_row(params, blockIdx.y);
  if (token >= row.tokens) return;
  const int slot = row.first_slot + token;  // and position
  const bool is_v = head >= params.num_kv_heads;
  const float* angles = rope_angles(params, row.batch, slot);
  uint4 values[] = {chunks[chunk], chunks[other]};
  if (!is_v && params.rotary_size == params.head_size) {
    ChunkAngles eight;
    eight.load(angles, params.rotary_size, chunk * kChunkValues);
    const uint4 first = turned_chunk(values[0], values[1], eight, -1.f);
    values[1] = turned_chunk(values[1], values[0], eight, 1.f);
    values[0] = first;
  } else if (!is_v) {
    values[0] = turned_global_chunk(source, angles, params.rotary_size, chunk);
    values[1] = turned_global_chunk(source, angles, params.rotary_size, other);
  }
  char* target = cache_head(params, row.batch, is_v, head - is_v * params.num_kv_heads);
  uint4* target_chunks = reinterpret_cast<uint4*>(target) + int64_t{slot} * head_chunks;
  target_chunks[chunk] = values[0];
  target_chunks[other] = values[1];
}

}  // namespace edge_llm
