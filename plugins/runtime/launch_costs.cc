#include "plugins/runtime/launch_costs.h"

#include <cstring>

#include "kernels/variant_tables.h"
#include "plugins/runtime/kernel_launch.h"
#include "plugins/runtime/status.h"

namespace edge_llm {

const LaunchCosts& launch_costs(const char* variant, int sm) {
  const LaunchCosts* found = nullptr;
  for (const LaunchCosts& costs : kLaunchCosts) {
    if (found != nullptr && costs.sm != sm) continue;  // plans are made at each enqueue
    if (std::strcmp(costs.variant, variant) == 0) found = &costs;
  }
  if (found == nullptr) fail(variant, " has no launch costs; add them to kernels/costs.bzl");
  return *found;
}

double launch_us(const LaunchCosts& costs, const LaunchWork& work, int sm_count) {
  // The busiest multiprocessor decides. Its units work on the steps of its CTAs one after the
  // other, while those that are resident together wait for memory together.
  const auto ctas = static_cast<double>(ceil_div(work.ctas, sm_count));
  const auto waves = static_cast<double>(ceil_div(work.ctas, work.resident));
  const auto steps = static_cast<double>(work.steps);
  return costs.launch_us + ctas * (costs.cta_us + steps * costs.step_us) +
         waves * steps * costs.wait_us +
         1e-6 * static_cast<double>(work.partials) * costs.partial_us;
}

}  // namespace edge_llm
