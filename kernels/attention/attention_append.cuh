// The first of two kernels of prefill: K after RoPE, and V, of the valid tokens go to their slots
// of the cache, from where the second one reads what all tokens need.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/attention/attention_rope.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/prefetch.cuh"

namespace edge_llm {

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
  char* target = cache_head(params, row.batch, is_v, head - is_v * params.num_kv_heads);
  uint4* target_chunks = reinterpret_cast<uint4*>(target) + int64_t{slot} * head_chunks;
  const float* angles = is_v ? nullptr : rope_angles(params, row.batch, slot);
  if (is_v || params.rotary_size == params.head_size) {
    ChunkPair pair = load_pair(source, params.head_size, chunk);
    if (!is_v) {
      ChunkAngles eight;
      eight.load(angles, params.rotary_size, chunk * kChunkValues);
      pair = turned_pair(pair, eight);
    }
    target_chunks[chunk] = pair.first;
    target_chunks[chunk + pairs] = pair.second;
    return;
  }
#pragma unroll 1
  for (int at = chunk; at < head_chunks; at += pairs) {
    target_chunks[at] = turned_global_chunk(source, angles, params.rotary_size, at);
  }
}

}  // namespace edge_llm
