// Loads from global memory that the kernel never writes.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// ld.global.nc.v4.u32: 16 bytes. Zeros, and nothing is read, unless `valid`.
// PTX ISA, "Data movement and conversion instructions: ld.global.nc".
__device__ __forceinline__ void ld_global_nc_v4(uint32_t (&value)[4], const void* global,
                                                bool valid) {
  value[0] = value[1] = value[2] = value[3] = 0;
  asm volatile(
      "{\n"
      ".reg .pred valid;\n"
      "setp.ne.s32 valid, %5, 0;\n"
      "@valid ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];\n"
      "}"
      : "+r"(value[0]), "+r"(value[1]), "+r"(value[2]), "+r"(value[3])
      : "l"(global), "r"(static_cast<int>(valid)));
}

}  // namespace edge_llm::ptx
