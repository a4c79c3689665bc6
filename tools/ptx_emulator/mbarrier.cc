// mbarrier.init, .inval, .arrive, .test_wait and .try_wait.
//
// A wait that fails gives the turn to other warps: its warp polls, and looks again when the phase
// is complete, or when no other warp can go on (Executor::schedule).
#include "tools/ptx_emulator/mbarrier.h"

#include <optional>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/executor.h"
#include "tools/ptx_emulator/warp_memory.h"

namespace ptx_emulator {
namespace {

using Long = unsigned long long;

constexpr uint32_t kBytes = 8;
constexpr uint32_t kMaxCount = (1u << 20) - 1;  // PTX ISA, "Contents of the mbarrier object"

// Instruction::mode of a wait: what operand 2 means.
enum WaitMode : uint8_t { kState, kParity };

template <class Describe>
void report_misuse(Warp& warp, int lane, Describe&& describe) {
  if (!warp.block->launch->checks_any(kCheckBarriers)) return;
  report(warp, FaultKind::kBarrier, lane, describe);
}

// Calls `visit(offset, lanes)` for each place in shared memory that lanes name; those of lanes that
// name none were reported.
template <class Visit>
void for_each_place(Warp& warp, const Instruction& instruction, int operand, Visit visit) {
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[operand], addresses);
  for (uint32_t rest = warp.mask; rest != 0;) {
    const int first = __builtin_ctz(rest);
    uint32_t lanes = 0;
    for (int lane = first; lane < kLanes; ++lane) {
      if (addresses[lane] == addresses[first]) lanes |= 1u << lane;
    }
    lanes &= rest;
    rest &= ~lanes;
    const std::optional<uint32_t> offset =
        shared_offset(warp, static_cast<uint32_t>(addresses[first]), kBytes, first, /*write=*/true);
    if (offset) visit(*offset, lanes);
  }
}

// The object that lanes use; null after a report.
Mbarrier* find(Warp& warp, uint32_t offset, uint32_t lanes) {
  Block& block = *warp.block;
  const auto found = block.mbarriers.find(offset);
  if (found == block.mbarriers.end()) {
    report_misuse(warp, __builtin_ctz(lanes), [&] {
      return format("shared+%u is no mbarrier: nobody initialised it, or it was invalidated",
                    offset);
    });
    return nullptr;
  }
  if (block.use_shadow) {
    for_each_lane(lanes, [&](int lane) { block.shadow.use_mbarrier(warp, lane, offset); });
  }
  return &found->second;
}

// Whether an operand is a count of arrivals; else after a report.
bool is_count(Warp& warp, int lane, uint32_t count) {
  if (count >= 1 && count <= kMaxCount) return true;
  report_misuse(warp, lane, [&] {
    return format("an mbarrier with a count of %u: allowed are 1 to %u", count, kMaxCount);
  });
  return false;
}

// Operands: address, count.
void initialize(Warp& warp, const Instruction& instruction) {
  Block& block = *warp.block;
  const uint32_t* const counts = warp.lanes<const uint32_t>(instruction.operand[1]);
  const auto one = [&](uint32_t offset, int lane) {
    if (!is_count(warp, lane, counts[lane])) return;
    const auto [place, inserted] = block.mbarriers.try_emplace(offset);
    if (!inserted) {
      report_misuse(warp, lane, [&] {
        return format("shared+%u is a live mbarrier already: mbarrier.inval has to end it first",
                      offset);
      });
      if (block.use_shadow) block.shadow.end_mbarrier(warp, lane, offset);
    }
    if (block.use_shadow) block.shadow.begin_mbarrier(warp, lane, offset);
    Mbarrier& mbarrier = place->second;
    mbarrier.expected = mbarrier.pending = counts[lane];
    mbarrier.phase = 0;
    mbarrier.arrived.reset(block.warps.size());
    mbarrier.complete.reset(block.warps.size());
  };
  for_each_place(warp, instruction, 0, [&](uint32_t offset, uint32_t lanes) {
    for_each_lane(lanes, [&](int lane) { one(offset, lane); });
  });
}

// Operands: address.
void invalidate(Warp& warp, const Instruction& instruction) {
  Block& block = *warp.block;
  const auto one = [&](uint32_t offset, int lane) {
    if (find(warp, offset, 1u << lane) == nullptr) return;
    if (block.use_shadow) block.shadow.end_mbarrier(warp, lane, offset);
    block.mbarriers.erase(offset);
  };
  for_each_place(warp, instruction, 0, [&](uint32_t offset, uint32_t lanes) {
    for_each_lane(lanes, [&](int lane) { one(offset, lane); });
  });
}

void complete_phase(Block& block, uint32_t offset, Mbarrier& mbarrier) {
  mbarrier.pending = mbarrier.expected;
  ++mbarrier.phase;
  mbarrier.complete = mbarrier.arrived;
  for (Warp& warp : block.warps) {
    if (warp.state == WarpState::kPolling && warp.mbarrier == offset) {
      warp.state = WarpState::kReady;
    }
  }
}

// Operands: state (or a sink), address, count. A state is the number of its phase.
void arrive(Warp& warp, const Instruction& instruction) {
  uint64_t* const states = warp.lanes<uint64_t>(instruction.operand[0]);
  const uint32_t* const counts = warp.lanes<const uint32_t>(instruction.operand[2]);
  const auto one = [&](Mbarrier& mbarrier, uint32_t offset, int lane) {
    uint32_t count = counts[lane];
    if (!is_count(warp, lane, count)) return;
    if (count > mbarrier.pending) {
      report_misuse(warp, lane, [&] {
        return format("%u arrivals are too many for %s", count,
                      describe_mbarrier(*warp.block, offset).c_str());
      });
      count = mbarrier.pending;
    }
    states[lane] = mbarrier.phase;
    ++warp.block->arrivals;
    mbarrier.pending -= count;
    if (mbarrier.pending == 0) complete_phase(*warp.block, offset, mbarrier);
  };
  for_each_place(warp, instruction, 1, [&](uint32_t offset, uint32_t lanes) {
    Mbarrier* const mbarrier = find(warp, offset, lanes);
    if (mbarrier == nullptr) return;
    warp.pass_on(lanes, mbarrier->arrived);
    for_each_lane(lanes, [&](int lane) { one(*mbarrier, offset, lane); });
  });
  warp.end_epoch();
}

// Operands: predicate, address, state or parity.
void wait(Warp& warp, const Instruction& instruction) {
  const bool parity = instruction.mode == kParity;
  const uint16_t slot = instruction.operand[2];
  const auto is_complete = [&](const Mbarrier& mbarrier, uint32_t offset, int lane) {
    if (parity) {
      // It names the current phase, or the one before.
      const uint32_t wanted = warp.lanes<const uint32_t>(slot)[lane];
      if (wanted > 1) {
        report_misuse(warp, lane,
                      [&] { return format("a wait for parity %u: it is 0 or 1", wanted); });
      }
      return (mbarrier.phase & 1) != (wanted & 1);
    }
    const uint64_t wanted = warp.lanes<const uint64_t>(slot)[lane];
    if (wanted > mbarrier.phase || mbarrier.phase - wanted > 1) {
      report_misuse(warp, lane, [&] {
        return format("a wait for phase %llu of %s: only for this one, or the one before",
                      static_cast<Long>(wanted), describe_mbarrier(*warp.block, offset).c_str());
      });
    }
    return wanted < mbarrier.phase;
  };
  uint32_t waiting = 0;
  for_each_place(warp, instruction, 1, [&](uint32_t offset, uint32_t lanes) {
    const Mbarrier* const mbarrier = find(warp, offset, lanes);
    if (mbarrier == nullptr) return;  // reported: the warp goes on
    uint32_t complete = 0;
    for_each_lane(lanes, [&](int lane) {
      complete |= static_cast<uint32_t>(is_complete(*mbarrier, offset, lane)) << lane;
    });
    if (complete != 0) warp.join(mbarrier->complete, complete);
    if (complete == lanes) return;
    waiting |= lanes & ~complete;
    warp.mbarrier = offset;
  });
  warp.set_predicate(instruction.operand[0], ~waiting);
  if (waiting == 0) return;
  warp.state = WarpState::kPolling;
  warp.barrier_pc = warp.pc;
}

}  // namespace

std::string describe_mbarrier(const Block& block, uint32_t offset) {
  const auto found = block.mbarriers.find(offset);
  if (found == block.mbarriers.end()) return format("the former mbarrier at shared+%u", offset);
  const Mbarrier& mbarrier = found->second;
  return format("the mbarrier at shared+%u, whose phase %llu needs %u of %u arrivals", offset,
                static_cast<Long>(mbarrier.phase), mbarrier.pending, mbarrier.expected);
}

// mbarrier.init [a], count · .inval [a] · .arrive d, [a][, count] ·
// .test_wait[.parity] p, [a], state or parity · .try_wait[.parity] p, [a], ...[, time limit]
void decode_mbarrier(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  Instruction& instruction = decoder.instruction();
  const std::string_view operation = statement.parts.size() > 1 ? statement.parts[1] : "";
  const bool waits = operation == "test_wait" || operation == "try_wait";
  const bool arrives = operation == "arrive";
  for (size_t i = 2; i + 1 < statement.parts.size(); ++i) {
    const std::string_view part = statement.parts[i];
    if (part == "shared" || part == "shared::cta") {
      instruction.space = Space::kShared;
    } else if (part == "parity" && waits) {
      instruction.mode = kParity;
    } else if (!(waits && part == "acquire") && !(arrives && part == "release") &&
               !((waits || arrives) && part == "cta")) {
      decoder.unsupported();
    }
  }
  if (instruction.space != Space::kShared || statement.type() != "b64") decoder.unsupported();
  const size_t operands = statement.operands.size();
  if (operation == "init") {
    decoder.require_operands(2);
    instruction.handler = initialize;
    decoder.use_address(decoder.operand(0), Space::kShared);
    decoder.use(decoder.operand(1), Width::k32);
  } else if (operation == "inval") {
    decoder.require_operands(1);
    instruction.handler = invalidate;
    decoder.use_address(decoder.operand(0), Space::kShared);
  } else if (arrives) {
    decoder.require_operands(2, 3);
    instruction.handler = arrive;
    decoder.define(decoder.operand(0), Width::k64);
    decoder.use_address(decoder.operand(1), Space::kShared);
    if (operands == 3) {
      decoder.require_sm(90);  // PTX ISA, mbarrier.arrive: Target ISA Notes
      decoder.use(decoder.operand(2), Width::k32);
    } else {
      decoder.use_constant(1, Width::k32);
    }
  } else if (waits) {
    const bool tries = operation == "try_wait";
    if (tries) decoder.require_sm(90);  // PTX ISA, mbarrier.try_wait: Target ISA Notes
    decoder.require_operands(3, tries ? 4 : 3);
    instruction.handler = wait;
    decoder.define(decoder.operand(0), Width::kPredicate);
    decoder.use_address(decoder.operand(1), Space::kShared);
    decoder.use(decoder.operand(2), instruction.mode == kParity ? Width::k32 : Width::k64);
    if (operands == 4) decoder.use(decoder.operand(3), Width::k32);
  } else {
    decoder.unsupported();
  }
}

}  // namespace ptx_emulator
