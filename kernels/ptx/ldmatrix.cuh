// Loads of matrix fragments from shared memory.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// ldmatrix.sync.aligned.m8n8.x4.shared.b16
// PTX ISA, "Warp-level matrix load instruction: ldmatrix".
// Lane l gives the shared address of one 16-byte row: row l % 8 of matrix l / 8. Afterwards
// registers[i] of lane l holds 32-bit word l % 4 of row l / 4 of matrix i.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&registers)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(row_address)
               : "memory");
}

// ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16
// PTX ISA, "Warp-level matrix load instruction: ldmatrix".
// As ldmatrix_x4, but of the transposed matrices: registers[i] of lane l holds the values of
// column l / 4 in the rows 2 * (l % 4) and 2 * (l % 4) + 1 of matrix i.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&registers)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(row_address)
               : "memory");
}

}  // namespace edge_llm::ptx
