// The second half of split-K: y = FP16(sum of the partials), summed in split order, so that the
// same inputs give the same bits. A kernel of its own needs no counters in the workspace.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/ptx/griddepcontrol.cuh"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

// Grid: (ceil(m * n / 4 / threads)). One thread sums four neighbours; n % 4 == 0 leaves no rest.
__device__ __forceinline__ void int4_combine(const Int4GemmParams& params) {
  const int64_t quads = static_cast<int64_t>(params.m) * params.n / 4;
  const int64_t quad = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (quad >= quads) return;
  ptx::griddepcontrol_wait();
  ptx::griddepcontrol_launch_dependents();
  const float4* partials = reinterpret_cast<const float4*>(params.partials) + quad;
  float4 total = *partials;
  for (int split = 1; split < params.splits; ++split) {
    const float4 partial = partials[split * quads];
    total.x += partial.x;
    total.y += partial.y;
    total.z += partial.z;
    total.w += partial.w;
  }
  const uint2 packed = {ptx::cvt_f16x2_f32(total.x, total.y), ptx::cvt_f16x2_f32(total.z, total.w)};
  static_cast<uint2*>(params.y)[quad] = packed;
}

}  // namespace edge_llm
