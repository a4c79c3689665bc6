// Barriers in shared memory, 8 bytes each, on which threads arrive and others wait. From SM 80 on.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// mbarrier.init: each phase ends with the arrival of `count` threads.
// PTX ISA, "Parallel synchronization and communication instructions: mbarrier.init".
__device__ __forceinline__ void mbarrier_init(uint32_t address, uint32_t count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(count) : "memory");
}

// mbarrier.arrive: what this thread did so far is seen by those that wait for the phase.
// PTX ISA, "Parallel synchronization and communication instructions: mbarrier.arrive".
__device__ __forceinline__ void mbarrier_arrive(uint32_t address) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(address) : "memory");
}

// mbarrier.try_wait.parity, until the phase of this parity has ended; the first has parity 0.
// PTX ISA, "Parallel synchronization and communication instructions: mbarrier.try_wait".
__device__ __forceinline__ void mbarrier_wait(uint32_t address, uint32_t parity) {
  uint32_t ended;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(ended)
        : "r"(address), "r"(parity)
        : "memory");
  } while (ended == 0);
}

// The stages of a ring that such barriers guard, one after the other, around and around; the parity
// is that of the phase of a stage's barriers.
template <int kStages>
struct StageTurn {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void next() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

}  // namespace edge_llm::ptx
