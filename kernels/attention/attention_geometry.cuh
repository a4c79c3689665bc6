// Where the tokens of a row go: the one place that reads modes, lengths, starts and positions.
//
// Lengths come from the device unchecked, so every value of them has a defined result here, and
// nothing that follows from it lies outside of a tensor.
#pragma once

#include "kernels/attention/attention_params.h"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/ld_relaxed.cuh"

namespace edge_llm {

struct AttentionRow {
  int batch;       // index of the row
  int first_slot;  // slot of token 0; every older slot is visible to all tokens
  int tokens;      // those behind are invalid
  int slots;       // tokens that have a slot: fewer where a tree ends beyond the cache
  bool tree;       // positions come from tree_positions and visibility from tree_mask

  __device__ __forceinline__ int kv_length() const { return tokens > 0 ? first_slot + slots : 0; }
};

// The row that these values of context_lengths and start_index make.
__device__ __forceinline__ AttentionRow attention_row(const AttentionParams& params, int batch,
                                                      int length, int start) {
  const AttentionMode mode = params.mode;

  // A batch in decode may hold rows whose prompt is a single token: a chunk, whatever the mode.
  const bool generates = mode == AttentionMode::kDecode || mode == AttentionMode::kTreeDecode;
  const bool one_token_chunk = generates && params.q_len == 1 && length == 1 && start > 0;
  const bool counts_total = generates && !one_token_chunk;  // length includes the older slots

  AttentionRow row;
  row.batch = batch;
  row.tree = mode == AttentionMode::kTreeDecode && !one_token_chunk;
  const int64_t first = counts_total ? static_cast<int64_t>(length) - params.q_len : start;
  const int wanted = counts_total ? params.q_len : min(length, params.q_len);
  // Where positions are slots, those past the RoPE table end the row too.
  const int end = row.tree ? params.capacity : min(params.capacity, params.rope_positions);
  const bool inside = first >= 0 && first < end + row.tree && wanted > 0;
  row.first_slot = inside ? static_cast<int>(first) : 0;
  row.slots = inside ? min(wanted, end - row.first_slot) : 0;
  row.tokens = inside && row.tree ? wanted : row.slots;
  return row;
}

__device__ __forceinline__ AttentionRow attention_row(const AttentionParams& params, int batch) {
  const bool from_start = params.mode == AttentionMode::kPrefill;
  return attention_row(params, batch, params.context_lengths[batch],
                       from_start ? 0 : params.start_index[batch]);
}

// What the row will be, as far as one can tell while the kernel in front may still be writing: good
// for prefetches alone. Lies within the tensors like the other. Not in prefill.
__device__ __forceinline__ AttentionRow expected_row(const AttentionParams& params, int batch) {
  return attention_row(params, batch, ptx::ld_relaxed_s32(params.context_lengths + batch),
                       ptx::ld_relaxed_s32(params.start_index + batch));
}

// What a tree gives as the position of a token; needs no row, so that it loads along with lengths.
__device__ __forceinline__ int given_position(const AttentionParams& params, int batch, int token) {
  if (params.mode != AttentionMode::kTreeDecode || token >= params.q_len) return -1;
  return params.tree_positions[static_cast<int64_t>(batch) * params.q_len + token];
}

// The RoPE position of a token, or -1 where the token is invalid: its K and V are written nowhere,
// nobody sees it, and its output is zero.
__device__ __forceinline__ int token_position(const AttentionParams& params,
                                              const AttentionRow& row, int token, int given) {
  if (token >= row.tokens) return -1;
  if (!row.tree) return row.first_slot + token;
  return given < params.rope_positions ? max(given, -1) : -1;
}

// First byte of K (0) or V (1) of one head of a row in the cache.
__device__ __forceinline__ char* cache_head(const AttentionParams& params, int batch, int k_or_v,
                                            int kv_head) {
  const int64_t head = (2 * static_cast<int64_t>(batch) + k_or_v) * params.num_kv_heads + kv_head;
  return static_cast<char*>(params.kv_cache) + head * params.capacity * params.head_size * 2;
}

// How far behind K of a head its V is.
__device__ __forceinline__ int64_t values_behind_keys(const AttentionParams& params) {
  return static_cast<int64_t>(params.num_kv_heads) * params.capacity * params.head_size * 2;
}

// The K and V of one head of a row.
struct KvHeads {
  char* k;  // f16 [capacity, head_size]
  char* v;

  // From a slot on.
  __device__ __forceinline__ KvHeads from(int slot, int head_bytes) const {
    const int64_t offset = static_cast<int64_t>(slot) * head_bytes;
    return {k + offset, v + offset};
  }
};

__device__ __forceinline__ KvHeads kv_heads(const AttentionParams& params, int batch, int kv_head) {
  return {cache_head(params, batch, 0, kv_head), cache_head(params, batch, 1, kv_head)};
}

// Index of (batch, token, Q head) in the output, in heads.
__device__ __forceinline__ int64_t q_head_index(const AttentionParams& params, int batch,
                                                int64_t token, int head) {
  return (static_cast<int64_t>(batch) * params.q_len + token) * params.num_q_heads + head;
}

}  // namespace edge_llm
