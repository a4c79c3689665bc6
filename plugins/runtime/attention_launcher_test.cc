#include "plugins/runtime/attention_launcher.h"

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

using Mode = AttentionMode;

struct Heads {
  int64_t q, kv, size;
};
// Real models: Llama-3.1-8B, Qwen2.5-0.5B, Qwen2-VL-2B, Phi-3-mini, Phi-2, Gemma-1-2B, a tiny one.
const std::vector<Heads> kHeads = {{32, 8, 128}, {14, 2, 64}, {12, 2, 128}, {32, 32, 96},
                                   {32, 32, 80}, {8, 1, 256}, {16, 1, 32}};
const std::vector<int64_t> kBatches = {1, 2, 7, 64};
const std::vector<int64_t> kTokens = {1,  2,  4,   5,   16,  17,   33,    60,
                                      64, 65, 127, 128, 129, 1000, 131072};
const std::vector<int64_t> kCapacities = {1, 127, 128, 255, 256, 4096, 131072};
const std::vector<int> kSmCounts = {1, 16, 132, 512, 1024};

AttentionProblem problem_of(Mode mode, int64_t batch, int64_t q_len, const Heads& heads,
                            int64_t capacity) {
  return {mode, batch, q_len, heads.q, heads.kv, heads.size, capacity};
}

std::string show(const AttentionProblem& problem, const DeviceFacts& device) {
  return concat("mode ", static_cast<int>(problem.mode), ", batch ", problem.batch, ", q_len ",
                problem.q_len, ", heads ", problem.num_q_heads, "/", problem.num_kv_heads, "/",
                problem.head_size, ", capacity ", problem.capacity, ", SM ", device.sm, " x ",
                device.sm_count);
}

// A counterexample fails the test with the problem in its message.
void expect(bool holds, const char* property, const AttentionProblem& problem,
            const DeviceFacts& device) {
  if (!holds) testing::fail(__FILE__, __LINE__, concat(property, ": ", show(problem, device)));
}

// Calls check(problem, device, plan) for every problem that the modes allow.
template <typename Check>
void sweep_modes(const DeviceFacts& device, const Heads& heads, int64_t batch, int64_t capacity,
                 int64_t q_len, Check check) {
  for (const Mode mode :
       {Mode::kPrefill, Mode::kChunkedPrefill, Mode::kDecode, Mode::kTreeDecode}) {
    if (mode == Mode::kDecode && q_len > 1) continue;
    if (mode == Mode::kTreeDecode && q_len > 128) continue;
    const AttentionProblem problem = problem_of(mode, batch, q_len, heads, capacity);
    check(problem, device, plan_attention(problem, device));
  }
}

template <typename Check>
void sweep(Check check) {
  for (const int sm : {80, 90}) {  // without the products of warpgroups, and with them
    for (const int sm_count : kSmCounts) {
      const DeviceFacts device{sm, sm_count};
      for (const Heads& heads : kHeads) {
        for (const int64_t batch : kBatches) {
          for (const int64_t capacity : kCapacities) {
            for (const int64_t q_len : kTokens)
              sweep_modes(device, heads, batch, capacity, q_len, check);
          }
        }
      }
    }
  }
}

int64_t group(const AttentionProblem& problem) {
  return problem.num_q_heads / problem.num_kv_heads;
}

TEST(TilesCoverTheRows) {
  sweep([](const AttentionProblem& problem, const DeviceFacts& device, const AttentionPlan& plan) {
    const bool prefill = plan.variant->kind == AttentionKind::kPrefill;
    const int64_t rows = prefill ? problem.q_len : problem.q_len * group(problem);
    const int64_t covered = plan.row_tiles * plan.variant->tile_q;
    expect(rows <= covered && covered < rows + plan.variant->tile_q, "tiles", problem, device);
    expect(plan.variant->head_size == problem.head_size, "head size", problem, device);
  });
}

TEST(OnlyTokensWithinAMaskAreDecoded) {
  sweep([](const AttentionProblem& problem, const DeviceFacts& device, const AttentionPlan& plan) {
    const bool decodes = plan.variant->kind == AttentionKind::kDecode;
    const bool generates = problem.mode == Mode::kDecode || problem.mode == Mode::kTreeDecode;
    if (generates) expect(decodes, "generation", problem, device);
    if (problem.mode == Mode::kPrefill) expect(!decodes, "prefill", problem, device);
    if (decodes) expect(problem.q_len <= 128, "tokens of a mask", problem, device);
    if (problem.mode == Mode::kPrefill) expect(plan.splits == 1, "splits", problem, device);
  });
}

TEST(SplitsHaveWorkWhenTheCacheIsFull) {
  sweep([](const AttentionProblem& problem, const DeviceFacts& device, const AttentionPlan& plan) {
    expect(plan.splits >= 1, "splits", problem, device);
    if (plan.splits == 1) return;
    const bool decodes = plan.variant->kind == AttentionKind::kDecode;
    const int64_t slots = decodes ? 64 : 256;
    expect(plan.splits * slots <= problem.capacity, "slots of a split", problem, device);
    const int64_t heads = decodes ? problem.num_kv_heads : problem.num_q_heads;
    const int64_t ctas = plan.splits * plan.row_tiles * heads * problem.batch;
    expect(ctas <= plan.variant->ctas_per_sm * device.sm_count, "CTAs", problem, device);
  });
}

TEST(WorkspaceHoldsThePartialResults) {
  sweep([](const AttentionProblem& problem, const DeviceFacts& device, const AttentionPlan& plan) {
    const int64_t heads = problem.batch * problem.q_len * problem.num_q_heads;
    const int64_t partials =
        plan.splits == 1 ? 0 : plan.splits * heads * (problem.head_size + 2) * 4;
    expect(plan.workspace_bytes == partials, "workspace_bytes", problem, device);
  });
}

TEST(WorkspaceBoundHoldsForSmallerProblemsOnEveryDevice) {
  sweep([](const AttentionProblem& problem, const DeviceFacts& device, const AttentionPlan& plan) {
    for (const int64_t more : {1, 3, 32}) {
      AttentionProblem largest = problem;
      const auto check = [&] {
        expect(plan.workspace_bytes <= attention_workspace_bound(largest), "bound", problem,
               device);
      };
      check();
      largest.batch = problem.batch * more;
      check();
      largest.q_len = problem.q_len + more;
      check();
      largest.capacity = problem.capacity * more;
      check();
    }
  });
}

TEST(WorkspaceBoundOfGenerationStaysSmall) {
  // 64 splits of one token.
  const Heads heads = {32, 8, 128};
  EXPECT_EQ(attention_workspace_bound(problem_of(Mode::kDecode, 1, 1, heads, 131072)),
            64 * 32 * (128 + 2) * 4);
  // 512 CTAs of 128 rows, whatever the batch and the length.
  EXPECT_EQ(attention_workspace_bound(problem_of(Mode::kPrefill, 64, 4096, heads, 131072)),
            512 * 128 * (128 + 2) * 4);
}

TEST(OneSequenceFillsTheGpu) {
  const AttentionProblem problem = problem_of(Mode::kDecode, 1, 1, {32, 8, 128}, 32768);
  EXPECT_EQ(plan_attention(problem, {90, 132}).splits, 32);
  EXPECT_EQ(plan_attention(problem, {87, 16}).splits, 4);
  // 32 rows of it fill the GPU without splits.
  EXPECT_EQ(plan_attention(problem_of(Mode::kDecode, 32, 1, {32, 8, 128}, 32768), {90, 132}).splits,
            1);
}

TEST(SplitsAreAPowerOfTwoOrOneAndAHalfOfIt) {
  const auto splits = [](int64_t kv_heads) {
    const Heads heads = {kv_heads, kv_heads, 128};
    return plan_attention(problem_of(Mode::kDecode, 1, 1, heads, 32768), {87, 16}).splits;
  };
  EXPECT_EQ(splits(4), 8);  // 32 CTAs run at the same time
  EXPECT_EQ(splits(5), 6);
  EXPECT_EQ(splits(10), 3);
  EXPECT_EQ(splits(11), 2);
  EXPECT_EQ(splits(17), 1);
}

TEST(ShortSplitsLeaveAQuarterToTheKernelsInFrontAndBehind) {
  const auto splits = [](int sm, int64_t batch, int64_t capacity) {
    const AttentionProblem problem = problem_of(Mode::kDecode, batch, 1, {32, 8, 128}, capacity);
    return plan_attention(problem, {sm, 132}).splits;
  };
  EXPECT_EQ(splits(90, 1, 2304), 12);  // 96 CTAs with 192 slots on 132 multiprocessors
  EXPECT_EQ(splits(90, 1, 2305), 24);  // 192 CTAs in 264 places
  EXPECT_EQ(splits(90, 1, 4608), 24);
  EXPECT_EQ(splits(90, 1, 4609), 32);
  EXPECT_EQ(splits(90, 2, 2048), 12);
  EXPECT_EQ(splits(90, 4, 2048), 8);
  const AttentionProblem two_rows = problem_of(Mode::kDecode, 2, 1, {14, 2, 64}, 8192);
  EXPECT_EQ(plan_attention(two_rows, {90, 132}).splits, 48);  // of 64
  // Where kernels start in order nobody would use it.
  EXPECT_EQ(splits(87, 1, 2304), 32);
}

TEST(FewTokensTakeLowTilesAndLongChunksAreSplit) {
  const auto plan = [](Mode mode, int64_t q_len, int64_t capacity) {
    return plan_attention(problem_of(mode, 1, q_len, {32, 8, 128}, capacity), {90, 132});
  };
  EXPECT_EQ(plan(Mode::kPrefill, 512, 8192).variant->tile_q, 32);
  EXPECT_EQ(plan(Mode::kPrefill, 640, 8192).variant->tile_q, 64);
  EXPECT_EQ(plan(Mode::kPrefill, 2048, 8192).variant->tile_q, 128);
  EXPECT_EQ(plan(Mode::kPrefill, 512, 8192).splits, 1);
  EXPECT_EQ(plan(Mode::kChunkedPrefill, 320, 511).variant->tile_q, 32);
  EXPECT_EQ(plan(Mode::kChunkedPrefill, 320, 511).splits, 1);
  EXPECT_EQ(plan(Mode::kChunkedPrefill, 256, 8192).splits, 2);
  EXPECT_EQ(plan(Mode::kChunkedPrefill, 256, 8192).variant->tile_q, 128);
}

TEST(RowsOfATreeTakeTallTiles) {
  const auto tile_q = [](int64_t q_len) {
    const AttentionProblem problem = problem_of(Mode::kTreeDecode, 1, q_len, {32, 8, 128}, 4096);
    return plan_attention(problem, {90, 132}).variant->tile_q;
  };
  EXPECT_EQ(tile_q(4), 16);
  EXPECT_EQ(tile_q(5), 64);
  EXPECT_EQ(tile_q(128), 64);
}

TEST(ChunksOfFewTilesAreDecoded) {
  const auto kind = [](int64_t q_len, const Heads& heads) {
    const AttentionProblem problem = problem_of(Mode::kChunkedPrefill, 1, q_len, heads, 4096);
    return plan_attention(problem, {100, 132}).variant->kind;
  };
  EXPECT_EQ(kind(32, {32, 8, 128}), AttentionKind::kDecode);  // 128 rows in tiles of 64
  EXPECT_EQ(kind(33, {32, 32, 128}), AttentionKind::kPrefill);
  EXPECT_EQ(kind(18, {14, 2, 64}), AttentionKind::kDecode);
  EXPECT_EQ(kind(19, {14, 2, 64}), AttentionKind::kPrefill);  // 133 rows
  EXPECT_EQ(kind(4, {8, 1, 256}), AttentionKind::kDecode);    // 32 rows in tiles of 16
  EXPECT_EQ(kind(5, {8, 1, 256}), AttentionKind::kPrefill);
}

TEST(EveryPlannedKernelIsRequested) {
  for (const SmFacts& facts : kSmFacts) {
    for (const Heads& heads : kHeads) {
      std::set<std::string> requested;
      for (const KernelRequest& request : attention_kernels(facts.sm, heads.size)) {
        EXPECT_TRUE(request.shared_bytes <= facts.shared_per_block);
        requested.insert(request.name);
      }
      EXPECT_EQ(requested.count("attention_append_f16"), 1u);
      EXPECT_EQ(requested.count("attention_combine_f16"), 1u);
      for (const int64_t q_len : kTokens) {
        const AttentionPlan plan = plan_attention(
            problem_of(Mode::kChunkedPrefill, 1, q_len, heads, 4096), {facts.sm, 16});
        EXPECT_EQ(requested.count(plan.variant->name), 1u);
      }
    }
  }
}

TEST(ImpossibleProblemsAreRefused) {
  const DeviceFacts device{80, 108};
  const auto plan = [&](const AttentionProblem& problem) { plan_attention(problem, device); };
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 1, 1, 8, 8, 48, 64}),
                     "head_size is 48; 32, 64, 80, 96, 128, 256 are allowed");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 0, 0, 8, 8, 512, 64}), "head_size is 512");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 1, 1, 8, 0, 64, 64}), "num_kv_heads is 0");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 1, 1, 9, 2, 64, 64}), "num_q_heads is 9");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 1, 1, 34, 2, 64, 64}), "num_q_heads is 34");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 65536, 1, 8, 8, 64, 64}), "batch is 65536");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, -1, 1, 8, 8, 64, 64}), "batch is -1");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 1, 1 << 23, 8, 8, 64, 64}), "q_len is 8388608");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 1, 1, 8, 8, 64, 1 << 23}), "capacity is 8388608");
  EXPECT_THROWS_WITH(plan({Mode::kDecode, 1, 2, 8, 8, 64, 64}), "q_len in decode is 2");
  EXPECT_THROWS_WITH(plan({Mode::kTreeDecode, 1, 129, 8, 8, 64, 64}),
                     "q_len in tree decode is 129");
  EXPECT_THROWS_WITH(plan({Mode::kPrefill, 1, 1 << 22, 64, 64, 128, 64}), "split the prompt");
  EXPECT_THROWS_WITH(attention_workspace_bound({Mode::kPrefill, -5, 1, 8, 8, 64, 64}),
                     "batch is -5");
  EXPECT_THROWS_WITH(attention_kernels(80, 48), "head_size is 48");
}

// What a recording driver was asked for.
struct Launch {
  CUfunction function;
  unsigned x, y, z, threads, shared_bytes;
  bool waits_itself;
  AttentionParams params;
};
struct Copy {
  CUdeviceptr to, from;
  size_t bytes;
  size_t launches_before;
};
std::vector<Launch> launches;
std::vector<Copy> copies;

CUresult record_launch(const CUlaunchConfig* config, CUfunction function, void** arguments,
                       void**) {
  const bool waits_itself =
      config->numAttrs == 1 &&
      config->attrs[0].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
      config->attrs[0].value.programmaticStreamSerializationAllowed == 1;
  launches.push_back({function, config->gridDimX, config->gridDimY, config->gridDimZ,
                      config->blockDimX, config->sharedMemBytes, waits_itself,
                      *static_cast<const AttentionParams*>(arguments[0])});
  return CUDA_SUCCESS;
}

CUresult record_copy(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
  copies.push_back({to, from, bytes, launches.size()});
  return CUDA_SUCCESS;
}

// The handle of a variant's kernel is the address of its row.
KernelSet all_kernels() {
  KernelSet kernels;
  for (const AttentionVariant& variant : kAttentionVariants) {
    auto* handle = const_cast<AttentionVariant*>(&variant);
    kernels.add(variant.name, reinterpret_cast<CUkernel>(handle));
  }
  return kernels;
}

std::string launched(size_t index) {
  return reinterpret_cast<const AttentionVariant*>(launches.at(index).function)->name;
}

char* address(uintptr_t value) { return reinterpret_cast<char*>(value); }
char* const kCache = address(0x100000);
char* const kWorkspace = address(0x9000000);

void launch_on_recorder(const AttentionProblem& problem, const DeviceFacts& device,
                        const void* cache_in = kCache) {
  launches.clear();
  copies.clear();
  CudaDriver driver{};
  driver.cuLaunchKernelEx = record_launch;
  driver.cuMemcpyDtoDAsync = record_copy;
  AttentionParams params{};
  params.kv_cache = kCache;
  params.mode = problem.mode;
  params.batch = static_cast<int32_t>(problem.batch);
  params.q_len = static_cast<int32_t>(problem.q_len);
  params.num_q_heads = static_cast<int32_t>(problem.num_q_heads);
  params.num_kv_heads = static_cast<int32_t>(problem.num_kv_heads);
  params.head_size = static_cast<int32_t>(problem.head_size);
  params.capacity = static_cast<int32_t>(problem.capacity);
  launch_attention(driver, all_kernels(), plan_attention(problem, device), params, cache_in,
                   kWorkspace, nullptr);
}

TEST(PrefillAppendsThenAttends) {
  launch_on_recorder(problem_of(Mode::kPrefill, 3, 300, {32, 8, 128}, 512), {80, 108});
  ASSERT_EQ(launches.size(), 2u);
  EXPECT_EQ(launched(0), "attention_append_f16");
  EXPECT_EQ(launches[0].x, 150u);  // 300 tokens, 16 heads, 8 pairs of chunks; 256 threads
  EXPECT_EQ(launches[0].y, 3u);
  EXPECT_EQ(launched(1), "attention_prefill_f16_d128_q128");
  EXPECT_EQ(launches[1].x, 32u);
  EXPECT_EQ(launches[1].y, 3u);
  EXPECT_EQ(launches[1].z, 3u);
  for (const Launch& launch : launches) {
    EXPECT_TRUE(launch.params.partials == nullptr);
    EXPECT_EQ(launch.params.splits, 1);
  }
}

TEST(SplitDecodeIsCombined) {
  launch_on_recorder(problem_of(Mode::kDecode, 2, 1, {14, 2, 64}, 4096), {80, 108});
  ASSERT_EQ(launches.size(), 2u);
  EXPECT_EQ(launched(0), "attention_decode_f16_d64_m16");
  EXPECT_EQ(launches[0].x, 2u);
  EXPECT_EQ(launches[0].y, 64u);  // 4096 slots in splits of a tile
  EXPECT_EQ(launches[0].z, 2u);
  EXPECT_EQ(launched(1), "attention_combine_f16");
  EXPECT_EQ(launches[1].x, 28u);  // a CTA for each head of the output: its splits leave no room
  for (const Launch& launch : launches) {
    EXPECT_TRUE(launch.params.partials == static_cast<void*>(kWorkspace));
    EXPECT_EQ(launch.params.splits, 64);
  }
}

TEST(SplitChunkIsCombined) {
  launch_on_recorder(problem_of(Mode::kChunkedPrefill, 1, 256, {32, 8, 128}, 8192), {90, 132});
  ASSERT_EQ(launches.size(), 3u);
  EXPECT_EQ(launched(1), "attention_prefill_f16_d128_q128_wgmma");
  EXPECT_EQ(launches[1].x, 64u);  // two splits of 32 heads
  EXPECT_EQ(launches[1].y, 2u);
  EXPECT_EQ(launched(2), "attention_combine_f16");
  EXPECT_EQ(launches[2].x, 1024u);  // 256 threads merge two splits of eight heads of 128
  for (const Launch& launch : launches) EXPECT_EQ(launch.params.splits, 2);
}

TEST(NoMultiprocessorTakesMoreThanItsShare) {
  const int64_t most = sm_facts(90).shared_per_sm;
  for (const int64_t batch : {1, 8, 32}) {  // 192 or 256 CTAs on 132 multiprocessors
    launch_on_recorder(problem_of(Mode::kDecode, batch, 1, {32, 8, 128}, 4096), {90, 132});
    const int64_t bytes = launches.at(0).shared_bytes + kReservedSharedBytes;
    EXPECT_TRUE(2 * bytes <= most && 3 * bytes > most);
  }
  // Shares that do not fit at once are as they are.
  const AttentionProblem problem = problem_of(Mode::kDecode, 64, 1, {32, 8, 128}, 4096);
  launch_on_recorder(problem, {90, 132});
  EXPECT_EQ(launches.at(0).shared_bytes,
            static_cast<unsigned>(plan_attention(problem, {90, 132}).variant->shared_bytes));
}

TEST(FewCtasHaveMoreWarps) {
  const DeviceFacts device{100, 132};
  const auto planned = [&](Mode mode, int64_t batch, int64_t q_len, const Heads& heads) {
    return std::string(
        plan_attention(problem_of(mode, batch, q_len, heads, 4096), device).variant->name);
  };
  EXPECT_EQ(planned(Mode::kPrefill, 1, 512, {16, 8, 128}), "attention_prefill_f16_d128_q64_w8");
  EXPECT_EQ(planned(Mode::kPrefill, 1, 576, {16, 8, 128}), "attention_prefill_f16_d128_q32");
  EXPECT_EQ(planned(Mode::kTreeDecode, 4, 60, {32, 8, 128}), "attention_decode_f16_d128_m64_w8");
  EXPECT_EQ(planned(Mode::kTreeDecode, 5, 60, {32, 8, 128}), "attention_decode_f16_d128_m64");
}

TEST(WarpgroupsTakeTallTilesWhereTheSmHasThem) {
  const auto planned = [](int sm, Mode mode, int64_t batch, int64_t q_len, const Heads& heads) {
    const DeviceFacts device{sm, 132};
    const std::string name =
        plan_attention(problem_of(mode, batch, q_len, heads, 4096), device).variant->name;
    return name.substr(std::string("attention_").size());
  };
  const Heads heads = {32, 8, 128};
  EXPECT_EQ(planned(90, Mode::kTreeDecode, 1, 4, heads), "decode_f16_d128_m16");
  // Two splits, where the taller tile would have four.
  EXPECT_EQ(planned(90, Mode::kTreeDecode, 2, 60, heads), "decode_f16_d128_m64_wgmma");
  // 128 CTAs of either; 96, too few for the taller one.
  EXPECT_EQ(planned(90, Mode::kTreeDecode, 4, 60, heads), "decode_f16_d128_m128_wgmma");
  EXPECT_EQ(planned(90, Mode::kTreeDecode, 3, 60, heads), "decode_f16_d128_m64_wgmma");
  // 80 CTAs of the taller one, where the other's do not run at the same time.
  EXPECT_EQ(planned(90, Mode::kTreeDecode, 5, 60, heads), "decode_f16_d128_m128_wgmma");
  EXPECT_EQ(planned(90, Mode::kChunkedPrefill, 8, 64, heads), "decode_f16_d128_m128_wgmma");
  EXPECT_EQ(planned(90, Mode::kChunkedPrefill, 16, 16, heads), "decode_f16_d128_m64_wgmma");
  EXPECT_EQ(planned(90, Mode::kChunkedPrefill, 8, 65, heads), "prefill_f16_d128_q128_wgmma");
  // Two rounds of tiles to decode; those of prefill would be half empty.
  EXPECT_EQ(planned(90, Mode::kChunkedPrefill, 10, 64, heads), "prefill_f16_d128_q64");
  EXPECT_EQ(planned(90, Mode::kChunkedPrefill, 1, 512, heads), "prefill_f16_d128_q128_wgmma");
  EXPECT_EQ(planned(90, Mode::kPrefill, 1, 1024, heads), "prefill_f16_d128_q128_wgmma");
  // Two rounds of CTAs, the second a short one.
  EXPECT_EQ(planned(90, Mode::kTreeDecode, 9, 60, heads), "decode_f16_d128_m64");
  EXPECT_EQ(planned(90, Mode::kChunkedPrefill, 1, 640, heads), "prefill_f16_d128_q64");
  EXPECT_EQ(planned(90, Mode::kPrefill, 1, 512, heads), "prefill_f16_d128_q32");
  EXPECT_EQ(planned(100, Mode::kTreeDecode, 5, 60, heads), "decode_f16_d128_m64");
  EXPECT_EQ(planned(100, Mode::kPrefill, 1, 2048, heads), "prefill_f16_d128_q128");
}

TEST(KernelsWaitThemselvesWhereTheSmCan) {
  for (const Mode mode : {Mode::kPrefill, Mode::kDecode}) {
    const AttentionProblem problem = problem_of(mode, 1, 1, {32, 8, 128}, 4096);
    for (const int sm : {87, 90}) {
      launch_on_recorder(problem, {sm, 16});
      ASSERT_EQ(launches.size(), 2u);
      for (const Launch& launch : launches) EXPECT_EQ(launch.waits_itself, sm == 90);
    }
  }
}

TEST(CacheInPlaceIsNotCopied) {
  launch_on_recorder(problem_of(Mode::kDecode, 2, 1, {14, 2, 64}, 100), {80, 108});
  EXPECT_TRUE(copies.empty());
}

TEST(AnotherCacheIsCopiedFirst) {
  const int64_t bytes = 2 * 2 * 2 * 100 * 64 * 2;
  for (const char* cache_in : {kCache + bytes, kCache - bytes}) {
    launch_on_recorder(problem_of(Mode::kDecode, 2, 1, {14, 2, 64}, 100), {80, 108}, cache_in);
    ASSERT_EQ(copies.size(), 1u);
    EXPECT_EQ(copies[0].to, reinterpret_cast<CUdeviceptr>(kCache));
    EXPECT_EQ(copies[0].from, reinterpret_cast<CUdeviceptr>(cache_in));
    EXPECT_EQ(copies[0].bytes, static_cast<size_t>(bytes));
    EXPECT_EQ(copies[0].launches_before, 0u);
  }
}

TEST(OverlappingCachesAreRefused) {
  const int64_t bytes = 2 * 2 * 2 * 100 * 64 * 2;
  for (const int64_t distance : {int64_t{16}, bytes - 16, 16 - bytes, int64_t{-16}}) {
    EXPECT_THROWS_WITH(launch_on_recorder(problem_of(Mode::kDecode, 2, 1, {14, 2, 64}, 100),
                                          {80, 108}, kCache + distance),
                       "share some of 102400 bytes");
    EXPECT_TRUE(copies.empty() && launches.empty());
  }
}

TEST(WithoutTokensOnlyTheCacheIsCopied) {
  launch_on_recorder(problem_of(Mode::kChunkedPrefill, 2, 0, {14, 2, 64}, 100), {80, 108},
                     kCache + 1000000);
  EXPECT_EQ(copies.size(), 1u);
  EXPECT_TRUE(launches.empty());
}

}  // namespace
}  // namespace edge_llm
