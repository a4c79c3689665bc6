// The tensors of an AttentionPlugin, and what a call's shapes say: the mode, and every extent.
#pragma once

#include <cstdint>

#include "plugins/adapter/tensors.h"
#include "plugins/attention/attention_config.h"
#include "plugins/runtime/attention_launcher.h"

namespace edge_llm {

// B rows of S tokens, Hq and Hkv heads of size D, Cap slots per row of the cache.
enum AttentionInput : int32_t {
  kPackedQkv = 0,       // f16 [B, S, (Hq + 2 Hkv) * D] or [B, S, Hq + 2 Hkv, D]
  kKvCache = 1,         // f16 [B, 2, Hkv, Cap, D]
  kContextLengths = 2,  // i32 [B]
  kRopeCosSin = 3,      // f32 [1 or B, P, R], R <= D
  kStartIndex = 4,      // i32 [0] or [B]
  kTreeMask = 5,        // i32 [B, S, W], W >= ceil(S / 32); read in tree decode alone
  kTreePositions = 6,   // i32 [B, S]; [B, 1] beside longer rows means chunked prefill
};
enum AttentionOutput : int32_t {
  kAttentionOutput = 0,  // f16 [B, S, Hq, D]
  kKvCacheOut = 1,       // as kKvCache
};

// Five inputs, or seven with enable_tree_attention.
Signature attention_signature(const AttentionConfig& config);

// What the shapes of one call say.
struct AttentionCall {
  AttentionProblem problem;
  int64_t rope_rows = 0;
  int64_t rope_positions = 0;
  int64_t rotary_size = 0;
  int64_t mask_words = 0;  // 0 unless tree decode
};

// Throws for shapes that no mode has.
AttentionCall attention_call(const AttentionConfig& config, const Shapes& shapes);

// Throws for maxima of an optimisation profile that no call can come near. How they fit together is
// left to each call: the largest of each tensor need not belong to one mode.
void check_largest_attention_shapes(const AttentionConfig& config, const Shapes& shapes);

// The problem of the largest inputs, without a mode. Throws where one is unknown.
AttentionProblem largest_attention_problem(const AttentionConfig& config, const Shapes& shapes);

}  // namespace edge_llm
