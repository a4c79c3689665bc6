#include "plugins/runtime/int4_gemm_launcher.h"

#include <set>
#include <string>
#include <vector>

#include "kernels/variant_tables.h"
#include "plugins/runtime/kernel_image.h"
#include "tools/testing/testing.h"

// Plans load nothing: no image is linked.
extern "C" const edge_llm::KernelImage edge_llm_kernel_images[] = {{nullptr, 0, 0, nullptr, 0}};

namespace edge_llm {
namespace {

// Rows around every tile edge, then far beyond.
const std::vector<int64_t> kRows = {1,  2,  7,   8,   9,   15,  16,  17,  31,   32,   33,     63,
                                    64, 65, 127, 128, 129, 255, 256, 257, 1000, 4096, 1 << 20};
const std::vector<int64_t> kChannels = {4, 60, 128, 576, 1024, 4096, 14336, 151936, 2 * 151936};
const std::vector<int64_t> kDepths = {64, 128, 192, 576, 1024, 4096, 14336, 1 << 20};
const std::vector<int> kSmCounts = {1, 8, 16, 108, 132, 188, 512};

std::string show(const Int4GemmProblem& problem, const DeviceFacts& device) {
  return concat("m ", problem.m, ", n ", problem.n, ", k ", problem.k, ", SM ", device.sm, " x ",
                device.sm_count);
}

// Calls check(problem, device, plan) for every problem on every SM of the table, for all counts of
// multiprocessors, and names the problem when an exception ends it.
template <typename Check>
void sweep(Check check) {
  for (const SmFacts& facts : kSmFacts) {
    for (const int sm_count : kSmCounts) {
      const DeviceFacts device{facts.sm, sm_count};
      for (const int64_t n : kChannels) {
        for (const int64_t k : kDepths) {
          for (const int64_t m : kRows) {
            const Int4GemmProblem problem{m, n, k};
            check(problem, device, plan_int4_gemm(problem, device));
          }
        }
      }
    }
  }
}

// A counterexample fails the test with the problem in its message.
void expect(bool holds, const char* property, const Int4GemmProblem& problem,
            const DeviceFacts& device) {
  if (!holds) testing::fail(__FILE__, __LINE__, concat(property, ": ", show(problem, device)));
}

TEST(EmptyProblemLaunchesNothing) {
  const Int4GemmPlan plan = plan_int4_gemm({0, 4096, 4096}, {80, 108});
  EXPECT_TRUE(plan.variant == nullptr);
  EXPECT_EQ(plan.workspace_bytes, 0);
}

TEST(CtasCoverTheOutput) {
  sweep([](const Int4GemmProblem& problem, const DeviceFacts& device, const Int4GemmPlan& plan) {
    const Int4GemmVariant& variant = *plan.variant;
    const int64_t tiles_m = (problem.m + variant.tile_m - 1) / variant.tile_m;
    const int64_t tiles_n = (problem.n + variant.tile_n - 1) / variant.tile_n;
    expect(plan.ctas <= 2147483647, "gridDim.x", problem, device);
    if (variant.kind != Int4GemmKind::kGemv) {
      expect(plan.ctas == tiles_m * tiles_n, "a CTA for each tile", problem, device);
      return;
    }
    expect(tiles_m == 1, "GEMV has one row of tiles", problem, device);
    expect(plan.ctas >= 1 && plan.ctas <= tiles_n, "no CTA without a tile", problem, device);
    const int64_t resident = variant.ctas_per_sm * int64_t{device.sm_count};
    expect(plan.ctas == 1 || plan.ctas * plan.splits <= resident, "CTAs stay", problem, device);
  });
}

TEST(CtasAreSpreadEvenly) {
  sweep([](const Int4GemmProblem& problem, const DeviceFacts& device, const Int4GemmPlan& plan) {
    const SmFacts facts = sm_facts(device.sm);
    expect(plan.shared_bytes >= plan.variant->shared_bytes, "its own memory", problem, device);
    expect(plan.shared_bytes <= facts.shared_per_block, "the limit of a CTA", problem, device);
    if (plan.variant->kind == Int4GemmKind::kGemv) {
      expect(plan.shared_bytes == plan.variant->shared_bytes, "L1 for x", problem, device);
      return;
    }
    const int64_t held = facts.shared_per_sm / (plan.shared_bytes + kReservedSharedBytes);
    const int64_t share = ceil_div(plan.ctas * plan.splits, device.sm_count);
    const int64_t most = facts.shared_per_sm / (plan.variant->shared_bytes + kReservedSharedBytes);
    expect(held >= std::min(share, most), "room for the share", problem, device);
    const bool limited = facts.shared_per_block < facts.shared_per_sm / share;
    expect(held <= std::max<int64_t>(share, limited ? 2 : 1), "no more", problem, device);
  });
}

TEST(CtasOfAGemvShareManyTiles) {
  const Int4GemmPlan plan = plan_int4_gemm({1, 151936, 1024}, {90, 132});
  EXPECT_TRUE(plan.ctas * plan.variant->tile_n < 151936);
  EXPECT_EQ(plan.ctas, plan.variant->ctas_per_sm * 132);
}

TEST(CtasOfAGemvWithAMultiprocessorEachAreAsFewAsNeedNoMoreRounds) {
  const Int4GemmProblem problem = {1, 14336, 4096};
  const Int4GemmPlan plan = plan_int4_gemm(problem, {90, 132});
  EXPECT_EQ(plan.variant->ctas_per_sm, 1);
  EXPECT_EQ(14336 / plan.variant->tile_n, 448);
  EXPECT_EQ(plan.ctas, 112);  // four tiles each
  // Where kernels start in order nobody would use the rest.
  const Int4GemmPlan in_order = plan_int4_gemm(problem, {80, 132});
  EXPECT_EQ(in_order.variant->name, plan.variant->name);
  EXPECT_EQ(in_order.ctas, 132);
}

TEST(CtasOfAGemvThatShareAMultiprocessorFillIt) {
  const Int4GemmPlan plan = plan_int4_gemm({1, 17920, 1536}, {90, 132});
  EXPECT_EQ(plan.variant->ctas_per_sm, 2);
  EXPECT_EQ(plan.variant->tile_n, 64);
  EXPECT_EQ(plan.ctas, 264);  // of 280 tiles
}

TEST(SmThatWouldSpillRegistersHoldsFewerCtas) {
  for (const Int4GemmVariant& variant : kInt4GemmVariants) {
    if (variant.name != std::string("int4_gemm_f16_m64_n128_k64_s4")) continue;
    EXPECT_EQ(resident_ctas_per_sm(variant, 101), 3);
    EXPECT_EQ(resident_ctas_per_sm(variant, 110), 4);
  }
}

TEST(EverySplitHasWork) {
  sweep([](const Int4GemmProblem& problem, const DeviceFacts& device, const Int4GemmPlan& plan) {
    const int64_t steps = (problem.k + plan.variant->tile_k - 1) / plan.variant->tile_k;
    expect(plan.splits >= 1 && plan.splits <= steps, "splits", problem, device);
    expect(plan.splits <= 65535, "gridDim.y", problem, device);
    for (int64_t split = 0; split < plan.splits; ++split) {
      const int64_t first = steps * split / plan.splits;  // split_range() of the kernels
      const int64_t last = steps * (split + 1) / plan.splits;
      expect(first < last, "an empty split", problem, device);
    }
  });
}

TEST(WorkspaceHoldsThePartialSums) {
  sweep([](const Int4GemmProblem& problem, const DeviceFacts& device, const Int4GemmPlan& plan) {
    const int64_t partials = plan.splits == 1 ? 0 : plan.splits * problem.m * problem.n * 4;
    expect(plan.workspace_bytes == partials, "workspace_bytes", problem, device);
  });
}

TEST(WorkspaceBoundHoldsForFewerRowsOnEveryDevice) {
  sweep([](const Int4GemmProblem& problem, const DeviceFacts& device, const Int4GemmPlan& plan) {
    const int64_t bound = int4_gemm_workspace_bound(problem.m, problem.n, problem.k);
    expect(plan.workspace_bytes <= bound, "bound of its own m", problem, device);
  });
}

TEST(WorkspaceBoundGrowsWithTheRows) {
  for (const int64_t n : kChannels) {
    for (const int64_t k : kDepths) {
      int64_t previous = int4_gemm_workspace_bound(0, n, k);
      EXPECT_EQ(previous, 0);
      for (int64_t m = 1; m < 300; ++m) {
        const int64_t bound = int4_gemm_workspace_bound(m, n, k);
        expect(bound >= previous, "bound shrinks", {m, n, k}, {});
        previous = bound;
      }
    }
  }
}

TEST(WorkspaceBoundStaysSmall) {
  // 512 CTAs of the largest tile, 128 x 128 FP32, whatever the shape.
  for (const int64_t n : kChannels) {
    EXPECT_TRUE(int4_gemm_workspace_bound(1 << 20, n, 14336) <= 512 * 128 * 128 * 4);
  }
}

TEST(SplitsAreUsedWhereTilesAreFew) {
  // 32 tiles leave three quarters of 132 multiprocessors idle.
  EXPECT_TRUE(plan_int4_gemm({64, 4096, 4096}, {90, 132}).splits > 1);
  // The same on 16 multiprocessors fills them without.
  EXPECT_EQ(plan_int4_gemm({64, 4096, 4096}, {87, 16}).splits, 1);
}

TEST(TallTilesServeManyRows) {
  EXPECT_EQ(plan_int4_gemm({8, 4096, 4096}, {90, 132}).variant->tile_m, 8);
  EXPECT_EQ(plan_int4_gemm({9, 4096, 4096}, {90, 132}).variant->tile_m, 16);
  EXPECT_EQ(plan_int4_gemm({33, 4096, 4096}, {90, 132}).variant->tile_m, 64);
  EXPECT_TRUE(plan_int4_gemm({100000, 4096, 4096}, {90, 132}).variant->tile_m >= 64);
}

TEST(AGemvServesFewRowsAndNoOthers) {
  sweep([](const Int4GemmProblem& problem, const DeviceFacts& device, const Int4GemmPlan& plan) {
    const bool is_gemv = plan.variant->kind == Int4GemmKind::kGemv;
    expect(is_gemv == (problem.m <= 16), "a GEMV where m <= 16", problem, device);
  });
}

TEST(WideOutputsTakeWideTiles) {
  EXPECT_EQ(plan_int4_gemm({1, 576, 576}, {90, 132}).variant->tile_n, 32);
  EXPECT_EQ(plan_int4_gemm({1, 151936, 1024}, {90, 132}).variant->tile_n, 64);
}

TEST(UnknownSmIsPlannedAsTheSmallest) {
  EXPECT_TRUE(plan_int4_gemm({128, 4096, 4096}, {999, 132}).variant != nullptr);
}

TEST(EveryPlannedKernelIsRequested) {
  for (const SmFacts& facts : kSmFacts) {
    std::set<std::string> requested;
    for (const KernelRequest& request : int4_gemm_kernels(facts.sm)) {
      EXPECT_TRUE(request.shared_bytes <= facts.shared_per_block);
      requested.insert(request.name);
    }
    EXPECT_EQ(requested.count("int4_combine_f16"), 1u);
    for (const int64_t m : kRows) {
      const Int4GemmPlan plan = plan_int4_gemm({m, 4096, 4096}, {facts.sm, 16});
      EXPECT_EQ(requested.count(plan.variant->name), 1u);
    }
  }
}

TEST(ImpossibleProblemsAreRefused) {
  const DeviceFacts device{80, 108};
  EXPECT_THROWS_WITH(plan_int4_gemm({-1, 64, 64}, device), "m is -1");
  EXPECT_THROWS_WITH(plan_int4_gemm({int64_t{1} << 31, 64, 64}, device), "m is 2147483648");
  EXPECT_THROWS_WITH(plan_int4_gemm({1, 6, 64}, device), "n is 6");
  EXPECT_THROWS_WITH(plan_int4_gemm({1, 0, 64}, device), "n is 0");
  EXPECT_THROWS_WITH(plan_int4_gemm({1, 64, 96}, device), "k is 96");
  EXPECT_THROWS_WITH(plan_int4_gemm({1 << 30, 151936, 64}, device), "split the rows");
  EXPECT_THROWS_WITH(int4_gemm_workspace_bound(-5, 64, 64), "m is -5");
}

}  // namespace
}  // namespace edge_llm
