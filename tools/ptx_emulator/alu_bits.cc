// Logic, shifts and bit fields: and or xor not cnot lop3 shl shr shf bfe bfi prmt popc clz brev
// bfind, and moves of whole registers.
#include <string>

#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

template <class T>
T bit_and(T a, T b) {
  return static_cast<T>(a & b);
}
template <class T>
T bit_or(T a, T b) {
  return static_cast<T>(a | b);
}
template <class T>
T bit_xor(T a, T b) {
  return static_cast<T>(a ^ b);
}
template <class T>
T bit_not(T a) {
  return static_cast<T>(~a);
}
template <class T>
T logical_not(T a) {
  return a == 0 ? 1 : 0;
}
template <class T>
T copy(T a) {
  return a;
}

template <class T>
constexpr uint32_t kBits = 8 * sizeof(T);

// Shift amounts are clamped to the width, not taken modulo it.
template <class T>
T shift_left(T a, uint32_t amount) {
  return amount >= kBits<T> ? 0 : static_cast<T>(static_cast<uint64_t>(a) << amount);
}
template <class T>
T shift_right(T a, uint32_t amount) {
  if (std::is_signed<T>::value)
    return static_cast<T>(a >> (amount >= kBits<T> ? kBits<T> - 1 : amount));
  return amount >= kBits<T> ? 0 : static_cast<T>(a >> (amount & (kBits<T> - 1)));
}

uint32_t funnel_left(uint32_t low, uint32_t high, uint32_t amount) {
  return static_cast<uint32_t>(((static_cast<uint64_t>(high) << 32 | low) << amount) >> 32);
}
uint32_t funnel_right(uint32_t low, uint32_t high, uint32_t amount) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> amount);
}
uint32_t funnel_left_wrap(uint32_t low, uint32_t high, uint32_t amount) {
  return funnel_left(low, high, amount & 31);
}
uint32_t funnel_left_clamp(uint32_t low, uint32_t high, uint32_t amount) {
  return amount >= 32 ? low : funnel_left(low, high, amount);
}
uint32_t funnel_right_wrap(uint32_t low, uint32_t high, uint32_t amount) {
  return funnel_right(low, high, amount & 31);
}
uint32_t funnel_right_clamp(uint32_t low, uint32_t high, uint32_t amount) {
  return amount >= 32 ? high : funnel_right(low, high, amount);
}

uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (uint32_t row = 0; row < 8; ++row) {
    const uint32_t select = 0u - (table >> row & 1);
    result |= select & (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  }
  return result;
}

// Bytes of {b, a} picked by the four nibbles of the selector; its high bit spreads the sign.
uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t pick = selector >> (4 * i);
    const uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (pick & 7))) & 0xff;
    const uint32_t spread = byte & 0x80 ? 0xff : 0;
    result |= (pick & 8 ? spread : byte) << (8 * i);
  }
  return result;
}

// Positions and lengths above 255 are outside of what the ISA defines. GPUs take the low byte for
// 32 bits, and clamp for 64.
template <class T>
uint32_t field_amount(uint32_t amount) {
  if (kBits<T> == 32) return amount & 0xff;
  return amount < 0xff ? amount : 0xff;
}
template <class T>
T extract_field(T a, uint32_t position, uint32_t length) {
  constexpr uint32_t bits = kBits<T>;
  position = field_amount<T>(position);
  length = field_amount<T>(length);
  if (length == 0) return 0;
  // Beyond the top the field continues with the sign, or with zeros.
  const uint32_t last = position + length - 1 < bits - 1 ? position + length - 1 : bits - 1;
  using Unsigned = std::make_unsigned_t<T>;
  const bool sign = std::is_signed<T>::value && (static_cast<Unsigned>(a) >> last & 1);
  const Unsigned fill = sign ? static_cast<Unsigned>(~Unsigned{0}) : Unsigned{0};
  if (position >= bits) return static_cast<T>(fill);
  const uint32_t taken = last - position + 1;
  const Unsigned field = static_cast<Unsigned>(a) >> position;
  if (taken >= bits) return static_cast<T>(field);
  const Unsigned keep = (Unsigned{1} << taken) - 1;
  return static_cast<T>((field & keep) | (fill & ~keep));
}

template <class T>
T insert_field(T field, T base, uint32_t position, uint32_t length) {
  constexpr uint32_t bits = kBits<T>;
  position = field_amount<T>(position);
  length = field_amount<T>(length);
  if (position >= bits) return base;
  const T ones = length >= bits ? ~T{0} : (T{1} << length) - 1;
  const T mask = ones << position;
  return (base & ~mask) | (field << position & mask);
}

uint32_t population32(uint32_t a) { return static_cast<uint32_t>(__builtin_popcount(a)); }
uint32_t population64(uint64_t a) { return static_cast<uint32_t>(__builtin_popcountll(a)); }
uint32_t leading_zeros32(uint32_t a) { return a ? static_cast<uint32_t>(__builtin_clz(a)) : 32; }
uint32_t leading_zeros64(uint64_t a) { return a ? static_cast<uint32_t>(__builtin_clzll(a)) : 64; }
uint32_t reverse32(uint32_t a) { return __builtin_bitreverse32(a); }
uint64_t reverse64(uint64_t a) { return __builtin_bitreverse64(a); }

// Position of the highest bit that differs from the sign; kShift: distance from the top instead.
template <class T, bool kShift>
uint32_t find_leading(T a) {
  using Unsigned = std::make_unsigned_t<T>;
  const Unsigned bits = static_cast<Unsigned>(std::is_signed<T>::value && a < 0 ? ~a : a);
  if (bits == 0) return ~0u;
  const uint32_t position = 63 - leading_zeros64(bits);
  return kShift ? kBits<T> - 1 - position : position;
}

template <class T>
void add_logic(OpTable& table, const std::string& type) {
  table.add<bit_and<T>>("and." + type);
  table.add<bit_or<T>>("or." + type);
  table.add<bit_xor<T>>("xor." + type);
  table.add<bit_not<T>>("not." + type);
  table.add<logical_not<T>>("cnot." + type);
  table.add<shift_left<T>>("shl." + type);
  table.add<shift_right<T>>("shr." + type);
}

}  // namespace

void add_bit_ops(OpTable& table) {
  add_logic<uint16_t>(table, "b16");
  add_logic<uint32_t>(table, "b32");
  add_logic<uint64_t>(table, "b64");
  table.add<shift_right<uint16_t>>("shr.u16");
  table.add<shift_right<uint32_t>>("shr.u32");
  table.add<shift_right<uint64_t>>("shr.u64");
  table.add<shift_right<int16_t>>("shr.s16");
  table.add<shift_right<int32_t>>("shr.s32");
  table.add<shift_right<int64_t>>("shr.s64");
  table.add<funnel_left_wrap>("shf.l.wrap.b32");
  table.add<funnel_left_clamp>("shf.l.clamp.b32");
  table.add<funnel_right_wrap>("shf.r.wrap.b32");
  table.add<funnel_right_clamp>("shf.r.clamp.b32");
  table.add<lop3>("lop3.b32");
  table.add<permute>("prmt.b32");
  table.add<extract_field<uint32_t>>("bfe.u32");
  table.add<extract_field<int32_t>>("bfe.s32");
  table.add<extract_field<uint64_t>>("bfe.u64");
  table.add<extract_field<int64_t>>("bfe.s64");
  table.add<insert_field<uint32_t>>("bfi.b32");
  table.add<insert_field<uint64_t>>("bfi.b64");
  table.add<population32>("popc.b32");
  table.add<population64>("popc.b64");
  table.add<leading_zeros32>("clz.b32");
  table.add<leading_zeros64>("clz.b64");
  table.add<reverse32>("brev.b32");
  table.add<reverse64>("brev.b64");
  table.add<find_leading<uint32_t, false>>("bfind.u32");
  table.add<find_leading<int32_t, false>>("bfind.s32");
  table.add<find_leading<uint64_t, false>>("bfind.u64");
  table.add<find_leading<int64_t, false>>("bfind.s64");
  table.add<find_leading<uint32_t, true>>("bfind.shiftamt.u32");
  table.add<find_leading<int32_t, true>>("bfind.shiftamt.s32");
  table.add<find_leading<uint64_t, true>>("bfind.shiftamt.u64");
  table.add<find_leading<int64_t, true>>("bfind.shiftamt.s64");
  for (const char* type : {"b16", "u16", "s16", "f16", "bf16"}) {
    table.add<copy<uint16_t>>(std::string("mov.") + type);
  }
  for (const char* type : {"b32", "u32", "s32", "f32", "f16x2"}) {
    table.add<copy<uint32_t>>(std::string("mov.") + type);
  }
  for (const char* type : {"b64", "u64", "s64", "f64"}) {
    table.add<copy<uint64_t>>(std::string("mov.") + type);
  }
}

}  // namespace ptx_emulator
