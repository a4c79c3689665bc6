// Comparisons and predicates: setp, selp, slct and the logic of predicate registers.
#include <string>

#include "tools/ptx_emulator/compare.h"
#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

template <class T>
bool equal(T a, T b) {
  return a == b;
}
template <class T>
bool not_equal(T a, T b) {
  return a != b;
}
template <class T>
bool less(T a, T b) {
  return a < b;
}
template <class T>
bool less_equal(T a, T b) {
  return a <= b;
}
template <class T>
bool greater(T a, T b) {
  return a > b;
}
template <class T>
bool greater_equal(T a, T b) {
  return a >= b;
}
template <class T>
bool unordered(T a, T b) {
  return a != a || b != b;
}
template <class T>
bool ordered(T a, T b) {
  return !unordered(a, b);
}
// `ne` of floating point is ordered: false where an operand is NaN.
template <class T>
bool ordered_not_equal(T a, T b) {
  return ordered(a, b) && a != b;
}
template <auto F, class T>
bool or_unordered(T a, T b) {
  return unordered(a, b) || F(a, b);
}

template <auto F>
bool on_half(Half a, Half b) {
  return F(half_to_float(a.bits), half_to_float(b.bits));
}
template <auto F>
bool on_bfloat(BFloat a, BFloat b) {
  return F(bfloat_to_float(a.bits), bfloat_to_float(b.bits));
}
template <auto F>
bool flushed(float a, float b) {
  return F(flush_subnormal(a), flush_subnormal(b));
}

template <auto F, class T>
void compare_lanes(Warp& warp, const Instruction& instruction, bool (*)(T, T)) {
  const auto* const a = warp.lanes<const stored_t<T>>(instruction.operand[2]);
  const auto* const b = warp.lanes<const stored_t<T>>(instruction.operand[3]);
  uint32_t holds = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    holds |= static_cast<uint32_t>(F(Stored<T>::get(a[lane]), Stored<T>::get(b[lane]))) << lane;
  }
  uint32_t inverse = ~holds;
  switch (static_cast<Combine>(instruction.mode)) {
    case Combine::kNone:
      break;
    case Combine::kAnd:
      holds &= warp.predicate(instruction, 4);
      inverse &= warp.predicate(instruction, 4);
      break;
    case Combine::kOr:
      holds |= warp.predicate(instruction, 4);
      inverse |= warp.predicate(instruction, 4);
      break;
    case Combine::kXor:
      holds ^= warp.predicate(instruction, 4);
      inverse ^= warp.predicate(instruction, 4);
      break;
  }
  warp.set_predicate(instruction.operand[0], holds);
  warp.set_predicate(instruction.operand[1], inverse);
}

template <auto F>
void compare(Warp& warp, const Instruction& instruction) {
  compare_lanes<F>(warp, instruction, F);
}

template <class T>
constexpr char letter() {
  return signature_of<T>();
}

template <auto F, class T>
void add_one(OpTable& table, const std::string& name, bool (*)(T, T)) {
  table.add("setp." + name, std::string{'p', 'p', letter<T>(), letter<T>()}, compare<F>);
}
template <auto F>
void add_compare(OpTable& table, const std::string& name) {
  add_one<F>(table, name, F);
}

template <class T>
void add_integer(OpTable& table, const std::string& type) {
  add_compare<equal<T>>(table, "eq." + type);
  add_compare<not_equal<T>>(table, "ne." + type);
  add_compare<less<T>>(table, "lt." + type);
  add_compare<less_equal<T>>(table, "le." + type);
  add_compare<greater<T>>(table, "gt." + type);
  add_compare<greater_equal<T>>(table, "ge." + type);
}
template <class T>
void add_unsigned(OpTable& table, const std::string& type) {
  add_integer<T>(table, type);
  add_compare<less<T>>(table, "lo." + type);
  add_compare<less_equal<T>>(table, "ls." + type);
  add_compare<greater<T>>(table, "hi." + type);
  add_compare<greater_equal<T>>(table, "hs." + type);
}

// `Adapt` turns a comparison of T into one of the register's type.
#define PTX_EMULATOR_ADD_FLOAT(T, TYPE, ADAPT)                                 \
  add_compare<ADAPT(equal<T>)>(table, "eq." TYPE);                             \
  add_compare<ADAPT(ordered_not_equal<T>)>(table, "ne." TYPE);                 \
  add_compare<ADAPT(less<T>)>(table, "lt." TYPE);                              \
  add_compare<ADAPT(less_equal<T>)>(table, "le." TYPE);                        \
  add_compare<ADAPT(greater<T>)>(table, "gt." TYPE);                           \
  add_compare<ADAPT(greater_equal<T>)>(table, "ge." TYPE);                     \
  add_compare<ADAPT((or_unordered<equal<T>, T>))>(table, "equ." TYPE);         \
  add_compare<ADAPT(not_equal<T>)>(table, "neu." TYPE);                        \
  add_compare<ADAPT((or_unordered<less<T>, T>))>(table, "ltu." TYPE);          \
  add_compare<ADAPT((or_unordered<less_equal<T>, T>))>(table, "leu." TYPE);    \
  add_compare<ADAPT((or_unordered<greater<T>, T>))>(table, "gtu." TYPE);       \
  add_compare<ADAPT((or_unordered<greater_equal<T>, T>))>(table, "geu." TYPE); \
  add_compare<ADAPT(ordered<T>)>(table, "num." TYPE);                          \
  add_compare<ADAPT(unordered<T>)>(table, "nan." TYPE)

#define PTX_EMULATOR_PLAIN(F) F
#define PTX_EMULATOR_FLUSHED(F) flushed<F>
#define PTX_EMULATOR_HALF(F) on_half<F>
#define PTX_EMULATOR_BFLOAT(F) on_bfloat<F>

template <class T>
void select(Warp& warp, const Instruction& instruction) {
  T* const destination = warp.lanes<T>(instruction.operand[0]);
  const T* const a = warp.lanes<const T>(instruction.operand[1]);
  const T* const b = warp.lanes<const T>(instruction.operand[2]);
  const uint32_t choose = warp.predicate(instruction, 3);
  const uint32_t mask = warp.mask;
  for (int lane = 0; lane < kLanes; ++lane) {
    const T chosen = choose >> lane & 1 ? a[lane] : b[lane];
    destination[lane] = mask >> lane & 1 ? chosen : destination[lane];
  }
}

uint32_t select_by_sign(uint32_t a, uint32_t b, int32_t c) { return c >= 0 ? a : b; }
uint32_t select_by_float(uint32_t a, uint32_t b, float c) { return c >= 0.0f ? a : b; }

void predicate_and(Warp& warp, const Instruction& i) {
  warp.set_predicate(i.operand[0], warp.predicate(i, 1) & warp.predicate(i, 2));
}
void predicate_or(Warp& warp, const Instruction& i) {
  warp.set_predicate(i.operand[0], warp.predicate(i, 1) | warp.predicate(i, 2));
}
void predicate_xor(Warp& warp, const Instruction& i) {
  warp.set_predicate(i.operand[0], warp.predicate(i, 1) ^ warp.predicate(i, 2));
}
void predicate_not(Warp& warp, const Instruction& i) {
  warp.set_predicate(i.operand[0], ~warp.predicate(i, 1));
}
void predicate_move(Warp& warp, const Instruction& i) {
  warp.set_predicate(i.operand[0], warp.predicate(i, 1));
}

}  // namespace

void add_compare_ops(OpTable& table) {
  add_integer<int16_t>(table, "s16");
  add_integer<int32_t>(table, "s32");
  add_integer<int64_t>(table, "s64");
  add_unsigned<uint16_t>(table, "u16");
  add_unsigned<uint32_t>(table, "u32");
  add_unsigned<uint64_t>(table, "u64");
  add_integer<uint16_t>(table, "b16");
  add_integer<uint32_t>(table, "b32");
  add_integer<uint64_t>(table, "b64");
  PTX_EMULATOR_ADD_FLOAT(float, "f32", PTX_EMULATOR_PLAIN);
  PTX_EMULATOR_ADD_FLOAT(float, "ftz.f32", PTX_EMULATOR_FLUSHED);
  PTX_EMULATOR_ADD_FLOAT(double, "f64", PTX_EMULATOR_PLAIN);
  PTX_EMULATOR_ADD_FLOAT(float, "f16", PTX_EMULATOR_HALF);
  PTX_EMULATOR_ADD_FLOAT(float, "bf16", PTX_EMULATOR_BFLOAT);
  for (const char* type : {"b16", "u16", "s16", "f16"}) {
    table.add(std::string("selp.") + type, "hhhp", select<uint32_t>);
  }
  for (const char* type : {"b32", "u32", "s32", "f32"}) {
    table.add(std::string("selp.") + type, "wwwp", select<uint32_t>);
    table.add<select_by_sign>(std::string("slct.") + type + ".s32");
    table.add<select_by_float>(std::string("slct.") + type + ".f32");
  }
  for (const char* type : {"b64", "u64", "s64", "f64"}) {
    table.add(std::string("selp.") + type, "dddp", select<uint64_t>);
  }
  table.add("and.pred", "ppp", predicate_and);
  table.add("or.pred", "ppp", predicate_or);
  table.add("xor.pred", "ppp", predicate_xor);
  table.add("not.pred", "pp", predicate_not);
  table.add("mov.pred", "pp", predicate_move);
}

}  // namespace ptx_emulator
