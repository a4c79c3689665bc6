// The end of every INT4 kernel: sums to the output, or to the partials of a split.
#pragma once

#include "kernels/fixed_width_types.h"
#include "kernels/gemm/int4_gemm_params.h"
#include "kernels/ptx/half2.cuh"

namespace edge_llm {

// Where the sums of row m go, from channel n on (even; n % 4 == 0 of the whole width keeps pairs
// together and aligned).
class PairStore {
 public:
  __device__ __forceinline__ PairStore(const Int4GemmParams& params, int split, int64_t m, int n)
      : whole_(params.splits == 1) {
    const int64_t index = m * params.n + n;
    const int64_t partial = static_cast<int64_t>(split) * params.m * params.n + index;
    output_ = whole_ ? static_cast<char*>(params.y) + index * 2
                     : reinterpret_cast<char*>(params.partials) + partial * 4;
  }

  // Stores the sums of channels n + distance, an even one, and n + distance + 1.
  __device__ __forceinline__ void store(int distance, float first, float second) const {
    if (whole_) {
      *reinterpret_cast<uint32_t*>(output_ + distance * 2) = ptx::cvt_f16x2_f32(first, second);
    } else {
      *reinterpret_cast<float2*>(output_ + distance * 4) = {first, second};
    }
  }

 private:
  bool whole_;
  char* output_;
};

}  // namespace edge_llm
