// atom and red on global and shared memory: add min max and or xor exch cas inc dec.
//
// Blocks run on several host threads, so operations on global memory are real atomics of the host.
#include <cstring>
#include <unordered_set>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/warp_memory.h"

namespace ptx_emulator {
namespace {

// New value from the old one and the operands; `c` is used by cas only.
template <class U>
using Update = U (*)(U old, U b, U c);

template <class U>
U update_add(U old, U b, U) {
  return static_cast<U>(old + b);
}
template <class U>
U update_and(U old, U b, U) {
  return static_cast<U>(old & b);
}
template <class U>
U update_or(U old, U b, U) {
  return static_cast<U>(old | b);
}
template <class U>
U update_xor(U old, U b, U) {
  return static_cast<U>(old ^ b);
}
template <class U>
U update_exchange(U, U b, U) {
  return b;
}
template <class U>
U update_compare(U old, U b, U c) {
  return old == b ? c : old;
}
template <class U, class T>
U update_min(U old, U b, U) {
  return static_cast<T>(old) < static_cast<T>(b) ? old : b;
}
template <class U, class T>
U update_max(U old, U b, U) {
  return static_cast<T>(old) > static_cast<T>(b) ? old : b;
}
uint32_t update_increment(uint32_t old, uint32_t b, uint32_t) { return old >= b ? 0 : old + 1; }
uint32_t update_decrement(uint32_t old, uint32_t b, uint32_t) {
  return old == 0 || old > b ? b : old - 1;
}
uint32_t update_add_float(uint32_t old, uint32_t b, uint32_t) {
  return bit_cast<uint32_t>(canonical(bit_cast<float>(old) + bit_cast<float>(b)));
}
// In global memory, subnormal operands and results count as zeros of their sign (PTX ISA, atom).
uint32_t update_add_flushed(uint32_t old, uint32_t b, uint32_t) {
  const float sum = flush_subnormal(bit_cast<float>(old)) + flush_subnormal(bit_cast<float>(b));
  return bit_cast<uint32_t>(canonical(flush_subnormal(sum)));
}
uint64_t update_add_double(uint64_t old, uint64_t b, uint64_t) {
  return bit_cast<uint64_t>(bit_cast<double>(old) + bit_cast<double>(b));
}
uint16_t add_half(uint16_t a, uint16_t b) {
  return float_to_half(half_to_float(a) + half_to_float(b));
}
uint16_t add_bfloat(uint16_t a, uint16_t b) {
  return float_to_bfloat(bfloat_to_float(a) + bfloat_to_float(b));
}
template <uint16_t (*F)(uint16_t, uint16_t)>
uint16_t update_narrow(uint16_t old, uint16_t b, uint16_t) {
  return F(old, b);
}
template <uint16_t (*F)(uint16_t, uint16_t)>
uint32_t update_packed(uint32_t old, uint32_t b, uint32_t) {
  const uint32_t low = F(static_cast<uint16_t>(old), static_cast<uint16_t>(b));
  const uint32_t high = F(static_cast<uint16_t>(old >> 16), static_cast<uint16_t>(b >> 16));
  return high << 16 | low;
}

// Operands: d (or a sink), address, b, c. R: the register's type.
template <class U, class R, Update<U> kUpdate>
void atomic(Warp& warp, const Instruction& instruction) {
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[1], addresses);
  count_access(warp, instruction, addresses, sizeof(U));
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const U b = static_cast<U>(warp.lanes<const R>(instruction.operand[2])[lane]);
    const U c = static_cast<U>(warp.lanes<const R>(instruction.operand[3])[lane]);
    U* const place = reinterpret_cast<U*>(
        atomic_pointer(warp, instruction.space, addresses[lane], sizeof(U), lane));
    U old = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(place, &old, kUpdate(old, b, c), /*weak=*/true,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
    }
    warp.lanes<R>(instruction.operand[0])[lane] = static_cast<R>(old);
  }
}

template <class U, Update<U> kUpdate>
constexpr Handler handler() {
  using R = std::conditional_t<sizeof(U) == 8, uint64_t, uint32_t>;
  return atomic<U, R, kUpdate>;
}

template <class U, class Signed>
Handler find_integer(std::string_view operation, bool is_signed) {
  if (operation == "add") return handler<U, update_add<U>>();
  if (operation == "and") return handler<U, update_and<U>>();
  if (operation == "or") return handler<U, update_or<U>>();
  if (operation == "xor") return handler<U, update_xor<U>>();
  if (operation == "exch") return handler<U, update_exchange<U>>();
  if (operation == "cas") return handler<U, update_compare<U>>();
  if (operation == "min") {
    return is_signed ? handler<U, update_min<U, Signed>>() : handler<U, update_min<U, U>>();
  }
  if (operation == "max") {
    return is_signed ? handler<U, update_max<U, Signed>>() : handler<U, update_max<U, U>>();
  }
  return nullptr;
}

Handler find_atomic(std::string_view operation, std::string_view type, Space space) {
  if (type == "f32") {
    if (operation != "add") return nullptr;
    return space == Space::kShared ? handler<uint32_t, update_add_float>()
                                   : handler<uint32_t, update_add_flushed>();
  }
  if (type == "f64") return operation == "add" ? handler<uint64_t, update_add_double>() : nullptr;
  if (operation == "add") {
    if (type == "f16") return handler<uint16_t, update_narrow<add_half>>();
    if (type == "bf16") return handler<uint16_t, update_narrow<add_bfloat>>();
    if (type == "f16x2") return handler<uint32_t, update_packed<add_half>>();
    if (type == "bf16x2") return handler<uint32_t, update_packed<add_bfloat>>();
  }
  if (type == "u32" && operation == "inc") return handler<uint32_t, update_increment>();
  if (type == "u32" && operation == "dec") return handler<uint32_t, update_decrement>();
  if (type == "b16" && operation == "cas") return handler<uint16_t, update_compare<uint16_t>>();
  const bool is_signed = type[0] == 's';
  if (type == "b32" || type == "u32" || type == "s32") {
    return find_integer<uint32_t, int32_t>(operation, is_signed);
  }
  if (type == "b64" || type == "u64" || type == "s64") {
    return find_integer<uint64_t, int64_t>(operation, is_signed);
  }
  return nullptr;
}

}  // namespace

// atom.<space>.<operation>.<type> d, [a], b[, c] and red.<space>.<operation>.<type> [a], b
void decode_atomic(Decoder& decoder) {
  static const auto* const ignored = new std::unordered_set<std::string_view>{
      "relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys", "noftz"};
  Instruction& instruction = decoder.instruction();
  const std::vector<std::string_view>& parts = decoder.statement().parts;
  std::string_view operation;
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    if (parts[i] == "global") {
      instruction.space = Space::kGlobal;
    } else if (parts[i] == "shared" || parts[i] == "shared::cta") {
      instruction.space = Space::kShared;
    } else if (ignored->count(parts[i]) == 0) {
      if (!operation.empty()) decoder.unsupported();
      operation = parts[i];
    }
  }
  const std::string_view type = decoder.statement().type();
  instruction.handler = find_atomic(operation, type, instruction.space);
  if (instruction.handler == nullptr) decoder.unsupported();
  const bool returns = parts[0] == "atom";
  const bool compares = operation == "cas";
  const size_t first = returns ? 1 : 0;
  decoder.require_operands(first + (compares ? 3 : 2));
  const Width width = width_of_type(type);
  if (returns) {
    decoder.define(decoder.operand(0), width);
  } else {
    decoder.define_sink(width);
  }
  decoder.use_address(decoder.operand(first), instruction.space);
  decoder.use(decoder.operand(first + 1), width);
  decoder.use(decoder.operand(first + (compares ? 2 : 1)), width);
}

}  // namespace ptx_emulator
