// mbarrier objects: barriers that lie in shared memory (PTX ISA, "mbarrier").
//
// What an object's eight bytes hold is opaque to PTX, so its state is kept beside the memory.
#pragma once

#include <cstdint>
#include <vector>

namespace ptx_emulator {

struct Mbarrier {
  uint32_t expected = 0;  // arrivals of each phase
  uint32_t pending = 0;   // arrivals that the current phase still needs
  uint64_t phase = 0;     // the current one: those before it are complete
  // What arrivals pass on to those who wait (see SharedShadow): all of them so far, ...
  std::vector<uint32_t> clock;
  std::vector<uint32_t> fenced;
  // ... and those of complete phases.
  std::vector<uint32_t> complete_clock;
  std::vector<uint32_t> complete_fenced;
};

}  // namespace ptx_emulator
