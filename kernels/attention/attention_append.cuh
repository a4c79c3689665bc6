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

// Grid: (chunks of K and V of a row / threads, batch). Chunks of a token are neighbours, so that
// its heads find its angles in L1.
__device__ __forceinline__ void attention_append(const AttentionParams& params) {
  constexpr int kLineChunks = 8;  // of 128 bytes
  const int head_chunks = params.head_size / kChunkValues;
  const int heads = 2 * params.num_kv_heads;  // K heads, then V heads
  const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
  const int token = item / (heads * head_chunks);
  const int in_token = item - token * (heads * head_chunks);
  const int head = in_token / head_chunks;
  const int chunk = in_token - head * head_chunks;

  if (token >= params.q_len) return;
  const char* source = packed_head(params, blockIdx.y, token, params.num_q_heads + head);
  if (ptx::kDependentLaunch && chunk % kLineChunks == 0) {
    ptx::prefetch_l2(source + chunk * kChunkValues * 2);
  }
  ptx::griddepcontrol_wait();
  // Only now: the prefill kernel reads the packed QKV before it waits for this one.
  ptx::griddepcontrol_launch_dependents();
  const AttentionRow row = attention_row(params, blockIdx.y);
  if (token >= row.tokens) return;
  const int slot = row.first_slot + token;  // and position
  const int k_or_v = head >= params.num_kv_heads;
  const uint4 values = k_or_v ? reinterpret_cast<const uint4*>(source)[chunk]
                              : turned_global_chunk(source, rope_angles(params, row.batch, slot),
                                                    params.rotary_size, chunk);
  char* target = cache_head(params, row.batch, k_or_v, head - k_or_v * params.num_kv_heads);
  reinterpret_cast<uint4*>(target)[static_cast<int64_t>(slot) * head_chunks + chunk] = values;
}

}  // namespace edge_llm
