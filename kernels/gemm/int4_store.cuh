// The end of every INT4 kernel: sums to the output, or to the partials of a split.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

// Stores the sums of row m, channels n and n + 1 (n even, in range; n % 4 == 0 of the whole width
// keeps pairs together and aligned).
__device__ __forceinline__ void store_pair(const Int4GemmParams& params, int split, int64_t m,
                                           int n, float first, float second) {
  const int64_t index = m * params.n + n;
  if (params.splits == 1) {
    static_cast<uint32_t*>(params.y)[index / 2] = ptx::cvt_f16x2_f32(first, second);
  } else {
    const int64_t partial = static_cast<int64_t>(split) * params.m * params.n + index;
    reinterpret_cast<float2*>(params.partials)[partial / 2] = {first, second};
  }
}

}  // namespace edge_llm
