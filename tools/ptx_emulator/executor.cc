#include "tools/ptx_emulator/executor.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "tools/ptx_emulator/wgmma.h"

namespace ptx_emulator {
namespace {

constexpr int kNobodyWaits = std::numeric_limits<int>::max();
// Warp instructions after which another warp gets its turn, so that a warp may poll shared memory.
constexpr uint64_t kSlice = 20000;
// With a seed, slices are short and of random length: other schedules, other interleavings.
constexpr uint32_t kMaxRandomSlice = 200;
// So many times in turn, warps that poll may look in vain while nobody else can go on: a loop may
// do work between two waits.
constexpr int kMaxVainPolls = 1000;

uint32_t lane_mask(uint32_t threads) { return threads >= kLanes ? kAllLanes : (1u << threads) - 1; }

template <class T>
T* aligned(std::vector<T>& storage) {  // slots of 128 bytes want their alignment
  constexpr uintptr_t kAlignment = 128;
  const uintptr_t address = reinterpret_cast<uintptr_t>(storage.data());
  return reinterpret_cast<T*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

// Divergence: the lanes at the lowest pc run; the others wait until the flow reaches them.
// Compilers lay blocks out so that this reconverges where the hardware does, or earlier; where they
// do not, lanes are parked at a bar.warp.sync until the others have come.
void rejoin(Warp& warp) {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (warp.active >> lane & 1) warp.lane_pc[lane] = warp.pc;
  }
  const uint32_t ready = warp.live & ~warp.parked;
  int lowest = kNobodyWaits;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (ready >> lane & 1) lowest = std::min(lowest, warp.lane_pc[lane]);
  }
  warp.active = 0;
  warp.rejoin_pc = kNobodyWaits;
  if (ready == 0) {
    warp.pc = warp.barrier_pc = warp.lane_pc[__builtin_ctz(warp.parked)];
    warp.state = WarpState::kStuck;
    return;
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(ready >> lane & 1)) continue;
    if (warp.lane_pc[lane] == lowest) {
      warp.active |= 1u << lane;
    } else {
      warp.rejoin_pc = std::min(warp.rejoin_pc, warp.lane_pc[lane]);
    }
  }
  warp.pc = lowest;
}

Executor::Executor(const Launch& launch) {
  const Kernel& kernel = *launch.kernel;
  const size_t threads = static_cast<size_t>(launch.block[0]) * launch.block[1] * launch.block[2];
  const size_t warps = (threads + kLanes - 1) / kLanes;
  constexpr size_t kPadding = 32;  // words, for the alignment
  block_.launch = &launch;
  block_.warps.resize(warps);
  block_.shared.resize(launch.shared_bytes);
  block_.executions.resize(kernel.code.size());
  block_.lane_executions.resize(kernel.code.size());
  block_.shared_counters.resize(kernel.code.size());
  registers_.resize(warps * kernel.slots * kLanes + kPadding);
  predicates_.resize(warps * kernel.predicates);
  local_.resize(warps * kLanes * kernel.local_bytes);
  for (size_t i = 0; i < warps; ++i) {
    Warp& warp = block_.warps[i];
    warp.block = &block_;
    warp.id = static_cast<int>(i);
    warp.registers = aligned(registers_) + i * kernel.slots * kLanes;
    warp.predicates = predicates_.data() + i * kernel.predicates;
    warp.local = local_.data() + i * kLanes * kernel.local_bytes;
  }
}

void Executor::reset(uint64_t linear_block) {
  const Launch& launch = *block_.launch;
  const Kernel& kernel = *launch.kernel;
  block_.linear_index = linear_block;
  block_.index = {static_cast<uint32_t>(linear_block % launch.grid[0]),
                  static_cast<uint32_t>(linear_block / launch.grid[0] % launch.grid[1]),
                  static_cast<uint32_t>(linear_block / launch.grid[0] / launch.grid[1])};
  block_.instructions_left = launch.instruction_limit;
  block_.stopped = false;
  block_.use_shadow = launch.checks_any(kNeedShadow) && launch.shared_bytes > 0;
  const int warps = static_cast<int>(block_.warps.size());
  if (block_.use_shadow) block_.shadow.reset(launch.shared_bytes, warps);
  std::fill(block_.shared.begin(), block_.shared.end(), uint8_t{0xff});
  std::fill(registers_.begin(), registers_.end(), 0u);
  std::fill(predicates_.begin(), predicates_.end(), 0u);
  std::fill(local_.begin(), local_.end(), uint8_t{0xff});
  for (Barrier& barrier : block_.barriers) {
    barrier = Barrier{};
    barrier.order.reset(block_.warps.size());
  }
  block_.mbarriers.clear();
  block_.products.assign((warps + kWarpgroup - 1) / kWarpgroup, {});
  random_ = launch.seed == 0 ? 0 : launch.seed * 2654435761u + static_cast<uint32_t>(linear_block);

  uint32_t threads = launch.block[0] * launch.block[1] * launch.block[2];
  for (Warp& warp : block_.warps) {
    warp.state = WarpState::kReady;
    warp.active = warp.live = lane_mask(threads);
    threads -= std::min<uint32_t>(threads, kLanes);
    warp.parked = 0;
    warp.mask = 0;
    warp.pc = 0;
    warp.rejoin_pc = kNobodyWaits;
    warp.order.reset(block_.warps.size());
    warp.ahead = 0;
    warp.order_lanes();
    warp.copies.clear();
    warp.copy_group.fill(0);
    warp.register_changes.clear();
    warp.products = WarpProducts{};
    warp.products.registers.resize(kernel.product_registers);
    warp.allocation = nullptr;
    for (const Constant& constant : kernel.constants) {
      if (constant.width == Width::kPredicate) {
        warp.predicates[constant.slot] = static_cast<uint32_t>(constant.value);
      } else if (constant.width == Width::k64) {
        std::fill_n(warp.lanes<uint64_t>(constant.slot), kLanes, constant.value);
      } else {
        std::fill_n(warp.lanes<uint32_t>(constant.slot), kLanes,
                    static_cast<uint32_t>(constant.value));
      }
    }
  }
}

void Executor::run(uint64_t linear_block) {
  reset(linear_block);
  schedule();
  if (block_.stopped) return;
  if (block_.launch->checks_any(kCheckAsync)) report_copies_in_flight();
  check_last_products(block_);
  check_register_changes(block_);
}

uint32_t Executor::next_random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  return random_;
}

void Executor::schedule() {
  const bool seeded = block_.launch->seed != 0;
  const size_t warps = block_.warps.size();
  int vain_polls = 0;
  while (!block_.stopped) {
    bool any_ready = false;
    bool any_unfinished = false;
    bool any_left = false;
    const size_t first = seeded ? next_random() % warps : 0;
    for (size_t i = 0; i < warps && !block_.stopped; ++i) {
      Warp& warp = block_.warps[(first + i) % warps];
      any_left |= warp.state != WarpState::kExited;
      if (warp.state != WarpState::kReady) continue;
      any_ready = true;
      run_warp(warp, seeded ? 1 + next_random() % kMaxRandomSlice : kSlice);
      any_unfinished |= warp.state == WarpState::kReady;
    }
    if (!any_left) return;
    if (any_ready && !any_unfinished) continue;
    vain_polls = run_pollers() || any_ready ? 0 : vain_polls + 1;
    if (vain_polls > kMaxVainPolls) {
      report_deadlock();
      return;
    }
  }
}

// Warps whose phase was completed are ready; the others do what they do after a wait that failed.
bool Executor::run_pollers() {
  const uint64_t arrivals = block_.arrivals;
  bool any_advanced = false;
  for (Warp& warp : block_.warps) {
    if (warp.state != WarpState::kPolling || block_.stopped) continue;
    warp.state = WarpState::kReady;
    run_warp(warp, kSlice);
    any_advanced |= warp.state != WarpState::kPolling;
  }
  return any_advanced || block_.arrivals != arrivals;
}

void Executor::take_branch(Warp& warp, const Instruction& instruction, uint32_t taken) {
  if (taken == warp.active) {
    warp.pc = instruction.target;
    return;
  }
  if (taken == 0) {
    ++warp.pc;
    return;
  }
  ++block_.counters.divergent_branches;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(warp.active >> lane & 1)) continue;
    warp.lane_pc[lane] = taken >> lane & 1 ? instruction.target : warp.pc + 1;
  }
  warp.active = 0;
  rejoin(warp);
}

void Executor::exit_lanes(Warp& warp, uint32_t lanes) {
  warp.live &= ~lanes;
  warp.active &= ~lanes;
  ++warp.pc;
  if (warp.live == 0) {
    --warp.pc;  // reports of the exit name this place
    warp.state = WarpState::kExited;
    leave_barriers(warp);
  } else if (warp.parked != 0) {
    release_parked(warp);
  } else if (warp.active == 0) {
    rejoin(warp);
  }
}

void Executor::run_warp(Warp& warp, uint64_t slice) {
  const Instruction* const code = block_.launch->kernel->code.data();
  const bool counting = block_.counting();
  slice = std::min(slice, block_.instructions_left);
  uint64_t left = slice;
  while (left > 0 && warp.state == WarpState::kReady && !block_.stopped) {
    --left;
    const Instruction& instruction = code[warp.pc];
    uint32_t mask = warp.active;
    if (instruction.guard != kNoRegister) {
      const uint32_t guard = warp.predicates[instruction.guard];
      mask &= instruction.guard_negated ? ~guard : guard;
    }
    if (counting) {
      ++block_.executions[warp.pc];
      block_.lane_executions[warp.pc] += static_cast<uint64_t>(__builtin_popcount(mask));
    }
    warp.mask = mask;
    if (instruction.control == Control::kNone) {  // nearly always
      if (mask != 0) instruction.handler(warp, instruction);
      const int next = warp.pc + 1;
      warp.pc = next;
      if (next >= warp.rejoin_pc) rejoin(warp);
      continue;
    }
    switch (instruction.control) {
      case Control::kNone:
        break;
      case Control::kBranch:
        take_branch(warp, instruction, mask);
        break;
      case Control::kExit:
        if (mask == 0) {
          ++warp.pc;
        } else {
          exit_lanes(warp, mask);
        }
        break;
      case Control::kBarrier:
        if (mask != 0) arrive_at_barrier(warp, instruction);
        ++warp.pc;
        break;
      case Control::kWarpBarrier:
        if (mask == 0) {
          ++warp.pc;
        } else {
          arrive_at_warp_barrier(warp, instruction);
        }
        break;
      case Control::kTrap:
        if (mask != 0) {
          report(warp, FaultKind::kTrap, __builtin_ctz(mask),
                 [] { return std::string("the kernel executed trap"); });
          block_.stopped = true;
        }
        ++warp.pc;
        break;
    }
    if (warp.pc >= warp.rejoin_pc && warp.state != WarpState::kExited) rejoin(warp);
  }
  const uint64_t used = slice - left;
  block_.counters.warp_instructions += used;
  block_.instructions_left -= used;
  if (block_.instructions_left == 0 && !block_.stopped) {
    report(warp, FaultKind::kInstructionLimit, 0, [&] {
      return format("the block executed %llu warp instructions without an end",
                    static_cast<unsigned long long>(block_.launch->instruction_limit));
    });
    block_.stopped = true;
  }
}

void Executor::report_deadlock() {
  const Kernel& kernel = *block_.launch->kernel;
  std::string waiting;
  Warp* first = nullptr;
  const auto add = [&](const std::string& text) {
    waiting += (waiting.empty() ? "" : ", ") + text;
  };
  for (Warp& warp : block_.warps) {
    if (warp.state == WarpState::kExited) continue;
    if (first == nullptr) first = &warp;
    if (warp.state != WarpState::kStuck) {
      add("warp " + std::to_string(warp.id) + " at " +
          (warp.state == WarpState::kPolling ? describe_mbarrier(block_, warp.mbarrier)
                                             : "barrier " + std::to_string(warp.barrier)) +
          " (" + describe_place(kernel, warp.barrier_pc) + ")");
    }
    if (warp.parked != 0) add(describe_parked(warp));
  }
  report_at(*first, FaultKind::kDeadlock, first->barrier_pc, 0,
            [&] { return "no warp can go on: " + waiting; });
  block_.stopped = true;
}

void Executor::report_copies_in_flight() {
  for (Warp& warp : block_.warps) {
    if (warp.copies.empty()) continue;
    const AsyncCopy& copy = warp.copies.front();
    report_at(warp, FaultKind::kAsync, copy.pc, copy.lane, [&] {
      return format("%zu cp.async of the warp are still in flight at its exit", warp.copies.size());
    });
  }
}

}  // namespace ptx_emulator
