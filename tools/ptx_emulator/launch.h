// Runs all blocks of a launch on host threads.
#pragma once

#include <map>
#include <string>

#include "tools/ptx_emulator/faults.h"
#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {

struct LaunchResult {
  FaultLog faults;
  Counters counters;
  std::map<std::string, uint64_t> opcodes;  // warp instructions of each
};

// `threads` host threads share the blocks; the result does not depend on their number.
LaunchResult run_launch(const Launch& launch, int threads);

}  // namespace ptx_emulator
