// Rows of the tables in kernels/variants.bzl, as the host sees them. The tables themselves are
// generated: kernels/variant_tables.h.
#pragma once

#include <cstdint>

namespace edge_llm {

struct SmFacts {
  int sm;                    // compute capability, major * 10 + minor
  int64_t shared_per_block;  // largest dynamic shared memory of one CTA, bytes
  int64_t shared_per_sm;     // shared memory of one multiprocessor, bytes
  bool dependent_launch;     // a kernel may start before the one before it has ended
  bool wgmma;                // it has the matrix products of warpgroups
};

enum class Int4GemmKind { kGemv, kGemm, kWgmma, kCombine };

struct Int4GemmVariant {
  const char* name;
  Int4GemmKind kind;
  int tile_m;  // rows, channels and k of one CTA's step; 0 for the combine kernel
  int tile_n;
  int tile_k;
  int stages;
  int warps_k;  // warps of a CTA that share its k range
  int threads;
  int ctas_per_sm;       // CTAs of one multiprocessor that the registers allow
  int64_t shared_bytes;  // dynamic shared memory of one CTA
};

enum class AttentionKind { kAppend, kPrefill, kDecode, kCombine };

struct AttentionVariant {
  const char* name;
  AttentionKind kind;
  int head_size;  // 0 for the append and combine kernels, which serve all
  int tile_q;     // rows and slots of one CTA's step; 0 for append and combine
  int tile_kv;
  int threads;
  int ctas_per_sm;       // CTAs of one multiprocessor that the registers allow
  int64_t shared_bytes;  // dynamic shared memory of one CTA
  bool wgmma;            // it has the matrix products of warpgroups
};

// A variant whose registers are budgeted for fewer CTAs on one SM.
struct FewerCtas {
  int sm;
  const char* variant;
  int ctas_per_sm;
};

// What a launch of a variant costs on an SM, in microseconds: plugins/runtime/launch_costs.h.
struct LaunchCosts {
  int sm;
  const char* variant;
  double launch_us;   // of every launch, a combine kernel behind it included
  double cta_us;      // of each CTA of the busiest multiprocessor
  double step_us;     // of each step of each of these: what its units are busy
  double wait_us;     // of each step of CTAs that run at the same time: what they wait for memory
  double partial_us;  // of each million of partial sums
};

}  // namespace edge_llm
