// f32 and f64 arithmetic. The .approx functions are computed to full float accuracy: the emulator
// does not reproduce the ULPs of the hardware's tables.
#include <cmath>
#include <string>

#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

template <class T>
T add(T a, T b) {
  return a + b;
}
template <class T>
T subtract(T a, T b) {
  return a - b;
}
template <class T>
T multiply(T a, T b) {
  return a * b;
}
template <class T>
T divide(T a, T b) {
  return a / b;
}
template <class T>
T multiply_add(T a, T b, T c) {
  return std::fma(a, b, c);
}
// A NaN loses against a number; -0 is below +0.
template <class T>
T minimum(T a, T b) {
  if (a != a) return b;
  if (b != b) return a;
  return a < b || (a == b && std::signbit(a)) ? a : b;
}
template <class T>
T maximum(T a, T b) {
  if (a != a) return b;
  if (b != b) return a;
  return a > b || (a == b && !std::signbit(a)) ? a : b;
}
// The .NaN variants: a NaN wins.
float minimum_nan(float a, float b) { return a != a || b != b ? NAN : minimum(a, b); }
float maximum_nan(float a, float b) { return a != a || b != b ? NAN : maximum(a, b); }

template <class T>
T reciprocal(T a) {
  return T{1} / a;
}
template <class T>
T square_root(T a) {
  return std::sqrt(a);
}
float reciprocal_root(float a) { return 1.0f / std::sqrt(a); }
float exponential2(float a) { return std::exp2(a); }
float logarithm2(float a) { return std::log2(a); }
float sine(float a) { return std::sin(a); }
float cosine(float a) { return std::cos(a); }
float hyperbolic_tangent(float a) { return std::tanh(a); }

float negate(float a) { return -a; }
float absolute(float a) { return std::fabs(a); }
uint64_t negate64(uint64_t a) { return a ^ (uint64_t{1} << 63); }
uint64_t absolute64(uint64_t a) { return a & ~(uint64_t{1} << 63); }
uint32_t copy_sign(uint32_t sign, uint32_t magnitude) {
  return (sign & 0x80000000u) | (magnitude & 0x7fffffffu);
}

// Subnormal inputs and results count as zeros of their sign.
template <auto F, class... S>
float flushed(S... values) {
  return flush_subnormal(F(flush_subnormal(values)...));
}
// Clamped to [0, 1]; NaN gives 0.
template <auto F, class... S>
float saturated(S... values) {
  const float result = F(values...);
  return result > 0.0f ? (result < 1.0f ? result : 1.0f) : 0.0f;
}

template <float (*F)(float)>
void add_unary(OpTable& table, const std::string& name) {
  table.add<F>(name + ".f32");
  table.add<flushed<F, float>>(name + ".ftz.f32");
}
template <float (*F)(float, float)>
void add_binary(OpTable& table, const std::string& name) {
  table.add<F>(name + ".f32");
  table.add<flushed<F, float, float>>(name + ".ftz.f32");
}
template <float (*F)(float, float)>
void add_binary_saturated(OpTable& table, const std::string& name) {
  table.add<saturated<F, float, float>>(name + ".sat.f32");
  table.add<saturated<flushed<F, float, float>, float, float>>(name + ".ftz.sat.f32");
}
template <float (*F)(float, float, float)>
void add_ternary(OpTable& table, const std::string& name) {
  table.add<F>(name + ".f32");
  table.add<flushed<F, float, float, float>>(name + ".ftz.f32");
  table.add<saturated<F, float, float, float>>(name + ".sat.f32");
  table.add<saturated<flushed<F, float, float, float>, float, float, float>>(name + ".ftz.sat.f32");
}

void add_double_ops(OpTable& table) {
  for (const char* rounding : {"", ".rn"}) {
    const std::string suffix = std::string(rounding) + ".f64";
    table.add<add<double>>("add" + suffix);
    table.add<subtract<double>>("sub" + suffix);
    table.add<multiply<double>>("mul" + suffix);
  }
  table.add<multiply_add<double>>("fma.rn.f64");
  table.add<multiply_add<double>>("mad.rn.f64");
  table.add<divide<double>>("div.rn.f64");
  table.add<reciprocal<double>>("rcp.rn.f64");
  table.add<square_root<double>>("sqrt.rn.f64");
  table.add<minimum<double>>("min.f64");
  table.add<maximum<double>>("max.f64");
  table.add<negate64>("neg.f64");
  table.add<absolute64>("abs.f64");
}

}  // namespace

void add_float_ops(OpTable& table) {
  for (const char* rounding : {"", ".rn"}) {
    const std::string suffix = rounding;
    add_binary<add<float>>(table, "add" + suffix);
    add_binary<subtract<float>>(table, "sub" + suffix);
    add_binary<multiply<float>>(table, "mul" + suffix);
    add_binary_saturated<add<float>>(table, "add" + suffix);
    add_binary_saturated<subtract<float>>(table, "sub" + suffix);
    add_binary_saturated<multiply<float>>(table, "mul" + suffix);
  }
  add_ternary<multiply_add<float>>(table, "fma.rn");
  add_ternary<multiply_add<float>>(table, "mad.rn");
  for (const char* accuracy : {".rn", ".approx", ".full"}) {
    add_binary<divide<float>>(table, std::string("div") + accuracy);
  }
  for (const char* accuracy : {".rn", ".approx"}) {
    add_unary<reciprocal<float>>(table, std::string("rcp") + accuracy);
    add_unary<square_root<float>>(table, std::string("sqrt") + accuracy);
  }
  add_unary<reciprocal_root>(table, "rsqrt.approx");
  add_unary<exponential2>(table, "ex2.approx");
  add_unary<logarithm2>(table, "lg2.approx");
  add_unary<sine>(table, "sin.approx");
  add_unary<cosine>(table, "cos.approx");
  table.add<hyperbolic_tangent>("tanh.approx.f32");
  add_binary<minimum<float>>(table, "min");
  add_binary<maximum<float>>(table, "max");
  table.add<minimum_nan>("min.NaN.f32");
  table.add<maximum_nan>("max.NaN.f32");
  table.add<flushed<minimum_nan, float, float>>("min.ftz.NaN.f32");
  table.add<flushed<maximum_nan, float, float>>("max.ftz.NaN.f32");
  add_unary<negate>(table, "neg");
  add_unary<absolute>(table, "abs");
  table.add<copy_sign>("copysign.f32");
  add_double_ops(table);
}

}  // namespace ptx_emulator
