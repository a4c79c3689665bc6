// Addresses in the shared window.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// cvta.to.shared: the 32-bit address that ldmatrix and cp.async take.
// PTX ISA, "Data movement and conversion instructions: cvta".
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace edge_llm::ptx
