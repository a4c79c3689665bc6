#include "plugins/runtime/int4_gemm_launcher.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>

#include "kernels/variant_tables.h"
#include "plugins/runtime/kernel_launch.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

// Heuristics, all of them, with their reasons. The tiles themselves are in kernels/variants.bzl.

// CTAs per multiprocessor that splitting k aims at. Up to 64 rows the kernels wait for weights from
// memory, and a second CTA doubles the loads in flight. Above, the matrix unit is the limit, one
// CTA of 8 warps keeps it busy, and partial sums of many rows cost more than a second one gains.
int split_ctas_per_sm(const Int4GemmVariant& variant) { return variant.tile_m <= 64 ? 2 : 1; }

// k that a split must have at least, so that filling the pipeline and adding the partial sums stay
// small beside the work: four turns of every warp along k for the GEMV, else 512.
int64_t min_split_k(const Int4GemmVariant& variant) {
  return variant.kind == Int4GemmKind::kGemv ? int64_t{4} * variant.warps_k * variant.tile_k : 512;
}

// More splits read and write more partial sums than the k range holds weights.
constexpr int64_t kMaxSplits = 16;

// CTAs of a split grid, whatever the device: this bounds the workspace for engines that are built
// on one GPU and run on another. Twice the multiprocessors of the largest SM of the table is 376.
constexpr int64_t kMaxSplitCtas = 512;

// What the driver keeps of the shared memory for each resident CTA.
constexpr int64_t kReservedSharedBytes = 1024;

constexpr int64_t kMaxGridX = std::numeric_limits<int32_t>::max();
// Indices of rows and of k are 32 bits in the kernels, with room for a tile past the end.
constexpr int64_t kMaxRows = int64_t{1} << 30;
constexpr int64_t kMaxColumns = int64_t{1} << 24;

bool fits(const Int4GemmVariant& variant, const SmFacts& facts) {
  return variant.shared_bytes <= facts.shared_per_block;
}

int64_t tiles_m(const Int4GemmVariant& variant, int64_t m) { return ceil_div(m, variant.tile_m); }

int64_t tiles(const Int4GemmVariant& variant, const Int4GemmProblem& problem) {
  return tiles_m(variant, problem.m) * ceil_div(problem.n, variant.tile_n);
}

// Whether a variant computes tiles at all, and has the least rows that hold m: rows beyond m are
// computed in vain. Above the tallest tile, the tallest one reads the weights least often.
bool serves_rows(const Int4GemmVariant& variant, int64_t m) {
  if (variant.kind == Int4GemmKind::kCombine) return false;
  int64_t best = 0;
  for (const Int4GemmVariant& other : kInt4GemmVariants) {
    if (other.kind == Int4GemmKind::kCombine) continue;
    const bool better = best < m ? other.tile_m > best : other.tile_m >= m && other.tile_m < best;
    if (better) best = other.tile_m;
  }
  return variant.tile_m == best;
}

// Upper limit of the splits, apart from the device.
int64_t max_splits(const Int4GemmVariant& variant, const Int4GemmProblem& problem) {
  return std::min(
      {kMaxSplits, problem.k / min_split_k(variant), kMaxSplitCtas / tiles(variant, problem)});
}

int64_t partial_bytes(int64_t splits, const Int4GemmProblem& problem) {
  if (splits <= 1) return 0;
  return splits * problem.m * problem.n * static_cast<int64_t>(sizeof(float));
}

// CTAs that run at the same time.
int64_t resident_ctas(const Int4GemmVariant& variant, const SmFacts& facts, int64_t sm_count) {
  const int64_t by_shared = facts.shared_per_sm / (variant.shared_bytes + kReservedSharedBytes);
  return sm_count * std::min<int64_t>(variant.ctas_per_sm, by_shared);
}

// Of the variants with the right rows: the widest tile (which reads x least often) that still gives
// every multiprocessor its CTAs, else the narrowest.
const Int4GemmVariant& choose_variant(const Int4GemmProblem& problem, const DeviceFacts& device) {
  const SmFacts facts = sm_facts(device.sm);
  const Int4GemmVariant* best = nullptr;
  bool best_fills = false;
  for (const Int4GemmVariant& variant : kInt4GemmVariants) {
    if (!serves_rows(variant, problem.m) || !fits(variant, facts)) continue;
    const bool fills = tiles(variant, problem) >= resident_ctas(variant, facts, device.sm_count);
    const bool wider = best != nullptr && variant.tile_n > best->tile_n;
    if (best == nullptr || (fills && (!best_fills || wider)) || (!fills && !best_fills && !wider)) {
      best = &variant;
      best_fills = fills;
    }
  }
  if (best == nullptr) {
    fail("no INT4 GEMM variant for m = ", problem.m, " fits SM ", device.sm, " (",
         facts.shared_per_block, " bytes of shared memory); add one to kernels/variants.bzl");
  }
  return *best;
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
  const Int4GemmVariant& variant = choose_variant(problem, device);
  plan.variant = &variant;
  plan.tiles = tiles(variant, problem);
  if (plan.tiles > kMaxGridX) {
    fail("m = ", problem.m, ", n = ", problem.n, " need ", plan.tiles, " tiles; ", kMaxGridX,
         " is the most; split the rows over several calls");
  }
  const int64_t wanted = int64_t{device.sm_count} * split_ctas_per_sm(variant) / plan.tiles;
  plan.splits =
      static_cast<int>(std::max<int64_t>(1, std::min(wanted, max_splits(variant, problem))));
  plan.order = launch_order(device.sm);
  plan.workspace_bytes = partial_bytes(plan.splits, problem);
  return plan;
}

int64_t int4_gemm_workspace_bound(int64_t max_m, int64_t n, int64_t k) {
  check_problem({max_m, n, k});
  int64_t bound = 0;
  for (const Int4GemmVariant& variant : kInt4GemmVariants) {
    if (variant.kind == Int4GemmKind::kCombine) continue;
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
    if (fits(variant, facts)) requests.push_back({variant.name, variant.shared_bytes});
  }
  return requests;
}

void launch_int4_gemm(const CudaDriver& driver, const KernelSet& kernels, const Int4GemmPlan& plan,
                      Int4GemmParams params, void* workspace, CUstream stream) {
  if (plan.variant == nullptr) return;
  params.splits = plan.splits;
  params.partials = plan.splits > 1 ? static_cast<float*>(workspace) : nullptr;
  launch_variant(driver, kernels, *plan.variant, {plan.tiles, plan.splits}, params, plan.order,
                 stream);
  if (plan.splits == 1) return;
  const Int4GemmVariant& combine = combine_variant();
  const int64_t quads = int64_t{params.m} * params.n / 4;  // one per thread
  launch_variant(driver, kernels, combine, {ceil_div(quads, combine.threads)}, params, plan.order,
                 stream);
}

}  // namespace edge_llm
