// The conduct of the INT4 plugin in every layout that the library serves. The driver is a fake one
// that counts its calls: arithmetic is tested on the emulator.
#include <cstdlib>
#include <functional>
#include <thread>

#include "plugins/testing/int4_call.h"
#include "plugins/testing/interface_fixture.h"

namespace edge_llm::testing {
namespace {

// One tile of a long k: every device splits it.
constexpr int64_t kSplitK = 16384;

Tensors split_int4_tensors() {
  return {{{1, 1, kSplitK}}, {{4, kSplitK}, abi::DataType::kInt8}, {{128, 8}}, {{1, 1, 8}}};
}

}  // namespace

// Stays the first test: the driver of a process is chosen once.
TEST(BuildingNeedsNoDriverAndAttachingNamesTheMissingOne) {
  setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout, int4_fields());
    const std::string before = last_error();
    plugin->configure(int4_tensors(2, 3));
    plugin->workspace(int4_tensors(2, 3));
    EXPECT_EQ(last_error(), before);
    EXPECT_FALSE(plugin->attach());
    EXPECT_LAST_ERROR("no CUDA driver: /nowhere/libcuda.so.1");
    EXPECT_NE(plugin->enqueue(int4_tensors(1, 1), int4_pointers()), 0);
    EXPECT_LAST_ERROR("enqueue before initialize() or attachToContext()");
  }
}

TEST(NamesVersionsAndOutputsAreThoseOfTheContract) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto clone = created(layout, int4_fields())->clone();
    EXPECT_EQ(clone->name(), "Int4GroupwiseGemmPlugin");
    EXPECT_EQ(clone->version(), layout.version);
    EXPECT_EQ(clone->outputs(), 1);
    EXPECT_TRUE(clone->output_types(int4_tensors(1, 1)) == std::vector{abi::DataType::kHalf});
  }
}

TEST(ClonesKeepTheNamespaceOfTheirCreator) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const std::string plugin = int4_fields().plugin;
    if (layout.set_namespace) layout.set_namespace(plugin, "mine");
    EXPECT_EQ(created(layout, int4_fields())->clone()->plugin_namespace(),
              layout.set_namespace ? "mine" : "");
    if (layout.set_namespace) layout.set_namespace(plugin, "");
  }
}

TEST(ImpossibleFieldsGiveNoPluginAndSayWhich) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    EXPECT_TRUE(layout.create(int4_fields().with("gemm_n", 6)) == nullptr);
    EXPECT_LAST_ERROR("createPlugin: field gemm_n = 6; positive multiples of 4 are allowed");
  }
}

TEST(MoreChannelsThanKernelsAddressAreRefusedAtCreation) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const int32_t k = 2147483584;  // a multiple of 64
    EXPECT_TRUE(layout.create(int4_fields().with("gemm_k", k)) == nullptr);
    EXPECT_LAST_ERROR("2147483584");
  }
}

TEST(OutputShapeKeepsTheExpressionsOfX) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout, int4_fields());
    EXPECT_TRUE(plugin->output_shapes({3, 2, 2}) == std::vector<std::string>{"in0[0] in0[1] 8"});
    EXPECT_TRUE(plugin->output_shapes({2, 2, 2}).empty());
    EXPECT_LAST_ERROR("GEMMInput has rank 2; [B, S, K] is required");
  }
}

TEST(OneTypeAndFormatPerPositionWhateverComesLater) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout, int4_fields());
    for (int position = 0; position < 4; ++position) {
      Tensors t = int4_tensors(1, 1);
      for (int later = position + 1; later < 4; ++later) t[later].type = abi::DataType::kBool;
      for (int type = 0; type < 10; ++type) {
        for (int format = 0; format <= 12; ++format) {
          t[position].type = static_cast<abi::DataType>(type);
          t[position].format = static_cast<abi::TensorFormat>(format);
          const bool expected = format == 0 && type == (position == 1 ? 2 : 1);
          EXPECT_EQ(plugin->supports(position, t), expected);
        }
      }
    }
    EXPECT_FALSE(plugin->supports(-1, int4_tensors(1, 1)));
    EXPECT_FALSE(plugin->supports(4, int4_tensors(1, 1)));
  }
}

TEST(EachWrongTensorIsRefusedByNameAndNothingIsLaunched) {
  struct Case {
    std::function<void(Tensors&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {[](Tensors& t) { t[0].shape = {6, 192}; }, "GEMMInput has shape [6, 192]; [B, S, K] is"},
      {[](Tensors& t) { t[0].shape[2] = 128; }, "[2, 3, 192] is required by gemm_n = 8"},
      {[](Tensors& t) { t[0].shape[0] = -1; }, "[-1, 3, 192]; B * S must be in 0..2147483647"},
      {[](Tensors& t) { t[0].shape[0] = 1 << 30; }, "B * S must be in 0..2147483647"},
      {[](Tensors& t) { t[0].type = abi::DataType::kFloat; }, "GEMMInput has data type 0"},
      {[](Tensors& t) { t[1].shape = {8, 192}; }, "Int4Weights has shape [8, 192]; [4, 192] is"},
      {[](Tensors& t) { t[1].type = abi::DataType::kHalf; }, "linear INT8 is required"},
      {[](Tensors& t) { t[2].shape = {1, 8}; }, "ScalingFactors has shape [1, 8]; [2, 8] is"},
      {[](Tensors& t) { t[2].format = abi::TensorFormat(4); }, "linear FP16 is required"},
      {[](Tensors& t) { t[3].shape = {3, 2, 8}; }, "output has shape [3, 2, 8]; [2, 3, 8] is"},
      {[](Tensors& t) { t[3].shape = {2, 3, 8, 1}; }, "output has shape [2, 3, 8, 1]"},
  };
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, int4_fields());
    const int launches = driver_calls("cuLaunchKernelEx");
    for (const Case& c : cases) {
      Tensors t = int4_tensors(2, 3);
      c.spoil(t);
      EXPECT_NE(plugin->enqueue(t, int4_pointers()), 0);
      EXPECT_LAST_ERROR(std::string("enqueue: "));
      EXPECT_LAST_ERROR(c.message);
      plugin->configure(t);
      EXPECT_LAST_ERROR(std::string("configurePlugin: "));
      EXPECT_LAST_ERROR(c.message);
    }
    EXPECT_EQ(driver_calls("cuLaunchKernelEx"), launches);
  }
}

TEST(NullAndUnalignedPointersAreRefusedByName) {
  struct Case {
    std::function<void(Pointers&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {[](Pointers& p) { p.inputs[0] = nullptr; }, "GEMMInput is a null pointer"},
      {[](Pointers& p) { p.inputs[1] = nullptr; }, "Int4Weights is a null pointer"},
      {[](Pointers& p) { p.inputs[2] = nullptr; }, "ScalingFactors is a null pointer"},
      {[](Pointers& p) { p.outputs[0] = nullptr; }, "output is a null pointer"},
      {[](Pointers& p) { p.inputs[0] = reinterpret_cast<void*>(0x1000008); },
       "GEMMInput is at 0x1000008; a multiple of 16 bytes is required"},
  };
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, int4_fields());
    const int launches = driver_calls("cuLaunchKernelEx");
    for (const Case& c : cases) {
      Pointers pointers = int4_pointers();
      c.spoil(pointers);
      EXPECT_NE(plugin->enqueue(int4_tensors(2, 3), pointers), 0);
      EXPECT_LAST_ERROR(c.message);
    }
    EXPECT_EQ(driver_calls("cuLaunchKernelEx"), launches);
  }
}

TEST(SplitPlanWithoutWorkspaceIsRefused) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, int4_fields().with("gemm_k", kSplitK));
    const Tensors t = split_int4_tensors();
    EXPECT_GT(plugin->workspace(t), 0u);
    Pointers pointers = int4_pointers();
    EXPECT_EQ(refusal(*plugin, t, pointers), "");
    pointers.workspace = nullptr;
    EXPECT_NE(plugin->enqueue(t, pointers), 0);
    EXPECT_LAST_ERROR("workspace is a null pointer");
  }
}

// What makes enqueue graph-capturable: it allocates, loads and waits for nothing.
TEST(EnqueuePutsLaunchesOnItsStreamAndCallsNothingElse) {
  const std::string launch = "cuLaunchKernelEx on stream 4711\n";
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, int4_fields());
    for (int64_t rows : {1, 9, 65}) {
      const Tensors t = int4_tensors(1, rows);
      EXPECT_EQ(driver_calls_of_enqueue(*plugin, t, int4_pointers(), 4711), launch);
    }
    const auto split = attached(layout, int4_fields().with("gemm_k", kSplitK));
    EXPECT_EQ(driver_calls_of_enqueue(*split, split_int4_tensors(), int4_pointers(), 4711),
              launch + launch);
  }
}

TEST(ZeroRowsSucceedWithoutALaunch) {
  Pointers none(3, 1);
  none.inputs = {nullptr, nullptr, nullptr};
  none.outputs = {nullptr};
  none.workspace = nullptr;
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, int4_fields());
    const int launches = driver_calls("cuLaunchKernelEx");
    EXPECT_EQ(refusal(*plugin, int4_tensors(0, 7), none), "");
    EXPECT_EQ(refusal(*plugin, int4_tensors(7, 0), none), "");
    EXPECT_EQ(driver_calls("cuLaunchKernelEx"), launches);
    EXPECT_EQ(refusal(*plugin, int4_tensors(1, 1), int4_pointers()), "");
    EXPECT_GT(driver_calls("cuLaunchKernelEx"), launches);
  }
}

TEST(CloneOfAnAttachedPluginOutlivesItAndLoadsNothing) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    auto plugin = attached(layout, int4_fields());
    const int loads = driver_calls("cuLibraryLoadData");
    const auto clone = plugin->clone();
    plugin.reset();
    EXPECT_EQ(refusal(*clone, int4_tensors(1, 5), int4_pointers()), "");
    EXPECT_EQ(driver_calls("cuLibraryLoadData"), loads);
  }
}

TEST(RestoredPluginHasTheFieldsOfTheStoredOne) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout, int4_fields())->stored_and_restored();
    ASSERT_TRUE(plugin != nullptr);
    EXPECT_EQ(plugin->version(), layout.version);
    use_fake_driver();
    ASSERT_TRUE(plugin->attach());
    EXPECT_EQ(refusal(*plugin, int4_tensors(2, 3), int4_pointers()), "");
  }
}

TEST(CorruptedEngineDataGivesNoPluginAndAsksToRebuild) {
  std::vector<char> data = v2_engine_data(kLibrary, int4_fields());
  data[20] ^= 1;
  EXPECT_TRUE(v2_deserialize(kLibrary, int4_fields().plugin, data) == nullptr);
  EXPECT_LAST_ERROR("rebuild the engine with this library");
  data[20] ^= 1;
  data.pop_back();
  EXPECT_TRUE(v2_deserialize(kLibrary, int4_fields().plugin, data) == nullptr);
  EXPECT_LAST_ERROR("rebuild the engine with this library");
}

TEST(UnknownSmIsRefusedWithTheSmsOfTheBuild) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    use_fake_driver();
    const auto plugin = created(layout, int4_fields());
    set_sm(75);
    EXPECT_FALSE(plugin->attach());
    set_sm(80);
    EXPECT_LAST_ERROR("SM75 is not supported by this build");
    EXPECT_LAST_ERROR("it has SM 80");
  }
}

TEST(EightThreadsCreateCloneAndEnqueueAtOnce) {
  use_fake_driver();
  const auto work = [](int thread) {
    for (const Interface& layout : all_interfaces(kLibrary)) {
      for (int round = 0; round < 20; ++round) {
        auto plugin = created(layout, int4_fields());
        EXPECT_TRUE(plugin->attach());
        const auto clone = plugin->clone();
        plugin.reset();
        EXPECT_EQ(refusal(*clone, int4_tensors(1 + thread, 1 + round), int4_pointers()), "");
        EXPECT_NE(clone->enqueue(int4_tensors(-1, thread), int4_pointers()), 0);
        EXPECT_LAST_ERROR("GEMMInput has shape [-1, " + std::to_string(thread) + ", 192]");
      }
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
}

TEST(PlanIsTextAndNeedsRoomForIt) {
  const auto variant = symbol<int (*)(int64_t, int64_t, int64_t, int, int, char*, int64_t)>(
      kLibrary, "edge_llm_plugins_int4_gemm_variant");
  char text[64];
  EXPECT_EQ(variant(1, 8, 192, 80, 108, text, sizeof(text)), 0);
  EXPECT_EQ(std::string(text).substr(0, 10), "int4_gemv_");
  EXPECT_NE(std::string(text).find(" splits="), std::string::npos);
  const int64_t length = static_cast<int64_t>(std::string(text).size());
  EXPECT_EQ(variant(1, 8, 192, 80, 108, text, length + 1), 0);
  EXPECT_NE(variant(1, 8, 192, 80, 108, text, length), 0);
  EXPECT_LAST_ERROR("are needed");
  EXPECT_EQ(variant(0, 8, 192, 80, 108, text, 1), 0);
  EXPECT_NE(variant(1, 6, 192, 80, 108, text, sizeof(text)), 0);
}

TEST(AttentionPlanIsTextAndNeedsRoomForIt) {
  const auto variant =
      symbol<int (*)(int, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int, int, char*,
                     int64_t)>(kLibrary, "edge_llm_plugins_attention_variant");
  char text[64];
  const auto plan = [&](int mode, int64_t q_len, int64_t head_size, int64_t size) {
    return variant(mode, 1, q_len, 8, 2, head_size, 4096, 80, 108, text, size);
  };
  EXPECT_EQ(plan(0, 512, 64, sizeof(text)), 0);
  EXPECT_EQ(std::string(text).substr(0, 22), "attention_prefill_f16_");
  EXPECT_EQ(plan(2, 1, 64, sizeof(text)), 0);
  EXPECT_EQ(std::string(text).substr(0, 29), "attention_decode_f16_d64_m16 ");
  EXPECT_NE(std::string(text).find(" splits="), std::string::npos);
  EXPECT_EQ(plan(3, 60, 128, sizeof(text)), 0);
  EXPECT_EQ(std::string(text).substr(0, 29), "attention_decode_f16_d128_m64");
  const int64_t length = static_cast<int64_t>(std::string(text).size());
  EXPECT_EQ(plan(3, 60, 128, length + 1), 0);
  EXPECT_NE(plan(3, 60, 128, length), 0);
  EXPECT_LAST_ERROR("are needed");
  EXPECT_EQ(plan(1, 0, 64, 1), 0);
  EXPECT_NE(plan(4, 1, 64, sizeof(text)), 0);
  EXPECT_LAST_ERROR("mode is 4; 0 to 3 are allowed");
  EXPECT_NE(plan(2, 1, 60, sizeof(text)), 0);
}

TEST(RegisteringWithoutTensorRtSaysSo) {
  EXPECT_NE(symbol<int (*)()>(kLibrary, "edge_llm_plugins_register")(), 0);
  EXPECT_LAST_ERROR("no TensorRT is loaded in this process");
}

}  // namespace edge_llm::testing
