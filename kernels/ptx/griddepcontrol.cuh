// Programmatic dependent launch: a kernel may start before the one that it depends on has ended.
// Below SM 90 kernels start in order, and there is nothing to do.
#pragma once

namespace edge_llm::ptx {

#if __CUDA_ARCH__ >= 900
constexpr bool kDependentLaunch = true;
#else
constexpr bool kDependentLaunch = false;
#endif

// griddepcontrol.launch_dependents: the next grid may start once all CTAs have come here. Before
// griddepcontrol.wait it promises that grid nothing: it has to wait before it reads anything.
// PTX ISA, "Parallel synchronization and communication instructions: griddepcontrol".
__device__ __forceinline__ void griddepcontrol_launch_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// griddepcontrol.wait: returns when the grid before has ended and its writes are visible.
// PTX ISA, "Parallel synchronization and communication instructions: griddepcontrol".
__device__ __forceinline__ void griddepcontrol_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace edge_llm::ptx
