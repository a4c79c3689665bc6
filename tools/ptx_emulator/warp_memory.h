// What all instructions that touch memory have in common.
#pragma once

#include <cstdint>

#include "tools/ptx_emulator/machine.h"

namespace ptx_emulator {

// Base register plus offset of every lane, whether it is active or not.
void lane_addresses(Warp& warp, const Instruction& instruction, uint16_t slot,
                    uint64_t addresses[kLanes]);

// Counts an access by the lanes of warp.mask, where the launch counts at all.
void count_access(Warp& warp, const Instruction& instruction, const uint64_t* addresses,
                  uint32_t bytes);

}  // namespace ptx_emulator
