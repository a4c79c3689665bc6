#include "plugins/runtime/kernel_launch.h"

#include <algorithm>
#include <cstring>

#include "kernels/variant_tables.h"

namespace edge_llm {

SmFacts sm_facts(int sm) {
  SmFacts least = kSmFacts[0];
  for (const SmFacts& facts : kSmFacts) {
    if (facts.sm == sm) return facts;
    least.shared_per_block = std::min(least.shared_per_block, facts.shared_per_block);
    least.shared_per_sm = std::min(least.shared_per_sm, facts.shared_per_sm);
    least.dependent_launch = least.dependent_launch && facts.dependent_launch;
    least.wgmma = least.wgmma && facts.wgmma;
  }
  return least;
}

int64_t register_ctas(const char* variant, int ctas_per_sm, int sm) {
  for (const FewerCtas& fewer : kFewerCtas) {
    if (fewer.sm == sm && std::strcmp(fewer.variant, variant) == 0) return fewer.ctas_per_sm;
  }
  return ctas_per_sm;
}

int64_t spread_shared_bytes(int64_t shared_bytes, int64_t ctas, const DeviceFacts& device) {
  const SmFacts facts = sm_facts(device.sm);
  const int64_t share = ceil_div(ctas, device.sm_count);
  const int64_t spread = facts.shared_per_sm / share - kReservedSharedBytes;
  return std::max(shared_bytes, std::min(spread, facts.shared_per_block));
}

int64_t least_spread_shared_bytes(int64_t shared_bytes, int64_t ctas, const DeviceFacts& device) {
  constexpr int64_t kUnit = 128;  // in which shared memory is allocated
  const SmFacts facts = sm_facts(device.sm);
  const int64_t too_many = ceil_div(ctas, device.sm_count) + 1;
  const int64_t units = (facts.shared_per_sm / too_many - kReservedSharedBytes) / kUnit + 1;
  return std::max(shared_bytes, std::min(units * kUnit, facts.shared_per_block));
}

LaunchOrder launch_order(int sm) {
  return sm_facts(sm).dependent_launch ? LaunchOrder::kWaitsItself : LaunchOrder::kAfterPrevious;
}

}  // namespace edge_llm
