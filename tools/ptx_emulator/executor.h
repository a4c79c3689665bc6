// Runs the blocks of one worker.
#pragma once

#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {

// Owns the registers and shared memory that a worker uses for all its blocks, one after the other.
class Executor {
 public:
  explicit Executor(const Launch& launch);
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void run(uint64_t linear_block);
  const Block& block() const { return block_; }

 private:
  void reset(uint64_t linear_block);
  void schedule();
  // Lets the warps that poll look again. False where all of them poll as before.
  bool run_pollers();
  void run_warp(Warp& warp, uint64_t slice);
  void take_branch(Warp& warp, const Instruction& instruction, uint32_t taken);
  void exit_lanes(Warp& warp, uint32_t lanes);
  void report_deadlock();
  void report_copies_in_flight();
  uint32_t next_random();

  Block block_;
  std::vector<uint32_t> registers_;  // of all warps
  std::vector<uint32_t> predicates_;
  std::vector<uint8_t> local_;
  uint32_t random_ = 0;
};

// bar.sync, bar.arrive, bar.red (barriers.cc). The warp then waits unless it completed the barrier.
void arrive_at_barrier(Warp& warp, const Instruction& instruction);

// bar.warp.sync (barriers.cc): parks the lanes that execute it.
void arrive_at_warp_barrier(Warp& warp, const Instruction& instruction);

// Parked lanes go on where all live lanes of their membermask are parked with the same one.
void release_parked(Warp& warp);

// "lanes 0000ffff of warp 3 at bar.warp.sync with membermask ffffffff (file.cuh:12), lanes ..."
std::string describe_parked(const Warp& warp);

// "the mbarrier at shared+8, whose phase 3 needs 1 of 4 arrivals"
std::string describe_mbarrier(const Block& block, uint32_t offset);

// At the end of a block: setmaxnreg that not all warps of a warpgroup executed (setmaxnreg.cc).
void check_register_changes(Block& block);

// A warp exited: barriers that waited for it complete, after a report.
void leave_barriers(Warp& warp);

// Makes the lanes at the lowest pc the active ones, of those that are not parked.
void rejoin(Warp& warp);

}  // namespace ptx_emulator
