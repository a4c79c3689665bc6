#include "plugins/runtime/kernel_launch.h"

#include <algorithm>

#include "kernels/variant_tables.h"

namespace edge_llm {

SmFacts sm_facts(int sm) {
  SmFacts least = kSmFacts[0];
  for (const SmFacts& facts : kSmFacts) {
    if (facts.sm == sm) return facts;
    least.shared_per_block = std::min(least.shared_per_block, facts.shared_per_block);
    least.shared_per_sm = std::min(least.shared_per_sm, facts.shared_per_sm);
    least.dependent_launch = least.dependent_launch && facts.dependent_launch;
  }
  return least;
}

LaunchOrder launch_order(int sm) {
  return sm_facts(sm).dependent_launch ? LaunchOrder::kWaitsItself : LaunchOrder::kAfterPrevious;
}

}  // namespace edge_llm
