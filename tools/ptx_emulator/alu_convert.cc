// cvt: conversions between integers and floating point types of all widths.
//
// An integer destination may sit in a register wider than its type, which then takes the sign or
// zeros: such entries have the width letter of the register behind a slash ("cvt.s16.s8/w"), and
// one more where the source is the low part of a 64-bit register ("cvt.s64.s32/dd").
#include <cmath>
#include <limits>
#include <string>

#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

template <class T>
constexpr bool kIsSigned = std::is_signed<T>::value;

// Clamps to the range of D.
template <class D, class S>
D clamp_integer(S value) {
  using Limits = std::numeric_limits<D>;
  if (kIsSigned<S> && value < 0) {
    if (!kIsSigned<D>) return 0;
    return static_cast<int64_t>(value) < static_cast<int64_t>(Limits::min())
               ? Limits::min()
               : static_cast<D>(value);
  }
  return static_cast<uint64_t>(value) > static_cast<uint64_t>(Limits::max())
             ? Limits::max()
             : static_cast<D>(value);
}
template <class R, class D, class S>
R convert_integer(S value) {
  return static_cast<R>(static_cast<D>(value));
}
// The low bits of a register that is wider than S.
template <class R, class D, class S>
R convert_low_integer(uint64_t value) {
  return convert_integer<R, D, S>(static_cast<S>(value));
}
template <class R, class D, class S>
R saturate_integer(S value) {
  return static_cast<R>(clamp_integer<D, S>(value));
}

float to_float(float value) { return value; }
double to_float(double value) { return value; }
float to_float(Half value) { return half_to_float(value.bits); }
float to_float(BFloat value) { return bfloat_to_float(value.bits); }

enum class Rounding { kNearest, kZero, kDown, kUp };

template <Rounding kMode, class T>
T round_integral(T value) {
  switch (kMode) {
    case Rounding::kNearest:
      return std::nearbyint(value);  // the host's mode is never changed: ties to even
    case Rounding::kZero:
      return std::trunc(value);
    case Rounding::kDown:
      return std::floor(value);
    case Rounding::kUp:
      return std::ceil(value);
  }
  return value;
}

// NaN becomes 0, or the top bit alone where 64 bits take part (PTX ISA, cvt).
template <class D, class Float>
constexpr D integer_of_nan() {
  constexpr bool wide = sizeof(D) == 8 || sizeof(Float) == 8;
  return wide ? static_cast<D>(uint64_t{1} << (8 * sizeof(D) - 1)) : D{0};
}

// Out of range gives the nearest limit.
template <class R, class D, class S, Rounding kMode, bool kFlush>
R float_to_integer(S source) {
  auto value = to_float(source);
  if constexpr (kFlush) value = flush_subnormal(value);
  value = round_integral<kMode>(value);
  using Limits = std::numeric_limits<D>;
  using Float = decltype(value);
  // 2^(bits) of D's range is exact in floating point, its maximum is not.
  const Float above = std::ldexp(Float{1}, Limits::digits);
  if (value != value) return static_cast<R>(integer_of_nan<D, Float>());
  if (value >= above) return static_cast<R>(Limits::max());
  if (value < static_cast<Float>(Limits::min())) return static_cast<R>(Limits::min());
  return static_cast<R>(static_cast<D>(value));
}

uint16_t double_to_half(double value) { return float_to_half(double_to_float_odd(value)); }

template <class S>
float integer_to_float(S value) {
  return static_cast<float>(value);
}
template <class S>
double integer_to_double(S value) {
  return static_cast<double>(value);
}
// Integers that a double cannot hold overflow f16 anyhow; bf16 goes by the top bits and a sticky
// one.
template <class S>
uint16_t integer_to_half(S value) {
  return double_to_half(static_cast<double>(value));
}
template <class S>
uint16_t integer_to_bfloat(S value) {
  return float_to_bfloat(double_to_float_odd(static_cast<double>(value)));
}

float widen_half(uint16_t a) { return half_to_float(a); }
float widen_bfloat(uint16_t a) { return bfloat_to_float(a); }
double widen_half_to_double(uint16_t a) { return half_to_float(a); }
double widen_float(float a) { return a; }
float narrow_double(double a) { return static_cast<float>(a); }
uint16_t float_to_half_zero(float a) {
  const uint16_t nearest = float_to_half(a);
  const bool away = std::fabs(half_to_float(nearest)) > std::fabs(a);
  return static_cast<uint16_t>(nearest - (away ? 1 : 0));
}
uint16_t float_to_bfloat_zero(float a) {
  return a != a ? kCanonicalNan16 : static_cast<uint16_t>(bit_cast<uint32_t>(a) >> 16);
}
float identity(float a) { return a; }
float saturate(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }
float relu(float a) { return a != a ? a : (a > 0.0f ? a : 0.0f); }

template <auto Narrow, auto Before>
uint16_t narrow(float a) {
  return Narrow(Before(a));
}
// The first source is the high half.
template <auto Narrow, auto Before>
uint32_t narrow_pair(float high, float low) {
  return static_cast<uint32_t>(Narrow(Before(high))) << 16 | Narrow(Before(low));
}
// To nearest, ties away from zero: 10 bits of mantissa stay.
uint32_t float_to_tf32(float a) { return (bit_cast<uint32_t>(a) + 0x1000u) & 0xffffe000u; }

template <Rounding kMode>
float integral_float(float a) {
  return round_integral<kMode>(a);
}
template <Rounding kMode>
float integral_float_flushed(float a) {
  return round_integral<kMode>(flush_subnormal(a));
}
template <Rounding kMode>
double integral_double(double a) {
  return round_integral<kMode>(a);
}
template <Rounding kMode>
uint16_t integral_half(uint16_t a) {
  return float_to_half(round_integral<kMode>(half_to_float(a)));
}

template <class R>
std::string wide_suffix() {
  return std::string("/") + signature_of<R>();
}

template <class R, class D, class S>
void add_integer_in(OpTable& table, const std::string& types) {
  table.add<convert_integer<R, D, S>>("cvt." + types + wide_suffix<R>());
  if constexpr (sizeof(S) < 8) {
    table.add<convert_low_integer<R, D, S>>("cvt." + types + wide_suffix<R>() + "d");
  }
  table.add<saturate_integer<R, D, S>>("cvt.sat." + types + wide_suffix<R>());
}

template <class R, class D, class S, bool kFlush>
void add_rounded_in(OpTable& table, const std::string& types) {
  const std::string rest = types + wide_suffix<R>();
  const std::string flush = kFlush ? "ftz." : "";
  for (const char* saturation : {"", "sat."}) {  // the clamp is the same
    const std::string tail = flush + saturation + rest;
    table.add<float_to_integer<R, D, S, Rounding::kNearest, kFlush>>("cvt.rni." + tail);
    table.add<float_to_integer<R, D, S, Rounding::kZero, kFlush>>("cvt.rzi." + tail);
    table.add<float_to_integer<R, D, S, Rounding::kDown, kFlush>>("cvt.rmi." + tail);
    table.add<float_to_integer<R, D, S, Rounding::kUp, kFlush>>("cvt.rpi." + tail);
  }
}

// R: the registers that can hold D.
template <class R, class D>
void add_to_integer_in(OpTable& table, const std::string& d) {
  add_integer_in<R, D, uint8_t>(table, d + ".u8");
  add_integer_in<R, D, int8_t>(table, d + ".s8");
  add_integer_in<R, D, uint16_t>(table, d + ".u16");
  add_integer_in<R, D, int16_t>(table, d + ".s16");
  add_integer_in<R, D, uint32_t>(table, d + ".u32");
  add_integer_in<R, D, int32_t>(table, d + ".s32");
  add_integer_in<R, D, uint64_t>(table, d + ".u64");
  add_integer_in<R, D, int64_t>(table, d + ".s64");
  add_rounded_in<R, D, Half, false>(table, d + ".f16");
  add_rounded_in<R, D, BFloat, false>(table, d + ".bf16");
  add_rounded_in<R, D, float, false>(table, d + ".f32");
  add_rounded_in<R, D, float, true>(table, d + ".f32");
  add_rounded_in<R, D, double, false>(table, d + ".f64");
}
template <class D>
void add_to_integer(OpTable& table, const std::string& d) {
  if constexpr (sizeof(D) <= 2) add_to_integer_in<uint16_t, D>(table, d);
  if constexpr (sizeof(D) <= 4) add_to_integer_in<uint32_t, D>(table, d);
  add_to_integer_in<uint64_t, D>(table, d);
}

template <class S>
void add_from_integer(OpTable& table, const std::string& s) {
  table.add<integer_to_half<S>>("cvt.rn.f16." + s);
  table.add<integer_to_bfloat<S>>("cvt.rn.bf16." + s);
  table.add<integer_to_float<S>>("cvt.rn.f32." + s);
  table.add<integer_to_double<S>>("cvt.rn.f64." + s);
}

template <Rounding kMode>
void add_integral(OpTable& table, const std::string& rounding) {
  const std::string name = "cvt." + rounding;
  table.add<integral_float<kMode>>(name + ".f32.f32");
  table.add<integral_float_flushed<kMode>>(name + ".ftz.f32.f32");
  table.add<integral_double<kMode>>(name + ".f64.f64");
  table.add<integral_half<kMode>>(name + ".f16.f16");
}

template <auto Nearest, auto Zero>
void add_narrowing(OpTable& table, const std::string& type) {
  table.add<narrow<Nearest, identity>>("cvt.rn." + type + ".f32");
  table.add<narrow<Zero, identity>>("cvt.rz." + type + ".f32");
  table.add<narrow<Nearest, flush_subnormal>>("cvt.rn.ftz." + type + ".f32");
  table.add<narrow<Nearest, relu>>("cvt.rn.relu." + type + ".f32");
  table.add<narrow<Zero, relu>>("cvt.rz.relu." + type + ".f32");
  table.add<narrow<Nearest, saturate>>("cvt.rn.sat." + type + ".f32");
  table.add<narrow_pair<Nearest, identity>>("cvt.rn." + type + "x2.f32");
  table.add<narrow_pair<Zero, identity>>("cvt.rz." + type + "x2.f32");
  table.add<narrow_pair<Nearest, relu>>("cvt.rn.relu." + type + "x2.f32");
  table.add<narrow_pair<Zero, relu>>("cvt.rz.relu." + type + "x2.f32");
}

}  // namespace

void add_convert_ops(OpTable& table) {
  add_to_integer<uint8_t>(table, "u8");
  add_to_integer<int8_t>(table, "s8");
  add_to_integer<uint16_t>(table, "u16");
  add_to_integer<int16_t>(table, "s16");
  add_to_integer<uint32_t>(table, "u32");
  add_to_integer<int32_t>(table, "s32");
  add_to_integer<uint64_t>(table, "u64");
  add_to_integer<int64_t>(table, "s64");
  add_from_integer<uint8_t>(table, "u8");
  add_from_integer<int8_t>(table, "s8");
  add_from_integer<uint16_t>(table, "u16");
  add_from_integer<int16_t>(table, "s16");
  add_from_integer<uint32_t>(table, "u32");
  add_from_integer<int32_t>(table, "s32");
  add_from_integer<uint64_t>(table, "u64");
  add_from_integer<int64_t>(table, "s64");
  add_narrowing<float_to_half, float_to_half_zero>(table, "f16");
  add_narrowing<float_to_bfloat, float_to_bfloat_zero>(table, "bf16");
  table.add<widen_half>("cvt.f32.f16");
  table.add<widen_half>("cvt.ftz.f32.f16");
  table.add<widen_bfloat>("cvt.f32.bf16");
  table.add<widen_half_to_double>("cvt.f64.f16");
  table.add<widen_float>("cvt.f64.f32");
  table.add<narrow_double>("cvt.rn.f32.f64");
  table.add<double_to_float_zero>("cvt.rz.f32.f64");
  table.add<double_to_half>("cvt.rn.f16.f64");
  table.add<saturate>("cvt.sat.f32.f32");
  table.add<flush_subnormal>("cvt.ftz.f32.f32");
  table.add<float_to_tf32>("cvt.rna.tf32.f32");
  add_integral<Rounding::kNearest>(table, "rni");
  add_integral<Rounding::kZero>(table, "rzi");
  add_integral<Rounding::kDown>(table, "rmi");
  add_integral<Rounding::kUp>(table, "rpi");
}

}  // namespace ptx_emulator
