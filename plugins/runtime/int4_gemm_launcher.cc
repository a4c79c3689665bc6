#include "plugins/runtime/int4_gemm_launcher.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>

#include "kernels/variant_tables.h"
#include "plugins/runtime/kernel_launch.h"
#include "plugins/runtime/launch_costs.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

// Which variant and how many splits a problem gets follows from launch_costs.h. Here are the
// limits.

// k that a split must have at least, so that the pipeline fills and no split is empty: four turns
// of every warp along k for the GEMV, else as much as the pipelines of the kind hold, rounded up.
int64_t min_split_k(const Int4GemmVariant& variant) {
  if (variant.kind == Int4GemmKind::kGemv) return int64_t{4} * variant.warps_k * variant.tile_k;
  return variant.kind == Int4GemmKind::kWgmma ? 1024 : 512;
}

// Where both are as fast, as far as costs can tell, no split: it needs no workspace.
constexpr double kSplitDoubt = 1.01;

// More splits read and write more partial sums than the k range holds weights.
constexpr int64_t kMaxSplits = 16;

// The workspace is bounded by as many CTAs as kMaxSplitCtas with tiles of this size; one with more
// outputs counts as several.
constexpr int64_t kSplitTileOutputs = 128 * 128;

constexpr int64_t kMaxGridX = std::numeric_limits<int32_t>::max();
// Indices of rows and of k are 32 bits in the kernels, with room for a tile past the end.
constexpr int64_t kMaxRows = int64_t{1} << 30;
constexpr int64_t kMaxColumns = int64_t{1} << 24;

bool fits(const Int4GemmVariant& variant, const SmFacts& facts) {
  if (variant.kind == Int4GemmKind::kWgmma && !facts.wgmma) return false;
  return variant.shared_bytes <= facts.shared_per_block;
}

int64_t tiles_m(const Int4GemmVariant& variant, int64_t m) { return ceil_div(m, variant.tile_m); }

int64_t tiles(const Int4GemmVariant& variant, const Int4GemmProblem& problem) {
  return tiles_m(variant, problem.m) * ceil_div(problem.n, variant.tile_n);
}

// Whether a variant computes tiles at all, and as many rows.
bool serves_rows(const Int4GemmVariant& variant, int64_t m) {
  if (variant.kind == Int4GemmKind::kGemv) return m <= variant.tile_m;
  return variant.kind != Int4GemmKind::kCombine;
}

// Whether a GEMV does. It is faster than any GEMM then, wherever both were measured, and rounds
// less.
bool has_few_rows(int64_t m, const SmFacts& facts) {
  return std::any_of(std::begin(kInt4GemmVariants), std::end(kInt4GemmVariants),
                     [&](const Int4GemmVariant& variant) {
                       return variant.kind == Int4GemmKind::kGemv && serves_rows(variant, m) &&
                              fits(variant, facts);
                     });
}

// Upper limit of the splits, on any device.
int64_t max_splits(const Int4GemmVariant& variant, const Int4GemmProblem& problem) {
  const int64_t counted =
      tiles(variant, problem) * ceil_div(variant.tile_m * variant.tile_n, kSplitTileOutputs);
  return std::max<int64_t>(
      1, std::min({kMaxSplits, problem.k / min_split_k(variant), kMaxSplitCtas / counted}));
}

// That on a device: the CTAs of a GEMV share many tiles evenly without splits.
int64_t max_splits(const Int4GemmVariant& variant, const Int4GemmProblem& problem,
                   const DeviceFacts& device) {
  const bool many = tiles(variant, problem) >= device.sm_count;
  return variant.kind == Int4GemmKind::kGemv && many ? 1 : max_splits(variant, problem);
}

int64_t partial_bytes(int64_t splits, const Int4GemmProblem& problem) {
  if (splits <= 1) return 0;
  return splits * problem.m * problem.n * static_cast<int64_t>(sizeof(float));
}

// CTAs of one split. Those of a GEMV stay: not more of them than run at the same time. Where each
// has a multiprocessor for itself, as few as need no more rounds: what is left serves kernels that
// start before those in front of them have ended. 112 CTAs with four tiles each take 2 % less than
// 132 with four or three (H200, 2026-11-30).
int64_t grid_ctas(const Int4GemmVariant& variant, int64_t tiles, int64_t splits,
                  const DeviceFacts& device) {
  if (variant.kind != Int4GemmKind::kGemv) return tiles;
  const int64_t per_sm = resident_ctas_per_sm(variant, device.sm);
  const int64_t places = std::max<int64_t>(1, per_sm * device.sm_count / splits);
  const bool leaves_room = per_sm == 1 && launch_order(device.sm) == LaunchOrder::kWaitsItself;
  return leaves_room ? ceil_div(tiles, ceil_div(tiles, places)) : std::min(tiles, places);
}

// A GEMV reads x through L1, which is what shared memory leaves: it takes no more than it needs.
int64_t shared_bytes(const Int4GemmVariant& variant, int64_t ctas, const DeviceFacts& device) {
  if (variant.kind == Int4GemmKind::kGemv) return variant.shared_bytes;
  return spread_shared_bytes(variant.shared_bytes, ctas, device);
}

// Steps of one CTA, one after the other: the warps of a GEMV along k take one each.
int64_t steps(const Int4GemmVariant& variant, int64_t k, int64_t splits) {
  const int64_t warps = variant.kind == Int4GemmKind::kGemv ? variant.warps_k : 1;
  return ceil_div(ceil_div(k, variant.tile_k * warps), splits);
}

const Int4GemmVariant& combine_variant() {
  return *std::find_if(
      std::begin(kInt4GemmVariants), std::end(kInt4GemmVariants),
      [](const Int4GemmVariant& variant) { return variant.kind == Int4GemmKind::kCombine; });
}

void check_problem(const Int4GemmProblem& problem) {
  const auto [m, n, k] = problem;
  if (m < 0 || m > kMaxRows) fail("m is ", m, "; 0 to ", kMaxRows, " rows are allowed");
  if (n <= 0 || n % 4 != 0 || n > kMaxColumns) {
    fail("n is ", n, "; a multiple of 4 from 4 to ", kMaxColumns, " is required");
  }
  if (k <= 0 || k % 64 != 0 || k > kMaxColumns) {
    fail("k is ", k, "; a multiple of 64 from 64 to ", kMaxColumns, " is required");
  }
}

}  // namespace

Int4GemmPlan plan_int4_gemm(const Int4GemmProblem& problem, const DeviceFacts& device) {
  check_problem(problem);
  Int4GemmPlan plan;
  if (problem.m == 0) return plan;
  const SmFacts facts = sm_facts(device.sm);
  const bool few_rows = has_few_rows(problem.m, facts);
  double least_us = std::numeric_limits<double>::infinity();
  for (const Int4GemmVariant& variant : kInt4GemmVariants) {
    if (!serves_rows(variant, problem.m) || !fits(variant, facts)) continue;
    if (few_rows && variant.kind != Int4GemmKind::kGemv) continue;
    const int64_t tile_count = tiles(variant, problem);
    if (tile_count > kMaxGridX) continue;
    const LaunchCosts& costs = launch_costs(variant.name, device.sm);
    const int64_t resident = resident_ctas_per_sm(variant, device.sm) * device.sm_count;
    for (int64_t splits = 1; splits <= max_splits(variant, problem, device); ++splits) {
      const int64_t bytes = partial_bytes(splits, problem);
      const LaunchWork work{tile_count * splits, steps(variant, problem.k, splits), resident,
                            bytes / static_cast<int64_t>(sizeof(float))};
      const double doubt = splits > 1 ? kSplitDoubt : 1.0;
      const double us = doubt * launch_us(costs, work, device.sm_count);
      if (us >= least_us) continue;
      least_us = us;
      plan.variant = &variant;
      plan.ctas = grid_ctas(variant, tile_count, splits, device);
      plan.splits = static_cast<int>(splits);
      plan.workspace_bytes = bytes;
    }
  }
  if (plan.variant == nullptr) {
    fail("no INT4 GEMM variant computes m = ", problem.m, ", n = ", problem.n, " on SM ", device.sm,
         " (", facts.shared_per_block, " bytes of shared memory) with ", kMaxGridX,
         " tiles; split the rows over several calls");
  }
  plan.shared_bytes = shared_bytes(*plan.variant, plan.ctas * plan.splits, device);
  plan.order = launch_order(device.sm);
  return plan;
}

int64_t int4_gemm_workspace_bound(int64_t max_m, int64_t n, int64_t k) {
  check_problem({max_m, n, k});
  int64_t bound = 0;
  for (const Int4GemmVariant& variant : kInt4GemmVariants) {
    if (!serves_rows(variant, 1)) continue;
    // With the same number of tiles along m, more rows need more; with more tiles, splits run out.
    for (int64_t rows = variant.tile_m;; rows += variant.tile_m) {
      const Int4GemmProblem problem{std::min(rows, max_m), n, k};
      if (problem.m > 0 && serves_rows(variant, problem.m)) {
        bound = std::max(bound, partial_bytes(max_splits(variant, problem), problem));
      }
      if (rows >= max_m || tiles(variant, {rows, n, k}) > kMaxSplitCtas / 2) break;
    }
  }
  return bound;
}

std::vector<KernelRequest> int4_gemm_kernels(int sm) {
  const SmFacts facts = sm_facts(sm);
  std::vector<KernelRequest> requests;
  for (const Int4GemmVariant& variant : kInt4GemmVariants) {
    // Plans may ask for all of it.
    if (fits(variant, facts)) requests.push_back({variant.name, facts.shared_per_block});
  }
  return requests;
}

void launch_int4_gemm(const CudaDriver& driver, const KernelSet& kernels, const Int4GemmPlan& plan,
                      Int4GemmParams params, void* workspace, CUstream stream) {
  if (plan.variant == nullptr) return;
  params.splits = plan.splits;
  params.partials = plan.splits > 1 ? static_cast<float*>(workspace) : nullptr;
  launch_variant(driver, kernels, *plan.variant, {plan.ctas, plan.splits}, plan.shared_bytes,
                 params, plan.order, stream);
  if (plan.splits == 1) return;
  const Int4GemmVariant& combine = combine_variant();
  const int64_t quads = int64_t{params.m} * params.n / 4;  // one per thread
  launch_variant(driver, kernels, combine, {ceil_div(quads, combine.threads)}, combine.shared_bytes,
                 params, plan.order, stream);
}

}  // namespace edge_llm
