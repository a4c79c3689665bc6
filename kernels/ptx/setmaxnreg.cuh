// Registers that warpgroups of a CTA hand to one another.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// setmaxnreg.inc: this warpgroup has kRegisters per thread from here on; waits until others have
// released them.
// PTX ISA, "Miscellaneous instructions: setmaxnreg".
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// setmaxnreg.dec: the same with fewer than it had.
// PTX ISA, "Miscellaneous instructions: setmaxnreg".
template <int kRegisters>
__device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace edge_llm::ptx
