// Instructions by which the lanes of a warp talk: shfl, vote, match, redux and activemask.
#include <cstring>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {
namespace {

// The lanes that the membermask of each executing lane names must execute the instruction, too.
void require_members(Warp& warp, uint16_t slot, const char* what) {
  const uint32_t* const masks = warp.lanes<const uint32_t>(slot);
  const int first = __builtin_ctz(warp.mask);
  require_lanes(warp, masks[first] & warp.live, what);
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    if (masks[lane] == masks[first] && (masks[lane] >> lane & 1)) continue;
    report(warp, FaultKind::kWarpSync, lane, [&] {
      return format(
          "%s with membermask %08x, which %s", what, masks[lane],
          masks[lane] >> lane & 1 ? "differs from another lane's" : "leaves out the lane itself");
    });
    return;
  }
}

enum ShuffleMode : uint8_t { kUp, kDown, kButterfly, kIndex };

// Operands: d, p (or a sink), a, b, c, membermask.
void shuffle(Warp& warp, const Instruction& instruction) {
  require_members(warp, instruction.operand[5], "shfl.sync");
  uint32_t source[kLanes];
  std::memcpy(source, warp.lanes<const uint32_t>(instruction.operand[2]), sizeof(source));
  const uint32_t* const b = warp.lanes<const uint32_t>(instruction.operand[3]);
  const uint32_t* const c = warp.lanes<const uint32_t>(instruction.operand[4]);
  uint32_t* const destination = warp.lanes<uint32_t>(instruction.operand[0]);
  uint32_t in_range = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.mask >> lane & 1)) continue;
    const int offset = static_cast<int>(b[lane] & 31);
    const int clamp = static_cast<int>(c[lane] & 31);
    const int segment = static_cast<int>(c[lane] >> 8 & 31);
    const int highest = (lane & segment) | (clamp & ~segment);
    const int lowest = lane & segment;
    int from = lane;
    bool valid = false;
    switch (instruction.mode) {
      case kUp:
        from = lane - offset;
        valid = from >= highest;
        break;
      case kDown:
        from = lane + offset;
        valid = from <= highest;
        break;
      case kButterfly:
        from = lane ^ offset;
        valid = from <= highest;
        break;
      default:
        from = lowest | (offset & ~segment);
        valid = from <= highest;
    }
    if (!valid) from = lane;
    if (!(warp.mask >> from & 1)) {
      report(warp, FaultKind::kWarpSync, lane, [&] {
        return format("shfl.sync reads lane %d, which does not execute it (only %08x do)", from,
                      warp.mask);
      });
    }
    in_range |= static_cast<uint32_t>(valid) << lane;
    destination[lane] = source[from];
  }
  warp.set_predicate(instruction.operand[1], in_range);
}

enum VoteMode : uint8_t { kAll, kAny, kUniform, kBallot };

uint32_t voters(Warp& warp, uint16_t slot) {
  require_members(warp, slot, "vote.sync");
  return warp.mask & warp.lanes<const uint32_t>(slot)[__builtin_ctz(warp.mask)];
}

// Operands: d, a, membermask.
void vote(Warp& warp, const Instruction& instruction) {
  const uint32_t members = voters(warp, instruction.operand[2]);
  const uint32_t yes = warp.predicate(instruction, 1) & members;
  bool result = false;
  switch (instruction.mode) {
    case kAll:
      result = yes == members;
      break;
    case kAny:
      result = yes != 0;
      break;
    default:
      result = yes == members || yes == 0;
  }
  warp.set_predicate(instruction.operand[0], result ? kAllLanes : 0);
}

void broadcast(Warp& warp, uint16_t slot, uint32_t value) {
  uint32_t* const destination = warp.lanes<uint32_t>(slot);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (warp.mask >> lane & 1) destination[lane] = value;
  }
}

void ballot(Warp& warp, const Instruction& instruction) {
  const uint32_t members = voters(warp, instruction.operand[2]);
  broadcast(warp, instruction.operand[0], warp.predicate(instruction, 1) & members);
}

void active_mask(Warp& warp, const Instruction& instruction) {
  broadcast(warp, instruction.operand[0], warp.mask);
}

// Operands: d, p (or a sink), a, membermask. d of .any: the lanes with the same value as this one.
template <class T, bool kAllEqual>
void match(Warp& warp, const Instruction& instruction) {
  require_members(warp, instruction.operand[3], "match.sync");
  T values[kLanes];
  std::memcpy(values, warp.lanes<const T>(instruction.operand[2]), sizeof(values));
  uint32_t* const destination = warp.lanes<uint32_t>(instruction.operand[0]);
  uint32_t holds = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.mask >> lane & 1)) continue;
    uint32_t equal = 0;
    for (int other = 0; other < kLanes; ++other) {
      const bool same = (warp.mask >> other & 1) && values[other] == values[lane];
      equal |= static_cast<uint32_t>(same) << other;
    }
    const bool all = equal == warp.mask;
    holds |= static_cast<uint32_t>(all) << lane;
    destination[lane] = kAllEqual && !all ? 0 : equal;
  }
  warp.set_predicate(instruction.operand[1], holds);
}

template <class T>
T combine_add(T a, T b) {
  return a + b;
}
template <class T>
T combine_min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T combine_max(T a, T b) {
  return a > b ? a : b;
}
template <class T>
T combine_and(T a, T b) {
  return a & b;
}
template <class T>
T combine_or(T a, T b) {
  return a | b;
}
template <class T>
T combine_xor(T a, T b) {
  return a ^ b;
}

// Operands: d, a, membermask.
template <class T, T (*F)(T, T)>
void reduce(Warp& warp, const Instruction& instruction) {
  require_members(warp, instruction.operand[2], "redux.sync");
  const T* const values = warp.lanes<const T>(instruction.operand[1]);
  uint32_t rest = warp.mask;
  T result = values[__builtin_ctz(rest)];
  for (rest &= rest - 1; rest != 0; rest &= rest - 1)
    result = F(result, values[__builtin_ctz(rest)]);
  broadcast(warp, instruction.operand[0], static_cast<uint32_t>(result));
}

// "d|p", or d alone.
void define_with_predicate(Decoder& decoder, Width width) {
  Operand first = decoder.operand(0);
  decoder.define(first, width);
  if (first.second_name.empty()) {
    decoder.define_sink(Width::kPredicate);
    return;
  }
  first.name = first.second_name;
  decoder.define(first, Width::kPredicate);
}

}  // namespace

void decode_shuffle(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  if (statement.parts.size() != 4 || !statement.has("sync") || statement.type() != "b32") {
    decoder.unsupported();
  }
  Instruction& instruction = decoder.instruction();
  if (statement.has("up")) {
    instruction.mode = kUp;
  } else if (statement.has("down")) {
    instruction.mode = kDown;
  } else if (statement.has("bfly")) {
    instruction.mode = kButterfly;
  } else if (statement.has("idx")) {
    instruction.mode = kIndex;
  } else {
    decoder.unsupported();
  }
  decoder.require_operands(5);
  instruction.handler = shuffle;
  define_with_predicate(decoder, Width::k32);
  for (size_t i = 1; i < 5; ++i) decoder.use(decoder.operand(i), Width::k32);
}

void decode_vote(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  if (statement.parts.size() != 4 || !statement.has("sync")) decoder.unsupported();
  decoder.require_operands(3);
  Instruction& instruction = decoder.instruction();
  instruction.handler = vote;
  Width width = Width::kPredicate;
  if (statement.has("ballot") && statement.type() == "b32") {
    instruction.handler = ballot;
    width = Width::k32;
  } else if (statement.type() != "pred") {
    decoder.unsupported();
  } else if (statement.has("all")) {
    instruction.mode = kAll;
  } else if (statement.has("any")) {
    instruction.mode = kAny;
  } else if (statement.has("uni")) {
    instruction.mode = kUniform;
  } else {
    decoder.unsupported();
  }
  decoder.define(decoder.operand(0), width);
  decoder.use(decoder.operand(1), Width::kPredicate);
  decoder.use(decoder.operand(2), Width::k32);
}

void decode_match(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  const bool wide = statement.type() == "b64";
  const bool all = statement.has("all");
  const bool known =
      statement.has("sync") && (all || statement.has("any")) && (wide || statement.type() == "b32");
  if (!known) decoder.unsupported();
  decoder.require_operands(3);
  decoder.instruction().handler = wide ? (all ? match<uint64_t, true> : match<uint64_t, false>)
                                       : (all ? match<uint32_t, true> : match<uint32_t, false>);
  define_with_predicate(decoder, Width::k32);
  decoder.use(decoder.operand(1), wide ? Width::k64 : Width::k32);
  decoder.use(decoder.operand(2), Width::k32);
}

void decode_reduction(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  if (statement.parts.size() != 4 || !statement.has("sync")) decoder.unsupported();
  const std::string_view type = statement.type();
  Handler handler = nullptr;
  if (type == "b32") {
    if (statement.has("and")) handler = reduce<uint32_t, combine_and<uint32_t>>;
    if (statement.has("or")) handler = reduce<uint32_t, combine_or<uint32_t>>;
    if (statement.has("xor")) handler = reduce<uint32_t, combine_xor<uint32_t>>;
  } else if (type == "u32") {
    if (statement.has("add")) handler = reduce<uint32_t, combine_add<uint32_t>>;
    if (statement.has("min")) handler = reduce<uint32_t, combine_min<uint32_t>>;
    if (statement.has("max")) handler = reduce<uint32_t, combine_max<uint32_t>>;
  } else if (type == "s32") {
    if (statement.has("add")) handler = reduce<int32_t, combine_add<int32_t>>;
    if (statement.has("min")) handler = reduce<int32_t, combine_min<int32_t>>;
    if (statement.has("max")) handler = reduce<int32_t, combine_max<int32_t>>;
  }
  if (handler == nullptr) decoder.unsupported();
  decoder.require_operands(3);
  decoder.instruction().handler = handler;
  decoder.define(decoder.operand(0), Width::k32);
  decoder.use(decoder.operand(1), Width::k32);
  decoder.use(decoder.operand(2), Width::k32);
}

void decode_active_mask(Decoder& decoder) {
  if (decoder.statement().opcode != "activemask.b32") decoder.unsupported();
  decoder.require_operands(1);
  decoder.instruction().handler = active_mask;
  decoder.define(decoder.operand(0), Width::k32);
}

}  // namespace ptx_emulator
