// What each row of a decode tile sees of the newest tokens, as bits: bit j of a row is token j. All
// slots older than token 0 are visible. Causal tokens and trees of up to 128 tokens look the same.
#pragma once

#include "kernels/attention/attention_geometry.cuh"
#include "kernels/attention/attention_params.h"
#include "kernels/fixed_width_types.h"

namespace edge_llm {

constexpr int kTreeWords = 4;  // of 32 tokens

template <int kRows>
struct TokenVisibility {
  uint32_t rows[kRows][kTreeWords];
  uint32_t valid[kTreeWords];      // the tokens that have a position
  int positions[32 * kTreeWords];  // of the tokens; -1 for an invalid one

  __device__ __forceinline__ bool token_valid(int token) const {
    return valid[token / 32] >> (token % 32) & 1;
  }

  // Bits of the 32 slots from token `first` on; negative ones are older slots.
  __device__ __forceinline__ uint32_t slots(int row, int first) const {
    if (first <= -32) return ~0u;
    if (first < 0) return rows[row][0] << -first | ((1u << -first) - 1);
    const int word = first / 32;
    if (word >= kTreeWords) return 0;
    const uint32_t next = word + 1 < kTreeWords ? rows[row][word + 1] : 0;
    return __funnelshift_r(rows[row][word], next, first % 32);
  }
};

// 32 bits of the tokens that have a slot.
__device__ __forceinline__ uint32_t tokens_with_slot(const AttentionRow& row, int word) {
  const int count = row.slots - 32 * word;
  if (count <= 0) return 0;
  return count >= 32 ? ~0u : (1u << count) - 1;
}

// 32 bits of what a token sees: those of the mask, or itself and all before.
__device__ __forceinline__ uint32_t visible_tokens(const AttentionParams& params,
                                                   const AttentionRow& row, int token, int word) {
  if (row.tree) {
    if (word >= params.mask_words) return 0;
    const int64_t mask_row = static_cast<int64_t>(row.batch) * params.q_len + token;
    return params.tree_mask[mask_row * params.mask_words + word];
  }
  const int last = token - 32 * word;
  if (last < 0) return 0;
  return last >= 31 ? ~0u : (2u << last) - 1;
}

// Fills `visibility` by all threads of a CTA; token_of(row) is the token of a row of the tile, at
// least q_len where the row holds none. Barriers around it are up to the caller.
template <int kRows, class TokenOf>
__device__ __forceinline__ void find_visible_tokens(const AttentionParams& params,
                                                    const AttentionRow& row,
                                                    const TokenOf& token_of,
                                                    TokenVisibility<kRows>& visibility) {
  const int lane = threadIdx.x % 32;
  for (int word = threadIdx.x / 32; word < kTreeWords; word += blockDim.x / 32) {
    const int position = token_position(params, row, 32 * word + lane);
    visibility.positions[32 * word + lane] = position;
    const uint32_t bits = __ballot_sync(0xffffffffu, position >= 0);
    if (lane == 0) visibility.valid[word] = bits;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kRows * kTreeWords; i += blockDim.x) {
    const int word = i % kTreeWords;
    const int token = token_of(i / kTreeWords);
    const bool valid = token < params.q_len && visibility.token_valid(token);
    visibility.rows[i / kTreeWords][word] = valid ? visible_tokens(params, row, token, word) &
                                                        visibility.valid[word] &
                                                        tokens_with_slot(row, word)
                                                  : 0;
  }
}

}  // namespace edge_llm
