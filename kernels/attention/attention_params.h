// The one parameter of every attention kernel, passed by value.
//
// A token is a row of the packed QKV; a slot is a row of the cache. Which tokens are valid, where
// they go and what they see follows from the mode and from lengths on the device:
// attention_geometry.cuh.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm {

// What context_lengths[b] means is in attention_geometry.cuh.
enum class AttentionMode : int32_t {
  kPrefill,         // the cache of the row starts with these tokens
  kChunkedPrefill,  // tokens follow start_index[b] older slots
  kDecode,          // q_len == 1: the newest token
  kTreeDecode,      // q_len draft tokens that see one another by tree_mask
};

// CTAs that may share a KV range: what the combine kernel has room for.
constexpr int32_t kMaxAttentionSplits = 64;

// Splits that one thread of the combine kernel merges at a time: it has their parts in flight.
constexpr int32_t kCombinedSplits = 4;

// Threads of the combine kernel that share the splits of the same four values of a head: as many as
// it takes to have all parts in flight.
EDGE_LLM_HOST_DEVICE constexpr int32_t combine_lanes(int32_t threads, int32_t head_size,
                                                     int32_t splits) {
  const int32_t places = threads / (head_size / 4);
  const int32_t wanted = (splits + kCombinedSplits - 1) / kCombinedSplits;
  return wanted < places ? wanted : places;
}

// Output heads that one CTA of the combine kernel merges.
EDGE_LLM_HOST_DEVICE constexpr int32_t combined_heads(int32_t threads, int32_t head_size,
                                                      int32_t splits) {
  return threads / (head_size / 4) / combine_lanes(threads, head_size, splits);
}

struct AttentionParams {
  const void* qkv;                 // f16 [batch, q_len, num_q_heads + 2 * num_kv_heads, head_size]
  void* kv_cache;                  // f16 [batch, 2 (K, V), num_kv_heads, capacity, head_size]
  const int32_t* context_lengths;  // [batch]
  const float* rope_cos_sin;       // [rope_rows, rope_positions, rotary_size]: half cos, half sin
  const int32_t* start_index;      // [batch]; null in prefill
  const int32_t* tree_mask;        // [batch, q_len, mask_words]; null unless tree decode
  const int32_t* tree_positions;   // [batch, q_len]; null unless tree decode
  float* partials;                 // workspace of splits > 1: attention_partials.cuh; else null
  void* output;                    // f16 [batch, q_len, num_q_heads, head_size]
  int32_t batch;
  int32_t q_len;        // tokens of a row, valid or not; at most 128 in tree decode
  int32_t num_q_heads;  // a multiple of num_kv_heads, at most 16 times as many
  int32_t num_kv_heads;
  int32_t head_size;
  int32_t capacity;        // slots of a row of the cache
  int32_t rope_rows;       // 1, or batch: each row has its own table
  int32_t rope_positions;  // positions of a table
  int32_t rotary_size;     // leading dimensions of a head that turn; even, <= head_size
  int32_t mask_words;      // row stride of tree_mask, >= ceil(q_len / 32)
  AttentionMode mode;
  int32_t splits;  // CTAs that share the KV range of one tile of rows
};

// Tensors of values and partials are 16-byte aligned, those of int32 4-byte aligned.
static_assert(sizeof(AttentionParams) == 120, "the host and the device disagree on the layout");
#ifndef __CUDACC_RTC__  // NVRTC has no offsetof; the size above catches padding there.
static_assert(offsetof(AttentionParams, partials) == 56, "unexpected padding");
static_assert(offsetof(AttentionParams, batch) == 72, "unexpected padding");
static_assert(offsetof(AttentionParams, splits) == 116, "unexpected padding");
#endif

}  // namespace edge_llm
