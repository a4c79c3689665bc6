// Asynchronous copies from global to shared memory.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// cp.async.cg.shared.global with 16 bytes.
// PTX ISA, "Data movement and conversion instructions: cp.async".
__device__ __forceinline__ void cp_async_cg_16(uint32_t shared_address, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address), "l"(global)
               : "memory");
}

// The same; zeros are written, and nothing is read, unless `valid`.
// PTX ISA, "Data movement and conversion instructions: cp.async".
__device__ __forceinline__ void cp_async_cg_16(uint32_t shared_address, const void* global,
                                               bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address), "l"(global),
               "r"(valid ? 16 : 0)
               : "memory");
}

// cp.async.ca.shared.global with 8 bytes (.cg has no such size), otherwise as cp_async_cg_16.
// PTX ISA, "Data movement and conversion instructions: cp.async".
__device__ __forceinline__ void cp_async_ca_8(uint32_t shared_address, const void* global,
                                              bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address), "l"(global),
               "r"(valid ? 8 : 0)
               : "memory");
}

// cp.async.commit_group
// PTX ISA, "Data movement and conversion instructions: cp.async.commit_group".
__device__ __forceinline__ void cp_async_commit_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

// cp.async.wait_group: returns when at most `kPending` of this thread's groups are in flight.
// PTX ISA, "Data movement and conversion instructions: cp.async.wait_group".
template <int kPending>
__device__ __forceinline__ void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace edge_llm::ptx
