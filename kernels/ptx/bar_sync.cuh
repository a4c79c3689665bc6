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

// The same where the number of the barrier is known at run time.
// PTX ISA, "Parallel synchronization and communication instructions: bar".
template <int kThreads>
__device__ __forceinline__ void bar_sync(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

// bar.arrive: one of kThreads threads, which does not wait for the others.
// PTX ISA, "Parallel synchronization and communication instructions: bar".
template <int kThreads>
__device__ __forceinline__ void bar_arrive(int barrier) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

}  // namespace edge_llm::ptx
