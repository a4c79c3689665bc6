#include "tools/ptx_emulator/order.h"

#include <algorithm>

namespace ptx_emulator {

void Order::reset(size_t warps) {
  clock.assign(warps, 0);
  some.assign(warps, SomeLanes{});
  fenced.assign(warps, 0);
}

void Order::join(const Order& other) {
  for (size_t warp = 0; warp < clock.size(); ++warp) {
    clock[warp] = std::max(clock[warp], other.clock[warp]);
    fenced[warp] = std::max(fenced[warp], other.fenced[warp]);
    SomeLanes both;
    for (const SomeLanes& lanes : {some[warp], other.some[warp]}) {
      if (lanes.epoch <= clock[warp]) continue;  // all lanes did
      both.lanes |= lanes.lanes;
      both.epoch = std::max(both.epoch, lanes.epoch);
    }
    some[warp] = both;
  }
}

void Order::fence_others(int warp) {
  for (int other = 0; other < static_cast<int>(clock.size()); ++other) {
    if (other == warp) continue;
    fenced[other] = std::max({fenced[other], clock[other], some[other].epoch});
  }
}

bool Order::has(int warp, uint32_t epoch, int lane, bool several) const {
  if (epoch <= clock[warp]) return true;
  const uint32_t bit = 1u << lane;
  const SomeLanes& lanes = some[warp];
  return epoch <= lanes.epoch && (lanes.lanes & bit) != 0 && (!several || lanes.lanes != bit);
}

bool Order::has_any(int warp, uint32_t epoch) const {
  return epoch <= std::max(clock[warp], some[warp].epoch);
}

}  // namespace ptx_emulator
