// Loads from shared memory by 32-bit address.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// ld.shared.u16: one FP16 value as bits.
// PTX ISA, "Data movement and conversion instructions: ld".
__device__ __forceinline__ uint16_t ld_shared_u16(uint32_t address) {
  uint16_t value;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(value) : "r"(address) : "memory");
  return value;
}

// ld.shared.v4.u32: 16 bytes.
// PTX ISA, "Data movement and conversion instructions: ld".
__device__ __forceinline__ uint4 ld_shared_v4(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

}  // namespace edge_llm::ptx
