// How long a launch will take: by this, and by nothing else, variants and splits are chosen.
#ifndef EDGE_LLM_PLUGINS_RUNTIME_LAUNCH_COSTS_H_
#define EDGE_LLM_PLUGINS_RUNTIME_LAUNCH_COSTS_H_

#include <cstdint>

#include "kernels/variant_facts.h"

namespace edge_llm {

// What a launch has to do.
struct LaunchWork {
  int64_t ctas;      // those of all splits
  int64_t steps;     // of one CTA, one after the other
  int64_t resident;  // CTAs that run at the same time, on all multiprocessors
  int64_t partials;  // f32 that the splits write and the combine kernel adds; 0 without splits
};

// Those of a variant on an SM; on an SM outside of the table, those that unmeasured ones have too.
const LaunchCosts& launch_costs(const char* variant, int sm);

// Microseconds of a launch on `sm_count` multiprocessors.
double launch_us(const LaunchCosts& costs, const LaunchWork& work, int sm_count);

}  // namespace edge_llm

#endif  // EDGE_LLM_PLUGINS_RUNTIME_LAUNCH_COSTS_H_
