// What happened before, as vector clocks of the warps of a block.
//
// Each warp counts its own epochs: one ends where its lanes are ordered (a barrier or __syncwarp),
// and where they pass on what they did. Barriers collect the orders of those who arrive, and those
// who wait join them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ptx_emulator {

struct Order {
  // Lanes of a warp that passed on what they did up to an epoch, while the others did not.
  struct SomeLanes {
    uint32_t lanes = 0;
    uint32_t epoch = 0;
  };

  std::vector<uint32_t> clock;   // by warp: the epochs that happened before for all lanes, and
  std::vector<SomeLanes> some;   // those that did for some lanes
  std::vector<uint32_t> fenced;  // by warp: the epochs whose writes the async proxy sees

  void reset(size_t warps);
  void join(const Order& other);
  // A proxy fence of a warp: what happened before of the others is seen by the async proxy.
  void fence_others(int warp);
  // Whether what a lane of a warp did in an epoch happened before; with `several`, what this lane
  // and others did, of which it is not known who they are.
  bool has(int warp, uint32_t epoch, int lane, bool several = false) const;
  // The same of what the warp did as a whole: any of its lanes passes it on.
  bool has_any(int warp, uint32_t epoch) const;
};

}  // namespace ptx_emulator
