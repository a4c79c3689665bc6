// Runs all blocks of a launch on host threads.
#pragma once

#include <map>
#include <string>

#include "tools/ptx_emulator/faults.h"
#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {

struct OpcodeCounters {
  uint64_t warp_instructions = 0;
  SharedCounters shared;
};
using OpcodeTable = std::map<std::string, OpcodeCounters>;

void add_opcodes(const OpcodeTable& from, OpcodeTable* to);

struct LaunchResult {
  FaultLog faults;
  Counters counters;
  OpcodeTable opcodes;  // empty unless the launch counts
};

// `threads` host threads share the blocks; the result does not depend on their number.
LaunchResult run_launch(const Launch& launch, int threads);

}  // namespace ptx_emulator
