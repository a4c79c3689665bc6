// A small INT4 GEMM for tests: n = 8, k = 192, which are two groups, the second one short.
#pragma once

#include <cstdint>

#include "plugins/testing/plugin_driver.h"

namespace edge_llm::testing {

inline Fields int4_fields() {
  return {"Int4GroupwiseGemmPlugin", {{"gemm_n", 8}, {"gemm_k", 192}, {"group_size", 128}}};
}

// The tensors of a call with x = [b, s, 192].
inline Tensors int4_tensors(int64_t b, int64_t s) {
  return {{{b, s, 192}}, {{4, 192}, abi::DataType::kInt8}, {{2, 8}}, {{b, s, 8}}};
}

inline Pointers int4_pointers() { return Pointers(3, 1); }

}  // namespace edge_llm::testing
