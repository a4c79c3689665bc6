// bar.sync, bar.arrive, bar.red and bar.warp.sync.
#include <algorithm>

#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/executor.h"

namespace ptx_emulator {
namespace {

// Instruction::mode of a barrier. Operands: d (of kReduce...), barrier, threads, predicate.
enum BarrierMode : uint8_t { kSync, kArrive, kReducePopulation, kReduceAnd, kReduceOr };

constexpr int kDestination = 0, kBarrier = 1, kThreads = 2, kPredicate = 3;

bool reduces(const Instruction& instruction) { return instruction.mode >= kReducePopulation; }

const Instruction& waiting_instruction(const Warp& warp) {
  return warp.block->launch->kernel->code[warp.barrier_pc];
}

void deliver(Warp& warp, const Barrier& barrier) {
  const Instruction& instruction = waiting_instruction(warp);
  if (!reduces(instruction)) return;
  warp.mask = warp.live;
  if (instruction.mode == kReducePopulation) {
    uint32_t* const destination = warp.lanes<uint32_t>(instruction.operand[kDestination]);
    for (int lane = 0; lane < kLanes; ++lane) {
      if (warp.mask >> lane & 1) destination[lane] = barrier.population;
    }
    return;
  }
  const bool holds = instruction.mode == kReduceAnd ? barrier.population == barrier.threads
                                                    : barrier.population != 0;
  warp.set_predicate(instruction.operand[kDestination], holds ? kAllLanes : 0);
}

void release(Warp& warp, const Barrier& barrier) {
  deliver(warp, barrier);
  warp.order.join(barrier.order);
  warp.order_lanes();
  warp.state = WarpState::kReady;
}

void complete(Block& block, int id) {
  Barrier& barrier = block.barriers[id];
  for (Warp& warp : block.warps) {
    if (warp.state == WarpState::kAtBarrier && warp.barrier == id) release(warp, barrier);
  }
  barrier.arrived = 0;
  barrier.first_pc = -1;
  barrier.population = barrier.threads = 0;
}

int live_warps(const Block& block) {
  return static_cast<int>(std::count_if(block.warps.begin(), block.warps.end(), [](const Warp& w) {
    return w.state != WarpState::kExited;
  }));
}

// Warps of one block meet at one barrier of the source; unrolled copies of it count as the same.
void check_place(Warp& warp, Barrier& barrier) {
  const Kernel& kernel = *warp.block->launch->kernel;
  if (barrier.first_pc < 0) {
    barrier.first_pc = warp.pc;
    return;
  }
  const Instruction& first = kernel.code[barrier.first_pc];
  const Instruction& mine = kernel.code[warp.pc];
  const bool same = barrier.first_pc == warp.pc || (mine.place != 0 && first.place == mine.place);
  if (same) return;
  report(warp, FaultKind::kBarrier, __builtin_ctz(warp.mask), [&] {
    return "warps of the block meet at different barriers: others wait at " +
           describe_place(kernel, barrier.first_pc);
  });
}

}  // namespace

void arrive_at_barrier(Warp& warp, const Instruction& instruction) {
  Block& block = *warp.block;
  const bool check = block.launch->checks_any(kCheckBarriers);
  const int first_lane = __builtin_ctz(warp.mask);
  if (warp.mask != warp.live && check) {
    report(warp, FaultKind::kBarrier, first_lane, [&] {
      return format("divergent barrier: lanes %08x of %08x execute it", warp.mask, warp.live);
    });
  }
  const uint32_t id = warp.lanes<const uint32_t>(instruction.operand[kBarrier])[first_lane];
  const uint32_t threads = warp.lanes<const uint32_t>(instruction.operand[kThreads])[first_lane];
  if (id >= kBarriers || threads % kLanes != 0) {
    report(warp, FaultKind::kBarrier, first_lane, [&] {
      return format(
          "barrier %u with %u threads: there are %d barriers, for multiples of %d threads", id,
          threads, kBarriers, kLanes);
    });
    return;
  }
  Barrier& barrier = block.barriers[id];
  const bool whole_block = threads == 0;
  if (check && whole_block) check_place(warp, barrier);
  ++block.counters.barriers;
  ++block.arrivals;
  ++barrier.arrived;
  if (reduces(instruction)) {
    const uint32_t yes = warp.predicate(instruction, kPredicate) & warp.mask;
    barrier.population += static_cast<uint32_t>(__builtin_popcount(yes));
    barrier.threads += static_cast<uint32_t>(__builtin_popcount(warp.mask));
  }
  warp.order_lanes();
  barrier.order.join(warp.order);
  const int needed = whole_block ? live_warps(block) : static_cast<int>(threads / kLanes);
  if (check && whole_block && needed != static_cast<int>(block.warps.size())) {
    report(warp, FaultKind::kBarrier, first_lane, [&] {
      return format("%d of the %zu warps exited before this barrier of the whole block",
                    static_cast<int>(block.warps.size()) - needed, block.warps.size());
    });
  }
  warp.barrier = static_cast<int>(id);
  warp.barrier_pc = warp.pc;
  const bool completes = barrier.arrived >= needed;
  if (completes) {
    if (instruction.mode != kArrive) release(warp, barrier);
    complete(block, static_cast<int>(id));
  } else if (instruction.mode != kArrive) {
    warp.state = WarpState::kAtBarrier;
  }
  if (instruction.mode == kArrive) warp.order_lanes();
}

void leave_barriers(Warp& warp) {
  Block& block = *warp.block;
  const int left = live_warps(block);
  if (left == 0) return;
  for (int id = 0; id < kBarriers; ++id) {
    Warp* waiting = nullptr;
    for (Warp& other : block.warps) {
      if (other.state == WarpState::kAtBarrier && other.barrier == id) waiting = &other;
    }
    if (waiting == nullptr) continue;
    const Instruction& instruction = waiting_instruction(*waiting);
    const int lane = __builtin_ctz(waiting->live);
    const bool whole_block =
        waiting->lanes<const uint32_t>(instruction.operand[kThreads])[lane] == 0;
    if (!whole_block || block.barriers[id].arrived < left) continue;
    if (block.launch->checks_any(kCheckBarriers)) {
      report_at(*waiting, FaultKind::kBarrier, waiting->barrier_pc, lane, [&] {
        return format("warp %d exits without this barrier, at which the other warps wait", warp.id);
      });
    }
    complete(block, id);
  }
}

namespace {

// Of a parked lane: the barrier at which it waits is any bar.warp.sync with this mask.
uint32_t membermask(const Warp& warp, int lane) {
  const Instruction& instruction = warp.block->launch->kernel->code[warp.lane_pc[lane]];
  return warp.lanes<uint32_t>(instruction.operand[0])[lane];
}

uint32_t parked_with(const Warp& warp, uint32_t members) {
  uint32_t lanes = 0;
  for_each_lane(warp.parked, [&](int lane) {
    if (membermask(warp, lane) == members) lanes |= 1u << lane;
  });
  return lanes;
}

}  // namespace

void arrive_at_warp_barrier(Warp& warp, const Instruction& instruction) {
  const uint32_t* const members = warp.lanes<const uint32_t>(instruction.operand[0]);
  for_each_lane(warp.mask, [&](int lane) {
    if (members[lane] >> lane & 1) {
      warp.parked |= 1u << lane;
      warp.active &= ~(1u << lane);
      warp.lane_pc[lane] = warp.pc;
      return;
    }
    report(warp, FaultKind::kWarpSync, lane, [&] {
      return format("bar.warp.sync with membermask %08x, which leaves out the lane itself",
                    members[lane]);
    });
  });
  ++warp.pc;
  release_parked(warp);
}

void release_parked(Warp& warp) {
  for (uint32_t rest = warp.parked; rest != 0;) {
    const uint32_t members = membermask(warp, __builtin_ctz(rest));
    const uint32_t met = parked_with(warp, members);
    rest &= ~met;
    if ((members & warp.live & ~met) != 0) continue;
    warp.parked &= ~met;
    for_each_lane(met, [&](int lane) { ++warp.lane_pc[lane]; });
    warp.order_lanes(met);
  }
  rejoin(warp);
}

std::string describe_parked(const Warp& warp) {
  std::string text;
  for (uint32_t rest = warp.parked; rest != 0;) {
    const int first = __builtin_ctz(rest);
    const uint32_t members = membermask(warp, first);
    uint32_t lanes = 0;
    for_each_lane(parked_with(warp, members), [&](int lane) {
      if (warp.lane_pc[lane] == warp.lane_pc[first]) lanes |= 1u << lane;
    });
    rest &= ~lanes;
    text += format("%slanes %08x of warp %d at bar.warp.sync with membermask %08x (",
                   text.empty() ? "" : ", ", lanes, warp.id, members) +
            describe_place(*warp.block->launch->kernel, warp.lane_pc[first]) + ")";
  }
  return text;
}

// bar{.cta}.sync a[, b] · bar.arrive a, b · bar.red.{popc.u32,and.pred,or.pred} d, a[, b], p
void decode_barrier(Decoder& decoder) {
  const Statement& statement = decoder.statement();
  Instruction& instruction = decoder.instruction();
  if (statement.has("warp")) {
    decoder.require_operands(1);
    instruction.control = Control::kWarpBarrier;
    decoder.use(decoder.operand(0), Width::k32);
    return;
  }
  if (statement.has("cluster")) decoder.unsupported();
  instruction.control = Control::kBarrier;
  size_t next = 0;
  if (statement.has("red")) {
    decoder.require_operands(3, 4);
    const bool population = statement.has("popc");
    if (!population && !statement.has("and") && !statement.has("or")) decoder.unsupported();
    instruction.mode = population             ? kReducePopulation
                       : statement.has("and") ? kReduceAnd
                                              : kReduceOr;
    decoder.define(decoder.operand(next++), population ? Width::k32 : Width::kPredicate);
  } else {
    if (!statement.has("sync") && !statement.has("arrive")) decoder.unsupported();
    instruction.mode = statement.has("arrive") ? kArrive : kSync;
    decoder.require_operands(instruction.mode == kArrive ? 2 : 1, 2);
    decoder.define_sink(Width::k32);
  }
  const size_t last = statement.operands.size() - (reduces(instruction) ? 1 : 0);
  decoder.use(decoder.operand(next++), Width::k32);
  if (next < last) {
    decoder.use(decoder.operand(next++), Width::k32);
  } else {
    decoder.use_constant(0, Width::k32);
  }
  if (reduces(instruction)) decoder.use(decoder.operand(next), Width::kPredicate);
}

}  // namespace ptx_emulator
