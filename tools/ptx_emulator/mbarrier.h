// mbarrier objects: barriers that lie in shared memory (PTX ISA, "mbarrier").
//
// What an object's eight bytes hold is opaque to PTX, so its state is kept beside the memory.
#pragma once

#include <cstdint>

#include "tools/ptx_emulator/order.h"

namespace ptx_emulator {

struct Mbarrier {
  uint32_t expected = 0;  // arrivals of each phase
  uint32_t pending = 0;   // arrivals that the current phase still needs
  uint64_t phase = 0;     // the current one: those before it are complete
  Order arrived;          // what all arrivals so far passed on, and
  Order complete;         // what those of complete phases did
};

}  // namespace ptx_emulator
