// Stores to shared memory by 32-bit address.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// st.shared.v4.u32: 16 bytes.
// PTX ISA, "Data movement and conversion instructions: st".
__device__ __forceinline__ void st_shared_v4(uint32_t address, const uint4& value) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(value.x),
               "r"(value.y), "r"(value.z), "r"(value.w)
               : "memory");
}

}  // namespace edge_llm::ptx
