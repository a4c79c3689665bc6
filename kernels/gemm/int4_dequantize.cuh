// Packed INT4 weights to FP16, four at a time.
//
// The packing that checkpoints carry is made for the fragments of mma.m16n8k16. The 16 bytes
// of channel n = 4 n4 + r for 32 consecutive k, k = 64 t + 32 h + [0, 32), lie at byte
//   n4 * 2 K + 128 t + 32 r + 16 h
// and 32-bit word b of them holds, for a = 0..3, the codes of the neighbours k and k + 1,
// k = 64 t + 32 h + 8 a + 2 b:
//
//   bit   31..28 27..24 23..20 19..16 | 15..12 11..8  7..4   3..0
//   code  a=3    a=2    a=1    a=0    | a=3    a=2    a=1    a=0
//         \______  k + 1  ________/     \_______  k  ________/
//
// So (word >> 4 a) & 0x000f000f is a pair of neighbours, which one lane holds in one register of a
// fragment: lane 4 g + b has word b of channel g; a = 0, 1 serve one k16 step, a = 2, 3 the next.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

// FP16 has 10 mantissa bits, so 0x6400 | u is 1024 + u, and 0x6400 | (u << 4) is 1024 + 16 u:
// one lop3 masks a pair of codes and makes it a pair of FP16 numbers. Then
//   low nibble of a byte:   (1024 + u) - 1032             = u - 8
//   high nibble of a byte:  (1024 + 16 u) / 16 - (64 + 8) = u - 8, in one fma
// with every intermediate exact in FP16.
//
// Codes of the low bytes of both halves of `word`: pairs[a] = (u[k] - 8, u[k + 1] - 8), a = 0, 1.
// Of word >> 8 the same are a = 2, 3.
__device__ __forceinline__ void dequantize(uint32_t word, uint32_t (&pairs)[2]) {
  constexpr uint32_t kLowNibbles = 0x000f000f;
  constexpr uint32_t kHighNibbles = 0x00f000f0;
  constexpr uint32_t kMagic = 0x64006400;               // (1024, 1024)
  constexpr uint32_t kMagicPlusZeroPoint = 0x64086408;  // (1032, 1032)
  constexpr uint32_t kSixteenth = 0x2c002c00;           // (1 / 16, 1 / 16)
  constexpr uint32_t kMinusSeventyTwo = 0xd480d480;     // (-72, -72)
  const uint32_t low = ptx::lop3_and_or(word, kLowNibbles, kMagic);
  const uint32_t high = ptx::lop3_and_or(word, kHighNibbles, kMagic);
  pairs[0] = ptx::sub_f16x2(low, kMagicPlusZeroPoint);
  pairs[1] = ptx::fma_f16x2(high, kSixteenth, kMinusSeventyTwo);
}

}  // namespace edge_llm
