// f16, f16x2, bf16 and bf16x2 arithmetic, each rounded once to nearest even.
//
// A float holds the product of two 16-bit floats exactly, and rounding a float sum again to 11 bits
// or fewer is innocuous (24 >= 2 * 11 + 2); only fma needs more care (float16.h).
#include <cmath>
#include <string>

#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

struct HalfFormat {
  static float widen(uint16_t bits) { return half_to_float(bits); }
  static uint16_t round(float value) { return float_to_half(value); }
  static uint16_t fma(uint16_t a, uint16_t b, uint16_t c) { return half_fma(a, b, c); }
  static constexpr uint16_t kOne = 0x3c00, kInfinity = 0x7c00, kNan = kCanonicalNan16;
};
struct BFloatFormat {
  static float widen(uint16_t bits) { return bfloat_to_float(bits); }
  static uint16_t round(float value) { return float_to_bfloat(value); }
  static uint16_t fma(uint16_t a, uint16_t b, uint16_t c) { return bfloat_fma(a, b, c); }
  static constexpr uint16_t kInfinity = 0x7f80, kNan = kCanonicalNan16;
};

template <class Format>
uint16_t add(uint16_t a, uint16_t b) {
  return Format::round(Format::widen(a) + Format::widen(b));
}
template <class Format>
uint16_t subtract(uint16_t a, uint16_t b) {
  return Format::round(Format::widen(a) - Format::widen(b));
}
template <class Format>
uint16_t multiply(uint16_t a, uint16_t b) {
  return Format::round(Format::widen(a) * Format::widen(b));
}
template <class Format>
uint16_t multiply_add(uint16_t a, uint16_t b, uint16_t c) {
  return Format::fma(a, b, c);
}

template <class Format>
bool is_nan(uint16_t a) {
  return (a & 0x7fff) > Format::kInfinity;
}
// Orders the bit patterns as the numbers, with -0 below +0.
int32_t order(uint16_t a) { return a & 0x8000 ? -static_cast<int32_t>(a & 0x7fff) - 1 : a; }

template <class Format>
uint16_t minimum(uint16_t a, uint16_t b) {
  if (is_nan<Format>(a)) return is_nan<Format>(b) ? Format::kNan : b;
  return is_nan<Format>(b) || order(a) <= order(b) ? a : b;
}
template <class Format>
uint16_t maximum(uint16_t a, uint16_t b) {
  if (is_nan<Format>(a)) return is_nan<Format>(b) ? Format::kNan : b;
  return is_nan<Format>(b) || order(a) >= order(b) ? a : b;
}
template <class Format>
uint16_t minimum_nan(uint16_t a, uint16_t b) {
  return is_nan<Format>(a) || is_nan<Format>(b) ? Format::kNan : minimum<Format>(a, b);
}
template <class Format>
uint16_t maximum_nan(uint16_t a, uint16_t b) {
  return is_nan<Format>(a) || is_nan<Format>(b) ? Format::kNan : maximum<Format>(a, b);
}

template <class Format>
uint16_t negate(uint16_t a) {
  return is_nan<Format>(a) ? Format::kNan : a ^ 0x8000;
}
template <class Format>
uint16_t absolute(uint16_t a) {
  return is_nan<Format>(a) ? Format::kNan : a & 0x7fff;
}
template <class Format>
uint16_t exponential2(uint16_t a) {
  return Format::round(std::exp2(Format::widen(a)));
}
template <class Format>
uint16_t hyperbolic_tangent(uint16_t a) {
  return Format::round(std::tanh(Format::widen(a)));
}

// .relu: negative results become +0, NaN stays.
template <class Format, auto F, class... S>
uint16_t clipped_below(S... values) {
  const uint16_t result = F(values...);
  if (is_nan<Format>(result)) return Format::kNan;
  return result & 0x8000 ? 0 : result;
}
// .sat: clamped to [0, 1], NaN becomes +0.
template <class Format, auto F, class... S>
uint16_t saturated(S... values) {
  const uint16_t result = F(values...);
  if (is_nan<Format>(result) || (result & 0x8000)) return 0;
  return result > Format::kOne ? Format::kOne : result;
}
// .ftz of f16: subnormal inputs and results count as zeros of their sign.
uint16_t flush(uint16_t a) { return (a & 0x7c00) == 0 ? a & 0x8000 : a; }
template <auto F, class... S>
uint16_t flushed(S... values) {
  return flush(F(flush(values)...));
}

// Applies a function of 16-bit values to both halves of packed registers.
template <auto F, class... S>
uint32_t packed(S... values) {
  const uint32_t low = F(static_cast<uint16_t>(values)...);
  const uint32_t high = F(static_cast<uint16_t>(values >> 16)...);
  return high << 16 | low;
}

template <auto F>
void add_unary(OpTable& table, const std::string& name, const std::string& type) {
  table.add<F>(name + "." + type);
  table.add<packed<F, uint32_t>>(name + "." + type + "x2");
}
template <auto F>
void add_binary(OpTable& table, const std::string& name, const std::string& type) {
  table.add<F>(name + "." + type);
  table.add<packed<F, uint32_t, uint32_t>>(name + "." + type + "x2");
}
template <auto F>
void add_ternary(OpTable& table, const std::string& name, const std::string& type) {
  table.add<F>(name + "." + type);
  table.add<packed<F, uint32_t, uint32_t, uint32_t>>(name + "." + type + "x2");
}

using U16 = uint16_t;

template <class Format>
void add_format(OpTable& table, const std::string& type) {
  for (const char* rounding : {"", ".rn"}) {
    const std::string suffix = rounding;
    add_binary<add<Format>>(table, "add" + suffix, type);
    add_binary<subtract<Format>>(table, "sub" + suffix, type);
    add_binary<multiply<Format>>(table, "mul" + suffix, type);
  }
  add_ternary<multiply_add<Format>>(table, "fma.rn", type);
  add_ternary<clipped_below<Format, multiply_add<Format>, U16, U16, U16>>(table, "fma.rn.relu",
                                                                          type);
  add_binary<minimum<Format>>(table, "min", type);
  add_binary<maximum<Format>>(table, "max", type);
  add_binary<minimum_nan<Format>>(table, "min.NaN", type);
  add_binary<maximum_nan<Format>>(table, "max.NaN", type);
  add_unary<negate<Format>>(table, "neg", type);
  add_unary<absolute<Format>>(table, "abs", type);
  add_unary<hyperbolic_tangent<Format>>(table, "tanh.approx", type);
}

}  // namespace

void add_half_ops(OpTable& table) {
  add_format<HalfFormat>(table, "f16");
  add_format<BFloatFormat>(table, "bf16");
  add_unary<exponential2<HalfFormat>>(table, "ex2.approx", "f16");
  add_unary<exponential2<BFloatFormat>>(table, "ex2.approx.ftz", "bf16");
  for (const char* rounding : {"", ".rn"}) {
    const std::string suffix = rounding;
    add_binary<flushed<add<HalfFormat>, U16, U16>>(table, "add" + suffix + ".ftz", "f16");
    add_binary<flushed<subtract<HalfFormat>, U16, U16>>(table, "sub" + suffix + ".ftz", "f16");
    add_binary<flushed<multiply<HalfFormat>, U16, U16>>(table, "mul" + suffix + ".ftz", "f16");
    add_binary<saturated<HalfFormat, add<HalfFormat>, U16, U16>>(table, "add" + suffix + ".sat",
                                                                 "f16");
    add_binary<saturated<HalfFormat, subtract<HalfFormat>, U16, U16>>(
        table, "sub" + suffix + ".sat", "f16");
    add_binary<saturated<HalfFormat, multiply<HalfFormat>, U16, U16>>(
        table, "mul" + suffix + ".sat", "f16");
  }
  add_ternary<flushed<multiply_add<HalfFormat>, U16, U16, U16>>(table, "fma.rn.ftz", "f16");
  add_ternary<saturated<HalfFormat, multiply_add<HalfFormat>, U16, U16, U16>>(table, "fma.rn.sat",
                                                                              "f16");
}

}  // namespace ptx_emulator
