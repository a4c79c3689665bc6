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

// What a tree's mask gives as 32 bits of a token; needs no row, like given_position.
__device__ __forceinline__ uint32_t given_mask(const AttentionParams& params, int batch, int token,
                                               int word) {
  if (params.mode != AttentionMode::kTreeDecode) return 0;
  if (token >= params.q_len || word >= params.mask_words) return 0;
  const int64_t mask_row = static_cast<int64_t>(batch) * params.q_len + token;
  return params.tree_mask[mask_row * params.mask_words + word];
}

// 32 bits of what a token sees: those of the mask, or itself and all before.
__device__ __forceinline__ uint32_t visible_tokens(const AttentionRow& row, int token, int word,
                                                   uint32_t given) {
  if (row.tree) return given;
  const int last = token - 32 * word;
  if (last < 0) return 0;
  return last >= 31 ? ~0u : (2u << last) - 1;
}

// Finds the visibility by all threads of a CTA, in steps: what it loads depends on nothing else on
// the device. token_of(row) is the token of a row of the tile, at least q_len where the row holds
// none.
template <int kRows, int kThreads>
class FindVisibility {
 public:
  // Starts to load.
  template <class TokenOf>
  __device__ __forceinline__ FindVisibility(const AttentionParams& params, int batch,
                                            const TokenOf& token_of) {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int token = index(i);
      positions_[i] = token < 32 * kTreeWords ? given_position(params, batch, token) : -1;
    }
#pragma unroll
    for (int i = 0; i < kMasks; ++i) {
      const int row = index(i) / kTreeWords;
      masks_[i] = row < kRows ? given_mask(params, batch, token_of(row), index(i) % kTreeWords) : 0;
    }
  }

  // The tokens; a barrier has to follow.
  __device__ __forceinline__ void put_tokens(const AttentionParams& params, const AttentionRow& row,
                                             TokenVisibility<kRows>& visibility) const {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int token = index(i);
      if (token >= 32 * kTreeWords) break;  // all of a warp
      const int position = token_position(params, row, token, positions_[i]);
      visibility.positions[token] = position;
      const uint32_t bits = __ballot_sync(0xffffffffu, position >= 0);
      if (threadIdx.x % 32 == 0) visibility.valid[token / 32] = bits;
    }
  }

  // What the rows see; another barrier has to follow.
  template <class TokenOf>
  __device__ __forceinline__ void put_rows(const AttentionParams& params, const AttentionRow& row,
                                           const TokenOf& token_of,
                                           TokenVisibility<kRows>& visibility) const {
#pragma unroll
    for (int i = 0; i < kMasks; ++i) {
      const int tile_row = index(i) / kTreeWords;
      const int word = index(i) % kTreeWords;
      if (tile_row >= kRows) break;
      const int token = token_of(tile_row);
      const bool valid = token < params.q_len && visibility.token_valid(token);
      const uint32_t seen = visible_tokens(row, token, word, masks_[i]) & visibility.valid[word] &
                            tokens_with_slot(row, word);
      visibility.rows[tile_row][word] = valid ? seen : 0;
    }
  }

 private:
  static constexpr int kTokens = (32 * kTreeWords + kThreads - 1) / kThreads;  // of a thread
  static constexpr int kMasks = (kRows * kTreeWords + kThreads - 1) / kThreads;

  static __device__ __forceinline__ int index(int i) { return i * kThreads + threadIdx.x; }

  int positions_[kTokens];
  uint32_t masks_[kMasks];
};

}  // namespace edge_llm
