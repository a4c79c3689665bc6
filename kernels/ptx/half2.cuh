// Arithmetic on pairs of FP16 values in one register, and conversions from and to FP32. Raw
// registers instead of cuda_fp16.h: the kernels need eight instructions, not its 15000 lines.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// lop3.b32 with immLut = (0xF0 & 0xCC) | 0xAA: (a & b) | c in one instruction.
// PTX ISA, "Logic and shift instructions: lop3".
__device__ __forceinline__ uint32_t lop3_and_or(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// sub.f16x2
// PTX ISA, "Half precision floating-point instructions: sub".
__device__ __forceinline__ uint32_t sub_f16x2(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("sub.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

// mul.f16x2
// PTX ISA, "Half precision floating-point instructions: mul".
__device__ __forceinline__ uint32_t mul_f16x2(uint32_t a, uint32_t b) {
  uint32_t d;
  asm("mul.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}

// fma.rn.f16x2
// PTX ISA, "Half precision floating-point instructions: fma".
__device__ __forceinline__ uint32_t fma_f16x2(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// mov.b32 from two halves: the same value in both.
// PTX ISA, "Data movement and conversion instructions: mov" (pack).
__device__ __forceinline__ uint32_t mov_f16x2(uint16_t value) {
  uint32_t d;
  asm("mov.b32 %0, {%1, %1};" : "=r"(d) : "h"(value));
  return d;
}

// cvt.f32.f16
// PTX ISA, "Data movement and conversion instructions: cvt".
__device__ __forceinline__ float cvt_f32_f16(uint16_t value) {
  float d;
  asm("cvt.f32.f16 %0, %1;" : "=f"(d) : "h"(value));
  return d;
}

// cvt.rn.f16x2.f32: `low` in the lower half, that is at the lower address once stored.
// PTX ISA, "Data movement and conversion instructions: cvt".
__device__ __forceinline__ uint32_t cvt_f16x2_f32(float low, float high) {
  uint32_t d;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}

}  // namespace edge_llm::ptx
