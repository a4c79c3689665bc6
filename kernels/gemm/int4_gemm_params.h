// The one parameter of every INT4 GEMM kernel, passed by value: y = x * w^T with
// w[n][k] = (u[n][k] - 8) * scales[k / 128][n] and u in 0..15, accumulated in FP32.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm {

struct Int4GemmParams {
  const void* x;        // f16 [m, k], 16-byte aligned
  const void* weights;  // i8 [n / 2, k], packed (int4_dequantize.cuh), 16-byte aligned
  const void* scales;   // f16 [ceil(k / 128), n], 8-byte aligned
  void* y;              // f16 [m, n], 8-byte aligned
  float* partials;      // f32 [splits, m, n], 16-byte aligned; null when splits == 1
  int32_t m;            // rows of x and y, >= 1
  int32_t n;            // output channels, n % 4 == 0
  int32_t k;            // input channels, k % 64 == 0
  int32_t splits;       // CTAs that share the k range of one output tile
};

static_assert(sizeof(Int4GemmParams) == 56, "the host and the device disagree on the layout");
#ifndef __CUDACC_RTC__  // NVRTC has no offsetof; the size above catches padding there.
static_assert(offsetof(Int4GemmParams, partials) == 32, "unexpected padding");
static_assert(offsetof(Int4GemmParams, m) == 40, "unexpected padding");
static_assert(offsetof(Int4GemmParams, splits) == 52, "unexpected padding");
#endif

}  // namespace edge_llm
