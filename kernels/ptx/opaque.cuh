// What the compiler knows of a value.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// The same value, of which the compiler knows nothing: what a loop derives from it is computed in
// every iteration, and takes no registers outside of it. No instruction.
__device__ __forceinline__ uint32_t opaque(uint32_t value) {
  asm volatile("" : "+r"(value));
  return value;
}

}  // namespace edge_llm::ptx
