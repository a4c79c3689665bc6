// Conversions between float and the 16-bit floating point types, rounded exactly once.
//
// `_Float16` is a storage type of clang on every target we build for: with F16C (x86-64-v3) or on
// aarch64 the casts are single instructions, elsewhere compiler-rt does the same in software.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace ptx_emulator {

template <class To, class From>
inline To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs equal sizes");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// The NaN that every instruction with a 16-bit or 32-bit floating point result gives.
inline constexpr uint32_t kCanonicalNan = 0x7fffffffu;
inline constexpr uint16_t kCanonicalNan16 = 0x7fffu;

inline float canonical(float value) {
  return value != value ? bit_cast<float>(kCanonicalNan) : value;
}

inline float half_to_float(uint16_t bits) { return static_cast<float>(bit_cast<_Float16>(bits)); }

// Round to nearest, ties to even; overflow gives infinity.
inline uint16_t float_to_half(float value) {
  const uint16_t bits = bit_cast<uint16_t>(static_cast<_Float16>(value));
  return value != value ? kCanonicalNan16 : bits;
}

inline float bfloat_to_float(uint16_t bits) {
  return bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t float_to_bfloat(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return static_cast<uint16_t>(value != value ? kCanonicalNan16 : rounded);
}

// Rounds towards zero and keeps a sticky last bit (round to odd). A later rounding to at most 22
// significant bits then gives the same result as one rounding of the double.
inline float double_to_float_odd(double value) {
  const float nearest = static_cast<float>(value);
  const double back = static_cast<double>(nearest);
  const uint32_t away = std::fabs(back) > std::fabs(value) ? 1u : 0u;
  const uint32_t inexact = back != value ? 1u : 0u;
  const uint32_t bits = (bit_cast<uint32_t>(nearest) - away) | inexact;
  return value != value ? nearest : bit_cast<float>(bits);
}

// Rounds towards zero; overflow gives infinity.
inline float double_to_float_zero(double value) {
  const float nearest = static_cast<float>(value);
  const double magnitude = std::fabs(value);
  const bool away = std::fabs(static_cast<double>(nearest)) > magnitude && magnitude < 0x1p128;
  return canonical(bit_cast<float>(bit_cast<uint32_t>(nearest) - (away ? 1u : 0u)));
}

// Floats hold the product of two halves, and what its sum with a third loses (Knuth's two-sum):
// that becomes a sticky last bit.
inline uint16_t half_fma(uint16_t a, uint16_t b, uint16_t c) {
  const float product = half_to_float(a) * half_to_float(b);
  const float addend = half_to_float(c);
  const float sum = product + addend;
  const float added = sum - product;
  const float lost = (product - (sum - added)) + (addend - added);
  const uint32_t bits = bit_cast<uint32_t>(sum);
  const uint32_t away = (bits ^ bit_cast<uint32_t>(lost)) >> 31;
  const bool is_inexact = lost < 0 || lost > 0;  // false for the NaN that infinities leave
  return float_to_half(bit_cast<float>(is_inexact ? (bits - away) | 1u : bits));
}

// The product of two bfloats is exact in double; where the sum is not, the addend is at least 2^31
// times the product and the lost bits cannot reach a rounding boundary of the 16-bit result.
inline uint16_t bfloat_fma(uint16_t a, uint16_t b, uint16_t c) {
  const double product = double{bfloat_to_float(a)} * double{bfloat_to_float(b)};
  return float_to_bfloat(double_to_float_odd(product + double{bfloat_to_float(c)}));
}

inline float flush_subnormal(float value) {
  const uint32_t bits = bit_cast<uint32_t>(value);
  return bit_cast<float>((bits & 0x7f800000u) == 0 ? bits & 0x80000000u : bits);
}

}  // namespace ptx_emulator
