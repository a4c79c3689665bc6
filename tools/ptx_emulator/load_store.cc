// ld, st, prefetch and cvta. Cache operators, scopes and orders are accepted and change nothing:
// the emulator's memory is sequentially consistent.
#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_set>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/lanes.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/warp_memory.h"

namespace ptx_emulator {

void lane_addresses(Warp& warp, const Instruction& instruction, uint16_t slot,
                    uint64_t addresses[kLanes]) {
  const uint64_t offset = static_cast<uint64_t>(instruction.immediate);
  if (instruction.wide_address) {
    const uint64_t* const base = warp.lanes<const uint64_t>(slot);
    for (int lane = 0; lane < kLanes; ++lane) addresses[lane] = base[lane] + offset;
  } else {
    const uint32_t* const base = warp.lanes<const uint32_t>(slot);
    for (int lane = 0; lane < kLanes; ++lane) {
      addresses[lane] = static_cast<uint32_t>(base[lane] + static_cast<uint32_t>(offset));
    }
  }
}

void count_access(Warp& warp, const Instruction& instruction, const uint64_t* addresses,
                  uint32_t bytes) {
  if (!warp.block->counting()) return;
  if (instruction.space == Space::kShared) {
    count_shared_access(warp, addresses, warp.mask, bytes);
  } else if (instruction.space == Space::kGlobal) {
    count_global_access(warp, addresses, warp.mask, bytes);
  } else if (instruction.space == Space::kGeneric) {
    const bool shared = (addresses[__builtin_ctz(warp.mask)] & kSharedWindow) != 0;
    (shared ? count_shared_access : count_global_access)(warp, addresses, warp.mask, bytes);
  }
}

namespace {

// T: what lies in memory; R: the register, uint32_t (also for 16 bits, zero-extended) or uint64_t.
template <class T, class R, bool kNarrowRegister>
void load(Warp& warp, const Instruction& instruction) {
  const int elements = instruction.elements;
  const uint32_t bytes = sizeof(T) * elements;
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[elements], addresses);
  count_access(warp, instruction, addresses, bytes);
  uint8_t* pointers[kLanes];
  memory_pointers(warp, instruction.space, addresses, bytes, /*write=*/false, pointers);
  for (int i = 0; i < elements; ++i) {
    R* const destination = warp.lanes<R>(instruction.operand[i]);
    for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      T value;
      std::memcpy(&value, pointers[lane] + i * sizeof(T), sizeof(T));
      R extended = static_cast<R>(value);
      if constexpr (kNarrowRegister) extended &= 0xffff;
      destination[lane] = extended;
    }
  }
}

template <class T, class R>
void store(Warp& warp, const Instruction& instruction) {
  const int elements = instruction.elements;
  const uint32_t bytes = sizeof(T) * elements;
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[0], addresses);
  count_access(warp, instruction, addresses, bytes);
  uint8_t* pointers[kLanes];
  memory_pointers(warp, instruction.space, addresses, bytes, /*write=*/true, pointers);
  // Lane by lane, so that of lanes with the same address the last one wins.
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    for (int i = 0; i < elements; ++i) {
      const T value = static_cast<T>(warp.lanes<R>(instruction.operand[1 + i])[lane]);
      std::memcpy(pointers[lane] + i * sizeof(T), &value, sizeof(T));
    }
  }
}

// The parameter of a kernel is the same for all lanes.
template <class T, class R, bool kNarrowRegister>
void load_parameter(Warp& warp, const Instruction& instruction) {
  const std::vector<uint8_t>& parameters = warp.block->launch->parameters;
  for (int i = 0; i < instruction.elements; ++i) {
    T value;
    std::memcpy(&value, parameters.data() + instruction.immediate + i * sizeof(T), sizeof(T));
    R extended = static_cast<R>(value);
    if constexpr (kNarrowRegister) extended &= 0xffff;
    R* const destination = warp.lanes<R>(instruction.operand[i]);
    for (int lane = 0; lane < kLanes; ++lane) {
      if (warp.mask >> lane & 1) destination[lane] = extended;
    }
  }
}

template <class T>
Handler load_handler(Width width, bool parameter) {
  switch (width) {
    case Width::k16:
      return parameter ? load_parameter<T, uint32_t, true> : load<T, uint32_t, true>;
    case Width::k32:
      return parameter ? load_parameter<T, uint32_t, false> : load<T, uint32_t, false>;
    default:
      return parameter ? load_parameter<T, uint64_t, false> : load<T, uint64_t, false>;
  }
}

Handler find_load(std::string_view type, Width width, bool parameter) {
  const bool is_signed = type[0] == 's';
  switch (type_bytes(type)) {
    case 1:
      return is_signed ? load_handler<int8_t>(width, parameter)
                       : load_handler<uint8_t>(width, parameter);
    case 2:
      return is_signed ? load_handler<int16_t>(width, parameter)
                       : load_handler<uint16_t>(width, parameter);
    case 4:
      return is_signed ? load_handler<int32_t>(width, parameter)
                       : load_handler<uint32_t>(width, parameter);
    default:
      return load_handler<uint64_t>(width, parameter);
  }
}

Handler find_store(uint32_t bytes, Width width) {
  const bool wide = width == Width::k64;
  switch (bytes) {
    case 1:
      return wide ? store<uint8_t, uint64_t> : store<uint8_t, uint32_t>;
    case 2:
      return wide ? store<uint16_t, uint64_t> : store<uint16_t, uint32_t>;
    case 4:
      return wide ? store<uint32_t, uint64_t> : store<uint32_t, uint32_t>;
    default:
      return store<uint64_t, uint64_t>;
  }
}

// What the modifiers of an access say: space, vector length, and that all of them are known.
void decode_modifiers(Decoder& decoder) {
  static const auto* const ignored = new std::unordered_set<std::string_view>{"nc",
                                                                              "ca",
                                                                              "cg",
                                                                              "cs",
                                                                              "lu",
                                                                              "cv",
                                                                              "wb",
                                                                              "wt",
                                                                              "volatile",
                                                                              "relaxed",
                                                                              "acquire",
                                                                              "release",
                                                                              "acq_rel",
                                                                              "weak",
                                                                              "cta",
                                                                              "cluster",
                                                                              "gpu",
                                                                              "sys",
                                                                              "L1::evict_normal",
                                                                              "L1::evict_unchanged",
                                                                              "L1::evict_first",
                                                                              "L1::evict_last",
                                                                              "L1::no_allocate",
                                                                              "L2::evict_normal",
                                                                              "L2::evict_first",
                                                                              "L2::evict_last",
                                                                              "L2::64B",
                                                                              "L2::128B",
                                                                              "L2::256B"};
  static const auto* const spaces = new std::map<std::string_view, Space>{
      {"global", Space::kGlobal},         {"const", Space::kGlobal}, {"shared", Space::kShared},
      {"shared::cta", Space::kShared},    {"local", Space::kLocal},  {"param", Space::kParameter},
      {"param::entry", Space::kParameter}};
  Instruction& instruction = decoder.instruction();
  const std::vector<std::string_view>& parts = decoder.statement().parts;
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    const auto space = spaces->find(parts[i]);
    if (space != spaces->end()) {
      instruction.space = space->second;
    } else if (parts[i] == "v2") {
      instruction.elements = 2;
    } else if (parts[i] == "v4") {
      instruction.elements = 4;
    } else if (parts[i] == "v8") {
      instruction.elements = 8;
    } else if (ignored->count(parts[i]) == 0) {
      decoder.unsupported();
    }
  }
  const uint32_t bytes = type_bytes(parts.back());
  if (parts.size() < 2 || bytes == 0) decoder.unsupported();
  if (bytes * instruction.elements > 32) decoder.unsupported();
  instruction.bytes = static_cast<uint8_t>(bytes);
}

std::vector<Operand> decode_elements(Decoder& decoder, const Operand& operand) {
  const std::vector<Operand> elements = decoder.elements(operand);
  if (elements.size() != decoder.instruction().elements) {
    decoder.fail("the vector has " + std::to_string(elements.size()) + " elements, needs " +
                 std::to_string(decoder.instruction().elements));
  }
  return elements;
}

}  // namespace

void decode_load(Decoder& decoder) {
  decoder.require_operands(2);
  decode_modifiers(decoder);
  Instruction& instruction = decoder.instruction();
  const std::string_view type = decoder.statement().type();
  const Operand& address = decoder.operand(1);
  const Place* const place =
      address.name.empty() ? nullptr : decoder.builder().find_place(address.name);
  const bool named_parameter = instruction.space == Space::kParameter && place != nullptr;

  Width width = width_of_type(type);
  bool first = true;
  for (const Operand& element : decode_elements(decoder, decoder.operand(0))) {
    if (element.kind != Operand::Kind::kSink) {
      const Width found = decoder.register_width(element);
      if (found == Width::kPredicate || found < width_of_type(type)) {
        decoder.fail("register " + std::string(element.name) + " is too narrow for ." +
                     std::string(type));
      }
      if (!first && found != width) decoder.fail("the registers of the vector differ in width");
      width = found;
      first = false;
    }
    decoder.define(element, width);
  }
  instruction.handler = find_load(type, width, named_parameter);
  if (!named_parameter) {
    decoder.use_address(address, instruction.space);
    return;
  }
  if (place->kind != Place::Kind::kParameter) decoder.fail("this is no parameter");
  instruction.immediate = static_cast<int64_t>(place->offset) + address.offset;
  const uint64_t bytes = static_cast<uint64_t>(instruction.bytes) * instruction.elements;
  if (address.offset < 0 || static_cast<uint64_t>(address.offset) + bytes > place->bytes) {
    decoder.fail("the access is outside the parameter of " + std::to_string(place->bytes) +
                 " bytes");
  }
}

void decode_store(Decoder& decoder) {
  decoder.require_operands(2);
  decode_modifiers(decoder);
  Instruction& instruction = decoder.instruction();
  const std::string_view type = decoder.statement().type();
  if (instruction.space == Space::kParameter) decoder.fail("parameters cannot be written");
  decoder.use_address(decoder.operand(0), instruction.space);
  Width width = width_of_type(type);
  const std::vector<Operand> elements = decode_elements(decoder, decoder.operand(1));
  for (const Operand& element : elements) {
    // Registers may be wider than the type; literals take the width of the registers beside them.
    if (element.kind == Operand::Kind::kName &&
        decoder.builder().find_register(element.name) >= 0) {
      width = std::max(width, decoder.register_width(element));
    }
  }
  for (const Operand& element : elements) decoder.use(element, width);
  instruction.handler = find_store(instruction.bytes, width);
}

// prefetch moves nothing that a kernel could see; an address outside of its tensor is reported as
// that of a load is, since what computes it is wrong.
void decode_prefetch(Decoder& decoder) {
  decoder.require_operands(1);
  Instruction& instruction = decoder.instruction();
  if (decoder.statement().has("global")) instruction.space = Space::kGlobal;
  decoder.use_address(decoder.operand(0), instruction.space);
  instruction.handler = [](Warp& warp, const Instruction& instruction) {
    uint64_t addresses[kLanes];
    lane_addresses(warp, instruction, instruction.operand[0], addresses);
    for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      memory_pointer(warp, instruction.space, addresses[lane], 1, lane, /*write=*/false);
    }
  };
}

namespace {

uint64_t to_shared(uint64_t address) { return address & (kParameterWindow - 1); }
uint64_t from_shared(uint64_t address) { return address | kSharedWindow; }
uint64_t from_local(uint64_t address) { return address | kLocalWindow; }
uint64_t from_parameter(uint64_t address) { return address | kParameterWindow; }
uint64_t same(uint64_t address) { return address; }

}  // namespace

// cvta[.to].<space>.u64 d, a
void decode_address_conversion(Decoder& decoder) {
  decoder.require_operands(2);
  const Statement& statement = decoder.statement();
  if (statement.type() != "u64") decoder.unsupported();
  Handler handler = nullptr;
  const bool to = statement.has("to");
  if (statement.has("global") || statement.has("const")) {
    handler = map<same>;
  } else if (statement.has("shared") || statement.has("shared::cta")) {
    handler = to ? map<to_shared> : map<from_shared>;
  } else if (statement.has("local")) {
    handler = to ? map<to_shared> : map<from_local>;
  } else if (statement.has("param") || statement.has("param::entry")) {
    handler = to ? map<to_shared> : map<from_parameter>;
  } else {
    decoder.unsupported();
  }
  decoder.instruction().handler = handler;
  decoder.define(decoder.operand(0), Width::k64);
  decoder.use(decoder.operand(1), Width::k64);
}

}  // namespace ptx_emulator
