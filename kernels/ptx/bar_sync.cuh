// Barriers of some warps of a CTA.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// bar.sync of kThreads threads at the barrier kBarrier; __syncthreads is number 0.
// PTX ISA, "Parallel synchronization and communication instructions: bar".
template <int kBarrier, int kThreads>
__device__ __forceinline__ void bar_sync() {
  static_assert(kBarrier > 0 && kBarrier < 16 && kThreads % 32 == 0, "no such barrier");
  asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kThreads) : "memory");
}

}  // namespace edge_llm::ptx
