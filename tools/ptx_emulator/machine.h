// The state of a launch while it runs: Launch (shared, constant), Block and Warp (one worker).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/ptx_emulator/faults.h"
#include "tools/ptx_emulator/instruction.h"
#include "tools/ptx_emulator/mbarrier.h"
#include "tools/ptx_emulator/memory.h"
#include "tools/ptx_emulator/order.h"
#include "tools/ptx_emulator/products.h"
#include "tools/ptx_emulator/shared_shadow.h"

namespace ptx_emulator {

inline constexpr int kLanes = 32;
inline constexpr uint32_t kAllLanes = ~0u;
inline constexpr int kBarriers = 16;

// Checks that can be switched; bounds are always checked, for the sake of this process.
enum Check : uint32_t {
  kCheckRaces = 1u << 0,
  kCheckInit = 1u << 1,
  kCheckAsync = 1u << 2,
  kCheckBarriers = 1u << 3,
  kCheckBounds = 1u << 4,
  kCheckCounters = 1u << 5,  // no check: counts bank conflicts, sectors and opcodes
  kCheckAll = (1u << 6) - 1,
};
inline constexpr uint32_t kNeedShadow = kCheckRaces | kCheckInit | kCheckAsync;

// Wavefronts of shared accesses; equal to the phases where there is no bank conflict.
struct SharedCounters {
  uint64_t phases = 0;  // of 128 bytes, or fewer
  uint64_t wavefronts = 0;
};

struct Counters {
  uint64_t warp_instructions = 0;
  uint64_t thread_instructions = 0;
  uint64_t mma = 0;  // products with 16 x 8 elements, by a warp
  uint64_t global_requests = 0;
  uint64_t global_sectors = 0;  // of 32 bytes
  uint64_t barriers = 0;
  uint64_t divergent_branches = 0;

  void add(const Counters& other);
};

struct Launch {
  const Kernel* kernel = nullptr;
  const DeviceMemory* memory = nullptr;
  int device = 0;
  std::vector<uint8_t> parameters;
  std::array<uint32_t, 3> grid{1, 1, 1};
  std::array<uint32_t, 3> block{1, 1, 1};
  uint32_t shared_bytes = 0;  // static and dynamic
  uint32_t checks = kCheckAll;
  uint32_t seed = 0;               // 0: warps in order; else the schedule that the seed gives
  uint64_t instruction_limit = 0;  // of warp instructions of one block

  bool checks_any(uint32_t mask) const { return (checks & mask) != 0; }
};

struct AsyncCopy {
  int lane = 0;
  uint32_t group = 0;
  uint32_t offset = 0;  // in shared memory
  uint32_t bytes = 0;
  int pc = 0;  // of the cp.async
  std::array<uint8_t, 16> data{};
};

// kPolling: its last wait at an mbarrier failed, and it has not looked again. kStuck: all its lanes
// are parked, for one another.
enum class WarpState : uint8_t { kReady, kAtBarrier, kPolling, kStuck, kExited };

struct Block;

struct Warp {
  Block* block = nullptr;
  int id = 0;
  WarpState state = WarpState::kReady;
  uint32_t mask = 0;    // lanes that execute the current instruction
  uint32_t active = 0;  // lanes at `pc`
  uint32_t live = 0;    // lanes that have not exited
  uint32_t parked = 0;  // lanes that wait at the bar.warp.sync at their pc, for its members
  int pc = 0;
  int rejoin_pc = 0;  // the lowest pc at which other lanes wait that may go on
  std::array<int, kLanes> lane_pc{};
  int barrier = 0;        // the one at which it waits, or
  uint32_t mbarrier = 0;  // the offset of the one that it polls, and
  int barrier_pc = 0;     // where

  uint32_t* registers = nullptr;  // slot s of lane l: registers[s * kLanes + l]
  uint32_t* predicates = nullptr;
  uint8_t* local = nullptr;
  Order order;              // what happened before what all lanes do now, and
  uint32_t ahead = 0;       // lanes that waited at an mbarrier while others did not: for them ...
  Order order_of_ahead;     // ... this did, too
  uint32_t lane_epoch = 0;  // the first epoch since the lanes were last ordered, and
  std::array<Order::SomeLanes, kLanes> met;  // by lane: those that it met since, and whom they had
  std::vector<AsyncCopy> copies;
  std::array<uint32_t, kLanes> copy_group{};  // the group that the next commit closes
  WarpProducts products;
  std::vector<int> register_changes;       // pcs of the setmaxnreg that it executed
  const Allocation* allocation = nullptr;  // the last one used: most accesses hit it again

  template <class T>
  T* lanes(uint16_t slot) const {
    return reinterpret_cast<T*>(registers + static_cast<size_t>(slot) * kLanes);
  }
  uint32_t predicate(const Instruction& instruction, int operand) const {
    const uint32_t value = predicates[instruction.operand[operand]];
    return (instruction.negated >> operand & 1) ? ~value : value;
  }
  void set_predicate(uint16_t slot, uint32_t value) {
    predicates[slot] = (predicates[slot] & ~mask) | (value & mask);
  }
  uint32_t epoch() const { return order.clock[id]; }
  void end_epoch() { ++order.clock[id]; }
  // The lanes are ordered: what each of them did or joined happened before what all of them do now.
  void order_lanes();
  // The same of these lanes alone, if there are others.
  void order_lanes(uint32_t lanes);
  // Whether what a lane of the warp did in an epoch happened before what another one does now.
  bool lanes_ordered(int earlier, uint32_t epoch, int later) const {
    if (epoch < lane_epoch) return true;
    return (met[later].lanes >> earlier & 1) != 0 && epoch <= met[later].epoch;
  }
  // These lanes know of what others passed on.
  void join(const Order& passed_on, uint32_t lanes);
  // What these lanes did, and what happened before, is passed on.
  void pass_on(uint32_t lanes, Order& to);
};

struct Barrier {
  int arrived = 0;          // warps
  int first_pc = -1;        // of the first arrival
  Order order;              // of all arrivals
  uint32_t population = 0;  // bar.red: threads whose predicate holds
  uint32_t threads = 0;     // and threads that took part
};

// One worker runs its blocks one after the other in the same object.
struct Block {
  const Launch* launch = nullptr;
  std::array<uint32_t, 3> index{};
  uint64_t linear_index = 0;
  std::vector<Warp> warps;
  std::vector<uint8_t> shared;
  SharedShadow shadow;
  bool use_shadow = false;
  std::array<Barrier, kBarriers> barriers;
  std::map<uint32_t, Mbarrier> mbarriers;            // by offset in shared memory
  uint64_t arrivals = 0;                             // at barriers and mbarriers
  std::vector<std::vector<IssuedProduct>> products;  // by warpgroup
  uint64_t instructions_left = 0;
  bool stopped = false;  // by trap, by a deadlock or by the instruction limit

  Counters counters;
  std::vector<uint64_t> executions, lane_executions;  // by pc
  std::vector<SharedCounters> shared_counters;        // by pc
  std::map<std::pair<FaultKind, int>, Fault> faults;  // of all blocks of this worker, by pc

  bool counting() const { return launch->checks_any(kCheckCounters); }
  // Counts a fault; true where it is the first of its kind at this instruction.
  bool count_fault(FaultKind kind, int pc);
  void describe_fault(const Warp& warp, FaultKind kind, int pc, int lane, std::string message);
};

// `describe` makes the message, and is called for the first fault of its kind and place only.
template <class Describe>
void report_at(Warp& warp, FaultKind kind, int pc, int lane, Describe&& describe) {
  if (!warp.block->count_fault(kind, pc)) return;
  warp.block->describe_fault(warp, kind, pc, lane, describe());
}

template <class Describe>
void report(Warp& warp, FaultKind kind, int lane, Describe&& describe) {
  report_at(warp, kind, warp.pc, lane, describe);
}

template <class Visit>
void for_each_lane(uint32_t lanes, Visit visit) {
  for (; lanes != 0; lanes &= lanes - 1) visit(__builtin_ctz(lanes));
}

std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

// Reports lanes that a warp-wide instruction names but that do not execute it.
void require_lanes(Warp& warp, uint32_t required, const char* what);

// The offset of a shared address in the block's memory; none after a report.
std::optional<uint32_t> shared_offset(Warp& warp, uint32_t address, uint32_t bytes, int lane,
                                      bool write);

// A pointer to `bytes` bytes, or to scratch memory after a report. Shared addresses are the 32-bit
// ones, generic addresses may name any space.
uint8_t* global_pointer(Warp& warp, uint64_t address, uint32_t bytes, int lane, bool write);
uint8_t* shared_pointer(Warp& warp, uint32_t address, uint32_t bytes, int lane, bool write);
uint8_t* memory_pointer(Warp& warp, Space space, uint64_t address, uint32_t bytes, int lane,
                        bool write);

// The pointers of all lanes of `warp.mask`, likewise; those of other lanes stay as they are.
void memory_pointers(Warp& warp, Space space, const uint64_t addresses[kLanes], uint32_t bytes,
                     bool write, uint8_t* pointers[kLanes]);

// For a read-modify-write; races between atomics and ordinary accesses are not looked for.
uint8_t* atomic_pointer(Warp& warp, Space space, uint64_t address, uint32_t bytes, int lane);

// Counts the wavefronts or sectors of one access by the lanes of `mask`.
void count_shared_access(Warp& warp, const uint64_t* addresses, uint32_t mask, uint32_t bytes);
void count_global_access(Warp& warp, const uint64_t* addresses, uint32_t mask, uint32_t bytes);

}  // namespace ptx_emulator
