// The tensors of an Int4GroupwiseGemmPlugin.
#pragma once

#include <cstdint>

#include "plugins/adapter/tensors.h"
#include "plugins/int4_gemm/int4_gemm_config.h"

namespace edge_llm {

// Positions among the inputs; the one output is f16 [B, S, N].
enum Int4GemmInput : int32_t {
  kX = 0,        // f16 [B, S, K]
  kWeights = 1,  // i8 [N / 2, K], packed
  kScales = 2,   // f16 [ceil(K / group_size), N]
};

Signature int4_gemm_signature();

// B * S of x. Throws for a rank other than 3, an extent that is negative (unknown), and for more
// rows than the kernels count.
int64_t int4_gemm_rows(const abi::v10::Dims& x);

// Checks the shapes of all four tensors and returns the rows of x.
int64_t checked_int4_gemm_rows(const Int4GemmConfig& config, const Shapes& shapes);

}  // namespace edge_llm
