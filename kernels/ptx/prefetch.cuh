// Hints to the caches.
#pragma once

namespace edge_llm::ptx {

// prefetch.global.L2: asks for the line of an address. It may come before griddepcontrol.wait: in
// the L2 the line is still the one that other kernels write. PTX ISA, "Data movement and conversion
// instructions: prefetch".
__device__ __forceinline__ void prefetch_l2(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}

}  // namespace edge_llm::ptx
