// Integer arithmetic: add sub mul mad mul24 mad24 sad div rem min max neg abs dp4a dp2a.
#include <limits>
#include <string>

#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

template <class T>
T add(T a, T b) {
  return static_cast<T>(a + b);
}
template <class T>
T subtract(T a, T b) {
  return static_cast<T>(a - b);
}
template <class T>
T multiply_low(T a, T b) {
  return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
template <class T>
T multiply_add_low(T a, T b, T c) {
  return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b) +
                        static_cast<uint64_t>(c));
}
template <class W, class T>
W multiply_wide(T a, T b) {
  return static_cast<W>(static_cast<W>(a) * static_cast<W>(b));
}
template <class W, class T>
W multiply_add_wide(T a, T b, W c) {
  using Unsigned = std::make_unsigned_t<W>;
  return static_cast<W>(static_cast<Unsigned>(static_cast<W>(a) * static_cast<W>(b)) +
                        static_cast<Unsigned>(c));
}
template <class W, class T>
T multiply_high(T a, T b) {
  return static_cast<T>((static_cast<W>(a) * static_cast<W>(b)) >> (8 * sizeof(T)));
}
template <class W, class T>
T multiply_add_high(T a, T b, T c) {
  return static_cast<T>(static_cast<uint64_t>(multiply_high<W, T>(a, b)) +
                        static_cast<uint64_t>(c));
}

int32_t low24(int32_t a) { return static_cast<int32_t>(static_cast<uint32_t>(a) << 8) >> 8; }
uint32_t low24(uint32_t a) { return a & 0xffffffu; }
template <class W, class T>
T multiply24_low(T a, T b) {
  return static_cast<T>(static_cast<W>(low24(a)) * static_cast<W>(low24(b)));
}
template <class W, class T>
T multiply24_high(T a, T b) {
  return static_cast<T>((static_cast<W>(low24(a)) * static_cast<W>(low24(b))) >> 16);
}
template <class W, class T>
T multiply24_add_low(T a, T b, T c) {
  return static_cast<T>(static_cast<uint32_t>(multiply24_low<W, T>(a, b)) +
                        static_cast<uint32_t>(c));
}

// Division by zero gives all ones, as the hardware does; the other guard avoids the overflow trap.
template <class T>
T divide(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if (std::is_signed<T>::value && b == static_cast<T>(-1))
    return static_cast<T>(0 - static_cast<uint64_t>(a));
  return static_cast<T>(a / b);
}
template <class T>
T remainder(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if (std::is_signed<T>::value && b == static_cast<T>(-1)) return 0;
  return static_cast<T>(a % b);
}
template <class T>
T minimum(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T maximum(T a, T b) {
  return a > b ? a : b;
}
template <class T>
T negate(T a) {
  return static_cast<T>(0 - static_cast<uint64_t>(a));
}
template <class T>
T absolute(T a) {
  return a < 0 ? negate(a) : a;
}
template <class T>
T sum_of_difference(T a, T b, T c) {
  return static_cast<T>(static_cast<uint64_t>(c) +
                        (a < b ? static_cast<uint64_t>(b) - static_cast<uint64_t>(a)
                               : static_cast<uint64_t>(a) - static_cast<uint64_t>(b)));
}
int32_t add_saturated(int32_t a, int32_t b) {
  const int64_t sum = static_cast<int64_t>(a) + b;
  return static_cast<int32_t>(minimum<int64_t>(maximum<int64_t>(sum, INT32_MIN), INT32_MAX));
}
int32_t subtract_saturated(int32_t a, int32_t b) {
  const int64_t difference = static_cast<int64_t>(a) - b;
  return static_cast<int32_t>(minimum<int64_t>(maximum<int64_t>(difference, INT32_MIN), INT32_MAX));
}

template <class A, class B>
int32_t dot4(uint32_t a, uint32_t b, int32_t c) {
  uint32_t sum = static_cast<uint32_t>(c);
  for (int i = 0; i < 32; i += 8) {
    sum += static_cast<uint32_t>(static_cast<int32_t>(static_cast<A>(a >> i)) *
                                 static_cast<int32_t>(static_cast<B>(b >> i)));
  }
  return static_cast<int32_t>(sum);
}

template <class T>
void add_common(OpTable& table, const std::string& type) {
  table.add<add<T>>("add." + type);
  table.add<subtract<T>>("sub." + type);
  table.add<multiply_low<T>>("mul.lo." + type);
  table.add<multiply_add_low<T>>("mad.lo." + type);
  table.add<divide<T>>("div." + type);
  table.add<remainder<T>>("rem." + type);
  table.add<minimum<T>>("min." + type);
  table.add<maximum<T>>("max." + type);
  table.add<sum_of_difference<T>>("sad." + type);
}

template <class T>
void add_signed(OpTable& table, const std::string& type) {
  table.add<negate<T>>("neg." + type);
  table.add<absolute<T>>("abs." + type);
}

// W has twice the bits of T.
template <class W, class T>
void add_wide(OpTable& table, const std::string& type) {
  table.add<multiply_wide<W, T>>("mul.wide." + type);
  table.add<multiply_add_wide<W, T>>("mad.wide." + type);
}
template <class W, class T>
void add_high(OpTable& table, const std::string& type) {
  table.add<multiply_high<W, T>>("mul.hi." + type);
  table.add<multiply_add_high<W, T>>("mad.hi." + type);
}
template <class W, class T>
void add_24(OpTable& table, const std::string& type) {
  table.add<multiply24_low<W, T>>("mul24.lo." + type);
  table.add<multiply24_high<W, T>>("mul24.hi." + type);
  table.add<multiply24_add_low<W, T>>("mad24.lo." + type);
}

}  // namespace

void add_integer_ops(OpTable& table) {
  add_common<uint16_t>(table, "u16");
  add_common<int16_t>(table, "s16");
  add_common<uint32_t>(table, "u32");
  add_common<int32_t>(table, "s32");
  add_common<uint64_t>(table, "u64");
  add_common<int64_t>(table, "s64");
  add_signed<int16_t>(table, "s16");
  add_signed<int32_t>(table, "s32");
  add_signed<int64_t>(table, "s64");
  add_wide<uint32_t, uint16_t>(table, "u16");
  add_wide<int32_t, int16_t>(table, "s16");
  add_wide<uint64_t, uint32_t>(table, "u32");
  add_wide<int64_t, int32_t>(table, "s32");
  add_high<uint32_t, uint16_t>(table, "u16");
  add_high<int32_t, int16_t>(table, "s16");
  add_high<uint64_t, uint32_t>(table, "u32");
  add_high<int64_t, int32_t>(table, "s32");
  add_high<unsigned __int128, uint64_t>(table, "u64");
  add_high<__int128, int64_t>(table, "s64");
  add_24<uint64_t, uint32_t>(table, "u32");
  add_24<int64_t, int32_t>(table, "s32");
  table.add<add_saturated>("add.sat.s32");
  table.add<subtract_saturated>("sub.sat.s32");
  table.add<dot4<uint8_t, uint8_t>>("dp4a.u32.u32");
  table.add<dot4<uint8_t, int8_t>>("dp4a.u32.s32");
  table.add<dot4<int8_t, uint8_t>>("dp4a.s32.u32");
  table.add<dot4<int8_t, int8_t>>("dp4a.s32.s32");
}

}  // namespace ptx_emulator
