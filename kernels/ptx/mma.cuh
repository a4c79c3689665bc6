// Warp-level matrix products.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32
// PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type".
// With g = lane / 4 and q = lane % 4, each register holds two neighbours:
//   a[0] = A[g][2q..], a[1] = A[g + 8][2q..], a[2] = A[g][2q + 8..], a[3] = A[g + 8][2q + 8..]
//   b[0] = B[2q..][g], b[1] = B[2q + 8..][g]
//   d[0..1] = D[g][2q..], d[2..3] = D[g + 8][2q..]
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace edge_llm::ptx
