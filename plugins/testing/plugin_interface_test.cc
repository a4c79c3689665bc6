// The conduct of the plugins in every layout that the library serves. The driver is a fake one that
// counts its calls: arithmetic is tested on the emulator.
#include <cstdlib>
#include <thread>

#include "plugins/testing/plugin_driver.h"
#include "tools/testing/testing.h"

namespace edge_llm::testing {
namespace {

constexpr char kLibrary[] = "plugins/libedge_llm_plugins_ptx.so";
constexpr char kFakeDriver[] = "plugins/testing/libfake_cuda_driver.so";

std::string last_error() {
  return symbol<const char* (*)()>(kLibrary, "edge_llm_plugins_last_error")();
}

int driver_calls(const char* function) {
  return symbol<int (*)(const char*)>(kFakeDriver, "fake_driver_calls")(function);
}

void set_sm(int sm) { symbol<void (*)(int)>(kFakeDriver, "fake_driver_set_sm")(sm); }

void use_fake_driver() {
  const auto set = symbol<int (*)(const char*)>(kLibrary, "edge_llm_plugins_set_cuda_driver");
  ASSERT_EQ(set(kFakeDriver), 0);
}

// Empty when the last error contains `part`; so a failure shows the message that came instead.
std::string unlike_last_error(const std::string& part) {
  const std::string error = last_error();
  return error.find(part) != std::string::npos ? "" : "'" + error + "' lacks '" + part + "'";
}

#define EXPECT_LAST_ERROR(part) EXPECT_EQ(unlike_last_error(part), "")

std::unique_ptr<Plugin> created(const Interface& layout) {
  auto plugin = layout.create(Fields());
  if (plugin == nullptr) throw std::runtime_error(layout.name + ": " + last_error());
  return plugin;
}

std::unique_ptr<Plugin> attached(const Interface& layout) {
  use_fake_driver();
  auto plugin = created(layout);
  if (!plugin->attach()) throw std::runtime_error(layout.name + ": " + last_error());
  return plugin;
}

}  // namespace

// Stays the first test: the driver of a process is chosen once.
TEST(BuildingNeedsNoDriverAndAttachingNamesTheMissingOne) {
  setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout);
    const std::string before = last_error();
    plugin->configure(tensors(2, 3));
    plugin->workspace(tensors(2, 3));
    EXPECT_EQ(last_error(), before);
    EXPECT_FALSE(plugin->attach());
    EXPECT_LAST_ERROR("no CUDA driver: /nowhere/libcuda.so.1");
    EXPECT_NE(plugin->enqueue(tensors(1, 1), {}), 0);
    EXPECT_LAST_ERROR("enqueue before initialize() or attachToContext()");
  }
}

TEST(NamesVersionsAndOutputsAreThoseOfTheContract) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto clone = created(layout)->clone();
    EXPECT_EQ(clone->name(), "Int4GroupwiseGemmPlugin");
    EXPECT_EQ(clone->version(), layout.version);
    EXPECT_EQ(clone->outputs(), 1);
    EXPECT_EQ(clone->output_type(), abi::DataType::kHalf);
  }
}

TEST(ClonesKeepTheNamespaceOfTheirCreator) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    if (layout.set_namespace) layout.set_namespace("mine");
    EXPECT_EQ(created(layout)->clone()->plugin_namespace(), layout.set_namespace ? "mine" : "");
    if (layout.set_namespace) layout.set_namespace("");
  }
}

TEST(ImpossibleFieldsGiveNoPluginAndSayWhich) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    Fields fields;
    fields.n = 6;
    EXPECT_TRUE(layout.create(fields) == nullptr);
    EXPECT_LAST_ERROR("createPlugin: field gemm_n = 6; positive multiples of 4 are allowed");
  }
}

TEST(MoreChannelsThanKernelsAddressAreRefusedAtCreation) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    Fields fields;
    fields.k = 2147483584;  // a multiple of 64
    EXPECT_TRUE(layout.create(fields) == nullptr);
    EXPECT_LAST_ERROR("2147483584");
  }
}

TEST(OutputShapeKeepsTheExpressionsOfX) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout);
    EXPECT_TRUE(plugin->output_shape(3) == std::vector<int64_t>({0, 1, 8}));
    EXPECT_TRUE(plugin->output_shape(2).empty());
    EXPECT_LAST_ERROR("GEMMInput has rank 2; [B, S, K] is required");
  }
}

TEST(OneTypeAndFormatPerPositionWhateverComesLater) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout);
    for (int position = 0; position < 4; ++position) {
      Tensors t = tensors(1, 1);
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
    EXPECT_FALSE(plugin->supports(-1, tensors(1, 1)));
    EXPECT_FALSE(plugin->supports(4, tensors(1, 1)));
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
    const auto plugin = attached(layout);
    const int launches = driver_calls("cuLaunchKernel");
    for (const Case& c : cases) {
      Tensors t = tensors(2, 3);
      c.spoil(t);
      EXPECT_NE(plugin->enqueue(t, {}), 0);
      EXPECT_LAST_ERROR(std::string("enqueue: "));
      EXPECT_LAST_ERROR(c.message);
      plugin->configure(t);
      EXPECT_LAST_ERROR(std::string("configurePlugin: "));
      EXPECT_LAST_ERROR(c.message);
    }
    EXPECT_EQ(driver_calls("cuLaunchKernel"), launches);
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
      {[](Pointers& p) { p.inputs[0] = reinterpret_cast<void*>(0x1008); },
       "GEMMInput is at 0x1008; a multiple of 16 bytes is required"},
  };
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout);
    const int launches = driver_calls("cuLaunchKernel");
    for (const Case& c : cases) {
      Pointers pointers;
      c.spoil(pointers);
      EXPECT_NE(plugin->enqueue(tensors(2, 3), pointers), 0);
      EXPECT_LAST_ERROR(c.message);
    }
    EXPECT_EQ(driver_calls("cuLaunchKernel"), launches);
  }
}

TEST(SplitPlanWithoutWorkspaceIsRefused) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    use_fake_driver();
    Fields fields;
    fields.k = 16384;  // one tile of a long k: every device splits it
    const auto plugin = layout.create(fields);
    ASSERT_TRUE(plugin != nullptr && plugin->attach());
    Tensors t{{{1, 1, 16384}}, {{4, 16384}, abi::DataType::kInt8}, {{128, 8}}, {{1, 1, 8}}};
    EXPECT_GT(plugin->workspace(t), 0u);
    Pointers pointers;
    EXPECT_EQ(plugin->enqueue(t, pointers), 0);
    pointers.workspace = nullptr;
    EXPECT_NE(plugin->enqueue(t, pointers), 0);
    EXPECT_LAST_ERROR("workspace is a null pointer");
  }
}

TEST(ZeroRowsSucceedWithoutALaunch) {
  const Pointers none{{nullptr, nullptr, nullptr}, {nullptr}, nullptr, nullptr};
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout);
    const int launches = driver_calls("cuLaunchKernel");
    EXPECT_EQ(plugin->enqueue(tensors(0, 7), none), 0);
    EXPECT_EQ(plugin->enqueue(tensors(7, 0), none), 0);
    EXPECT_EQ(driver_calls("cuLaunchKernel"), launches);
    EXPECT_EQ(plugin->enqueue(tensors(1, 1), {}), 0);
    EXPECT_GT(driver_calls("cuLaunchKernel"), launches);
  }
}

TEST(CloneOfAnAttachedPluginOutlivesItAndLoadsNothing) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    auto plugin = attached(layout);
    const int loads = driver_calls("cuLibraryLoadData");
    const auto clone = plugin->clone();
    plugin.reset();
    EXPECT_EQ(clone->enqueue(tensors(1, 5), {}), 0);
    EXPECT_EQ(driver_calls("cuLibraryLoadData"), loads);
  }
}

TEST(RestoredPluginHasTheFieldsOfTheStoredOne) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout)->stored_and_restored();
    ASSERT_TRUE(plugin != nullptr);
    EXPECT_EQ(plugin->version(), layout.version);
    use_fake_driver();
    ASSERT_TRUE(plugin->attach());
    EXPECT_EQ(plugin->enqueue(tensors(2, 3), {}), 0);
  }
}

TEST(CorruptedEngineDataGivesNoPluginAndAsksToRebuild) {
  std::vector<char> data = v2_engine_data(kLibrary);
  data[20] ^= 1;
  EXPECT_TRUE(v2_deserialize(kLibrary, data) == nullptr);
  EXPECT_LAST_ERROR("rebuild the engine with this library");
  data[20] ^= 1;
  data.pop_back();
  EXPECT_TRUE(v2_deserialize(kLibrary, data) == nullptr);
  EXPECT_LAST_ERROR("rebuild the engine with this library");
}

TEST(UnknownSmIsRefusedWithTheSmsOfTheBuild) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    use_fake_driver();
    const auto plugin = created(layout);
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
        auto plugin = created(layout);
        EXPECT_TRUE(plugin->attach());
        const auto clone = plugin->clone();
        plugin.reset();
        EXPECT_EQ(clone->enqueue(tensors(1 + thread, 1 + round), {}), 0);
        EXPECT_NE(clone->enqueue(tensors(-1, thread), {}), 0);
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

TEST(RegisteringWithoutTensorRtSaysSo) {
  EXPECT_NE(symbol<int (*)()>(kLibrary, "edge_llm_plugins_register")(), 0);
  EXPECT_LAST_ERROR("no TensorRT is loaded in this process");
}

}  // namespace edge_llm::testing
