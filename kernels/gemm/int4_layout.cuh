// Sizes and addresses that the INT4 kernels share.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm {

constexpr int kGroupSize = 128;  // weights along k that share one scale

// The units [first, last) of k that split `split` of `splits` covers, out of `units`: as even as
// whole units allow, and never empty while splits <= units.
struct SplitRange {
  int first;
  int last;
};

__device__ __forceinline__ SplitRange split_range(int units, int split, int splits) {
  const int64_t wide_units = units;  // units * splits stays within 64 bits
  return {static_cast<int>(wide_units * split / splits),
          static_cast<int>(wide_units * (split + 1) / splits)};
}

// Bytes from the start of the packed weights to the 16 bytes that hold channel `n` at
// k = 64 * tile + 32 * half + [0, 32). 64 bits: n * k passes 2^31 for large vocabularies.
__device__ __forceinline__ int64_t packed_offset(int n, int tile, int half, int k) {
  return static_cast<int64_t>(n / 4) * k * 2 + tile * 128 + (n % 4) * 32 + half * 16;
}

}  // namespace edge_llm
