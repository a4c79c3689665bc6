// Powers of two.
#pragma once

namespace edge_llm::ptx {

// ex2.approx.ftz.f32: 2^x within 2 ulp; 0 for -infinity.
// PTX ISA, "Floating point instructions: ex2".
__device__ __forceinline__ float ex2_approx(float x) {
  float d;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(d) : "f"(x));
  return d;
}

}  // namespace edge_llm::ptx
