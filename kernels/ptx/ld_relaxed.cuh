// Loads of values that another kernel may be writing.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// ld.relaxed.gpu.global.s32: from the L2, so that no older value stays in L1 for later loads.
// PTX ISA, "Data movement and conversion instructions: ld".
__device__ __forceinline__ int32_t ld_relaxed_s32(const int32_t* global) {
  int32_t value;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(global));
  return value;
}

}  // namespace edge_llm::ptx
