// mbarrier.init, .inval, .arrive, .test_wait and .try_wait.
//
// A wait that fails gives the turn to other warps: its warp polls, and looks again when the phase
// is complete, or when no other warp can go on (Executor::schedule).
#include "tools/ptx_emulator/mbarrier.h"

#include <optional>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/executor.h"
#include "tools/ptx_emulator/machine.h"
#include "tools/ptx_emulator/warp_memory.h"

namespace ptx_emulator {
namespace {

constexpr uint32_t kBytes = 8;
constexpr uint32_t kMaxCount = (1u << 20) - 1;  // PTX ISA, "Contents of the mbarrier object"

// Instruction::mode of a wait: what operand 2 means.
enum WaitMode : uint8_t { kState, kParity };

bool check_barriers(const Warp& warp) { return warp.block->launch->checks_any(kCheckBarriers); }

template <class Describe>
void report_misuse(Warp& warp, int lane, Describe&& describe) {
  if (check_barriers(warp)) report(warp, FaultKind::kBarrier, lane, describe);
}

// The object that a lane names, if it is one; else after a report.
Mbarrier* find(Warp& warp, uint64_t address, int lane, uint32_t* offset) {
  Block& block = *warp.block;
  const std::optional<uint32_t> place =
      shared_offset(warp, static_cast<uint32_t>(address), kBytes, lane, /*write=*/true);
  if (!place) return nullptr;
  *offset = *place;
  const auto found = block.mbarriers.find(*place);
  if (found == block.mbarriers.end()) {
    report_misuse(warp, lane, [&] {
      return format("shared+%u is no mbarrier: nobody initialised it, or it was invalidated",
                    *place);
    });
    return nullptr;
  }
  if (block.use_shadow) block.shadow.use_mbarrier(warp, lane, *place);
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
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[0], addresses);
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const std::optional<uint32_t> offset = shared_offset(
        warp, static_cast<uint32_t>(addresses[lane]), kBytes, lane, /*write=*/true);
    if (!offset) continue;
    const uint32_t count = warp.lanes<const uint32_t>(instruction.operand[1])[lane];
    if (!is_count(warp, lane, count)) continue;
    if (block.mbarriers.count(*offset) != 0) {
      report_misuse(warp, lane, [&] {
        return format("shared+%u is a live mbarrier already: mbarrier.inval has to end it first",
                      *offset);
      });
      if (block.use_shadow) block.shadow.end_mbarrier(warp, lane, *offset);
    }
    if (block.use_shadow) block.shadow.begin_mbarrier(warp, lane, *offset);
    Mbarrier& made = block.mbarriers[*offset];
    made = Mbarrier{};
    made.expected = made.pending = count;
    for (auto* const clock :
         {&made.clock, &made.fenced, &made.complete_clock, &made.complete_fenced}) {
      clock->assign(block.warps.size(), 0);
    }
  }
}

// Operands: address.
void invalidate(Warp& warp, const Instruction& instruction) {
  Block& block = *warp.block;
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[0], addresses);
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    uint32_t offset = 0;
    if (find(warp, addresses[lane], lane, &offset) == nullptr) continue;
    if (block.use_shadow) block.shadow.end_mbarrier(warp, lane, offset);
    block.mbarriers.erase(offset);
  }
}

void complete_phase(Block& block, uint32_t offset, Mbarrier& mbarrier) {
  mbarrier.pending = mbarrier.expected;
  ++mbarrier.phase;
  mbarrier.complete_clock = mbarrier.clock;
  mbarrier.complete_fenced = mbarrier.fenced;
  for (Warp& warp : block.warps) {
    if (warp.state == WarpState::kPolling && warp.mbarrier == offset) {
      warp.state = WarpState::kReady;
    }
  }
}

// Operands: state (or a sink), address, count. A state is the number of its phase.
void arrive(Warp& warp, const Instruction& instruction) {
  Block& block = *warp.block;
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[1], addresses);
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    uint32_t offset = 0;
    Mbarrier* const mbarrier = find(warp, addresses[lane], lane, &offset);
    if (mbarrier == nullptr) continue;
    uint32_t count = warp.lanes<const uint32_t>(instruction.operand[2])[lane];
    if (!is_count(warp, lane, count)) continue;
    if (count > mbarrier->pending) {
      report_misuse(warp, lane, [&] {
        return format(
            "%u arrivals at the mbarrier at shared+%u, whose phase %llu needs no more than %u of "
            "%u",
            count, offset, static_cast<unsigned long long>(mbarrier->phase), mbarrier->pending,
            mbarrier->expected);
      });
      count = mbarrier->pending;
    }
    warp.lanes<uint64_t>(instruction.operand[0])[lane] = mbarrier->phase;
    join(warp.clock, mbarrier->clock);
    join(warp.fenced, mbarrier->fenced);
    ++block.arrivals;
    mbarrier->pending -= count;
    if (mbarrier->pending == 0) complete_phase(block, offset, *mbarrier);
  }
  ++warp.clock[warp.id];  // what the lanes do from now on was not passed on
}

// A parity names the current phase or the one before it, which is complete.
bool is_complete(const Mbarrier& mbarrier, uint64_t phase_or_parity, WaitMode mode) {
  if (mode == kParity) return (mbarrier.phase & 1) != (phase_or_parity & 1);
  return phase_or_parity < mbarrier.phase;
}

// Operands: predicate, address, state or parity.
void wait(Warp& warp, const Instruction& instruction) {
  const WaitMode mode = static_cast<WaitMode>(instruction.mode);
  uint64_t addresses[kLanes];
  lane_addresses(warp, instruction, instruction.operand[1], addresses);
  uint32_t complete = 0;
  const Mbarrier* joined = nullptr;
  for (uint32_t rest = warp.mask; rest != 0; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    const uint16_t slot = instruction.operand[2];
    const uint64_t wanted = mode == kParity ? warp.lanes<const uint32_t>(slot)[lane]
                                            : warp.lanes<const uint64_t>(slot)[lane];
    if (mode == kParity && wanted > 1) {
      report_misuse(warp, lane, [&] {
        return format("a wait for parity %u: it is 0 or 1", static_cast<uint32_t>(wanted));
      });
    }
    uint32_t offset = 0;
    const Mbarrier* const mbarrier = find(warp, addresses[lane], lane, &offset);
    if (mbarrier != nullptr && !is_complete(*mbarrier, wanted, mode)) {
      warp.state = WarpState::kPolling;
      warp.mbarrier = offset;
      warp.barrier_pc = warp.pc;
      continue;
    }
    complete |= 1u << lane;  // also after a report, so that the warp goes on
    if (mbarrier == nullptr || mbarrier == joined) continue;
    join(mbarrier->complete_clock, warp.clock);
    join(mbarrier->complete_fenced, warp.fenced);
    joined = mbarrier;
  }
  warp.set_predicate(instruction.operand[0], complete);
}

}  // namespace

std::string describe_mbarrier(const Block& block, uint32_t offset) {
  const auto found = block.mbarriers.find(offset);
  if (found == block.mbarriers.end()) return format("the former mbarrier at shared+%u", offset);
  const Mbarrier& mbarrier = found->second;
  return format("the mbarrier at shared+%u, whose phase %llu needs %u of %u arrivals", offset,
                static_cast<unsigned long long>(mbarrier.phase), mbarrier.pending,
                mbarrier.expected);
}

// mbarrier.init [a], count · .inval [a] · .arrive d, [a][, count] ·
// .{test_wait,try_wait} p, [a], state · .{test_wait,try_wait}.parity p, [a], parity
void decode_mbarrier(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  Instruction& instruction = decoder.instruction();
  instruction.space = Space::kShared;
  const std::string_view operation = statement.parts.size() > 1 ? statement.parts[1] : "";
  const bool waits = operation == "test_wait" || operation == "try_wait";
  bool shared = false;
  for (size_t i = 2; i + 1 < statement.parts.size(); ++i) {
    const std::string_view part = statement.parts[i];
    if (part == "shared" || part == "shared::cta") {
      shared = true;
    } else if (part == "parity" && waits) {
      instruction.mode = kParity;
    } else if (part != "cta" && part != (waits ? "acquire" : "release")) {
      decoder.unsupported();
    }
  }
  if (!shared || statement.type() != "b64") decoder.unsupported();
  if (operation == "init") {
    decoder.require_operands(2);
    instruction.handler = initialize;
    decoder.use_address(decoder.operand(0), Space::kShared);
    decoder.use(decoder.operand(1), Width::k32);
  } else if (operation == "inval") {
    decoder.require_operands(1);
    instruction.handler = invalidate;
    decoder.use_address(decoder.operand(0), Space::kShared);
  } else if (operation == "arrive") {
    decoder.require_operands(2, 3);
    instruction.handler = arrive;
    decoder.define(decoder.operand(0), Width::k64);
    decoder.use_address(decoder.operand(1), Space::kShared);
    if (statement.operands.size() == 3) {
      decoder.require_sm(90);  // PTX ISA, mbarrier.arrive: Target ISA Notes
      decoder.use(decoder.operand(2), Width::k32);
    } else {
      decoder.use_constant(1, Width::k32);
    }
  } else if (waits) {
    if (operation == "try_wait") decoder.require_sm(90);  // PTX ISA, mbarrier.try_wait
    decoder.require_operands(3);
    instruction.handler = wait;
    decoder.define(decoder.operand(0), Width::kPredicate);
    decoder.use_address(decoder.operand(1), Space::kShared);
    decoder.use(decoder.operand(2), instruction.mode == kParity ? Width::k32 : Width::k64);
  } else {
    decoder.unsupported();
  }
}

}  // namespace ptx_emulator
