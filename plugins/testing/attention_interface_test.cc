// The conduct of the attention plugin in every layout that the library serves, as far as it differs
// from that of the INT4 plugin, whose interfaces are made from the same templates. The driver is a
// fake one that counts its calls.
#include <cuda.h>

#include <functional>
#include <thread>

#include "plugins/testing/attention_call.h"
#include "plugins/testing/int4_call.h"
#include "plugins/testing/interface_fixture.h"

namespace edge_llm::testing {
namespace {

constexpr int kRowBytes = 2 * 2 * 2 * 16 * 64;  // of the cache

void* moved(const void* address, int64_t bytes) {
  return reinterpret_cast<void*>(reinterpret_cast<intptr_t>(address) + bytes);
}

// As tree_tensors, with slots enough to split the KV range: this takes a workspace.
Tensors split_tree_tensors(int64_t b, int64_t s, int64_t start_rows, int64_t positions) {
  Tensors t = tree_tensors(b, s, start_rows, positions);
  t[1].shape[3] = t[8].shape[3] = 1024;
  return t;
}

struct Copy {
  CUdeviceptr to = 0, from = 0;
  size_t bytes = 0;
};

Copy last_copy() {
  Copy copy;
  symbol<void (*)(CUdeviceptr*, CUdeviceptr*, size_t*)>(kFakeDriver, "fake_driver_last_copy")(
      &copy.to, &copy.from, &copy.bytes);
  return copy;
}

// Launches and copies so far: what a refused call must not add to.
int work() { return driver_calls("cuLaunchKernelEx") + driver_calls("cuMemcpyDtoDAsync"); }

}  // namespace

TEST(NamesVersionsAndOutputsAreThoseOfTheContract) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto clone = created(layout, attention_fields())->clone();
    EXPECT_EQ(clone->name(), "AttentionPlugin");
    EXPECT_EQ(clone->version(), layout.version);
    EXPECT_TRUE(clone->output_types(attention_tensors(1, 1, 0)) ==
                std::vector(2, abi::DataType::kHalf));
  }
}

TEST(CreatorsListEveryFieldForTheOnnxParser) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    EXPECT_TRUE(layout.field_names("AttentionPlugin") ==
                std::vector<std::string>({"num_q_heads", "num_kv_heads", "head_size",
                                          "enable_tree_attention", "alias_kv_cache"}));
  }
}

TEST(ImpossibleFieldsGiveNoPluginAndSayWhich) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    EXPECT_TRUE(layout.create(attention_fields().with("num_q_heads", 3)) == nullptr);
    EXPECT_LAST_ERROR("AttentionPlugin createPlugin: field num_q_heads = 3; 1 to 16 times");
    EXPECT_TRUE(layout.create(attention_fields().with("alias_kv_cache", 2)) == nullptr);
    EXPECT_LAST_ERROR("field alias_kv_cache = 2; 0 and 1 are allowed");
  }
}

TEST(HeadSizeWithoutAKernelIsRefusedAtCreationWithThoseThatHaveOne) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    EXPECT_TRUE(layout.create(attention_fields().with("head_size", 48)) == nullptr);
    EXPECT_LAST_ERROR("head_size");
    EXPECT_LAST_ERROR("48");
    EXPECT_LAST_ERROR("64");
    EXPECT_LAST_ERROR("128");
  }
}

TEST(UnknownFieldsAreTolerated) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    EXPECT_TRUE(layout.create(attention_fields().with("sliding_window", -1)) != nullptr);
  }
}

TEST(OutputShapesKeepTheExpressionsOfTheInputs) {
  const std::vector<std::string> expected = {"in0[0] in0[1] 4 64",
                                             "in1[0] in1[1] in1[2] in1[3] in1[4]"};
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto five = created(layout, attention_fields());
    const auto seven = created(layout, attention_fields(true));
    for (int qkv_rank : {3, 4}) {
      EXPECT_TRUE(five->output_shapes({qkv_rank, 5, 1, 3, 1}) == expected);
      EXPECT_TRUE(seven->output_shapes({qkv_rank, 5, 1, 3, 1, 3, 2}) == expected);
    }
    EXPECT_TRUE(five->output_shapes({2, 5, 1, 3, 1}).empty());
    EXPECT_LAST_ERROR("PackedQKV has rank 2; [B, S, H * D] or [B, S, H, D] is required");
    EXPECT_TRUE(five->output_shapes({3, 4, 1, 3, 1}).empty());
    EXPECT_LAST_ERROR("KVCache has rank 4; [B, 2, Hkv, Cap, D] is required");
  }
}

TEST(FiveInputsAndSevenBelongToTheTreeFlag) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto five = created(layout, attention_fields());
    const auto seven = created(layout, attention_fields(true));
    EXPECT_TRUE(five->output_shapes({3, 5, 1, 3, 1, 3, 2}).empty());
    EXPECT_LAST_ERROR("7 inputs and 2 outputs; the inputs are 5 (PackedQKV, KVCache, ");
    EXPECT_TRUE(seven->output_shapes({3, 5, 1, 3, 1}).empty());
    EXPECT_LAST_ERROR("5 inputs and 2 outputs; the inputs are 7 (PackedQKV, KVCache, ");
    EXPECT_TRUE(seven->output_shapes({3, 5, 1, 3, 1, 3}).empty());
    EXPECT_FALSE(five->supports(0, tree_tensors(1, 1, 1, 1)));
    EXPECT_FALSE(seven->supports(0, attention_tensors(1, 1, 1)));
  }
}

TEST(OneTypeAndFormatPerPositionWhateverComesLater) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    for (bool tree : {false, true}) {
      const auto plugin = created(layout, attention_fields(tree));
      const Tensors right = tree ? tree_tensors(1, 1, 1, 1) : attention_tensors(1, 1, 1);
      for (size_t position = 0; position < right.size(); ++position) {
        Tensors t = right;
        for (size_t later = position + 1; later < t.size(); ++later) {
          t[later].type = abi::DataType::kBool;
        }
        for (int type = 0; type < 10; ++type) {
          for (int format = 0; format <= 12; ++format) {
            t[position].type = static_cast<abi::DataType>(type);
            t[position].format = static_cast<abi::TensorFormat>(format);
            const bool expected = format == 0 && t[position].type == right[position].type;
            EXPECT_EQ(plugin->supports(static_cast<int>(position), t), expected);
          }
        }
      }
      EXPECT_FALSE(plugin->supports(-1, right));
      EXPECT_FALSE(plugin->supports(static_cast<int>(right.size()), right));
    }
  }
}

TEST(EveryRowOfTheModeTableLaunches) {
  struct Case {
    bool tree;
    Tensors tensors;
  };
  const Case cases[] = {
      {false, attention_tensors(2, 5, 0)}, {false, attention_tensors(2, 5, 2)},
      {false, attention_tensors(2, 1, 2)}, {true, tree_tensors(2, 5, 0, 1)},
      {true, tree_tensors(2, 5, 2, 1)},    {true, tree_tensors(2, 5, 2, 5)},
      {true, tree_tensors(2, 1, 2, 1)},
  };
  for (const Interface& layout : all_interfaces(kLibrary)) {
    for (const Case& c : cases) {
      const auto plugin = attached(layout, attention_fields(c.tree));
      const int before = work();
      EXPECT_EQ(refusal(*plugin, c.tensors, attention_pointers(c.tree)), "");
      EXPECT_GT(work(), before);
    }
  }
}

TEST(ImpossibleShapesAreRefusedAndNothingIsWritten) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, attention_fields(true));
    Pointers pointers = attention_pointers(true);
    pointers.outputs[1] = moved(pointers.inputs[1], 1 << 20);  // a copy would be due
    const int before = work();
    EXPECT_NE(plugin->enqueue(tree_tensors(2, 5, 2, 3), pointers), 0);
    EXPECT_LAST_ERROR("enqueue: AttentionPosIds has shape [2, 3]; [2, 5] (tree decode) or [2, 1]");
    EXPECT_NE(plugin->enqueue(tree_tensors(2, 129, 2, 129), pointers), 0);
    EXPECT_LAST_ERROR("enqueue: a tree of 129 tokens; up to 128 are allowed");
    Tensors t = tree_tensors(2, 5, 2, 5);
    t[3].type = abi::DataType::kHalf;
    EXPECT_NE(plugin->enqueue(t, pointers), 0);
    EXPECT_LAST_ERROR("enqueue: RopeCosSin has data type 1 and format 0; linear FP32 is required");
    EXPECT_EQ(work(), before);
  }
}

TEST(NullAndUnalignedPointersAreRefusedByName) {
  struct Case {
    std::function<void(Pointers&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {[](Pointers& p) { p.inputs[0] = nullptr; }, "PackedQKV is a null pointer"},
      {[](Pointers& p) { p.inputs[1] = nullptr; }, "KVCache is a null pointer"},
      {[](Pointers& p) { p.inputs[2] = nullptr; }, "ContextLengths is a null pointer"},
      {[](Pointers& p) { p.inputs[3] = nullptr; }, "RopeCosSin is a null pointer"},
      {[](Pointers& p) { p.inputs[4] = nullptr; }, "KVCacheStartIndex is a null pointer"},
      {[](Pointers& p) { p.inputs[5] = nullptr; }, "AttentionMask is a null pointer"},
      {[](Pointers& p) { p.inputs[6] = nullptr; }, "AttentionPosIds is a null pointer"},
      {[](Pointers& p) { p.outputs[0] = nullptr; }, "AttentionOutput is a null pointer"},
      {[](Pointers& p) { p.outputs[1] = nullptr; }, "output KVCache is a null pointer"},
      {[](Pointers& p) { p.workspace = nullptr; }, "workspace is a null pointer"},
      {[](Pointers& p) { p.inputs[0] = reinterpret_cast<void*>(0x1008); },
       "PackedQKV is at 0x1008; a multiple of 16 bytes is required"},
      {[](Pointers& p) { p.inputs[3] = reinterpret_cast<void*>(0x1008); },
       "RopeCosSin is at 0x1008; a multiple of 16 bytes is required"},
      {[](Pointers& p) { p.inputs[2] = reinterpret_cast<void*>(0x1002); },
       "ContextLengths is at 0x1002; a multiple of 4 bytes is required"},
  };
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, attention_fields(true));
    const int before = work();
    for (const Case& c : cases) {
      Pointers pointers = attention_pointers(true);
      c.spoil(pointers);
      EXPECT_NE(plugin->enqueue(split_tree_tensors(2, 5, 2, 5), pointers), 0);
      EXPECT_LAST_ERROR(c.message);
    }
    EXPECT_EQ(work(), before);
  }
}

TEST(InputsThatAModeDoesNotReadMayBeNull) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, attention_fields(true));
    Pointers pointers = attention_pointers(true);
    pointers.inputs[5] = pointers.inputs[6] = nullptr;
    EXPECT_EQ(refusal(*plugin, tree_tensors(2, 5, 2, 1), pointers), "");
    pointers.inputs[4] = nullptr;
    EXPECT_EQ(refusal(*plugin, tree_tensors(2, 5, 0, 1), pointers), "");
  }
}

TEST(OneCacheIsNotCopiedAndTwoAreCopiedWhole) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, attention_fields());
    Pointers pointers = attention_pointers();
    const int copies = driver_calls("cuMemcpyDtoDAsync");
    EXPECT_EQ(refusal(*plugin, attention_tensors(3, 1, 3), pointers), "");
    EXPECT_EQ(driver_calls("cuMemcpyDtoDAsync"), copies);
    pointers.outputs[1] = moved(pointers.inputs[1], 3 * kRowBytes);  // they touch
    EXPECT_EQ(refusal(*plugin, attention_tensors(3, 1, 3), pointers), "");
    EXPECT_EQ(driver_calls("cuMemcpyDtoDAsync"), copies + 1);
    EXPECT_EQ(last_copy().from, reinterpret_cast<CUdeviceptr>(pointers.inputs[1]));
    EXPECT_EQ(last_copy().to, reinterpret_cast<CUdeviceptr>(pointers.outputs[1]));
    EXPECT_EQ(last_copy().bytes, size_t{3 * kRowBytes});
  }
}

TEST(CachesThatOverlapInPartAreRefused) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, attention_fields());
    const int before = work();
    for (int64_t offset : {16, -16, 3 * kRowBytes - 16, 16 - 3 * kRowBytes}) {
      Pointers pointers = attention_pointers();
      pointers.outputs[1] = moved(pointers.inputs[1], offset);
      EXPECT_NE(plugin->enqueue(attention_tensors(3, 1, 3), pointers), 0);
      EXPECT_LAST_ERROR("share some of");
    }
    EXPECT_EQ(work(), before);
  }
}

TEST(CacheIsCopiedEvenForRowsWithoutTokens) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = attached(layout, attention_fields());
    Pointers pointers = attention_pointers();
    pointers.outputs[1] = moved(pointers.inputs[1], 1 << 20);
    pointers.inputs[0] = pointers.outputs[0] = pointers.workspace = nullptr;  // empty tensors
    const int launches = driver_calls("cuLaunchKernelEx");
    const int copies = driver_calls("cuMemcpyDtoDAsync");
    EXPECT_EQ(refusal(*plugin, attention_tensors(3, 0, 3), pointers), "");
    EXPECT_EQ(driver_calls("cuMemcpyDtoDAsync"), copies + 1);
    pointers.inputs[1] = pointers.outputs[1] = nullptr;
    EXPECT_EQ(refusal(*plugin, attention_tensors(0, 5, 0), pointers), "");
    EXPECT_EQ(driver_calls("cuMemcpyDtoDAsync"), copies + 1);
    EXPECT_EQ(driver_calls("cuLaunchKernelEx"), launches);
  }
}

TEST(AliasedCacheIsOfferedByV3AloneAndOnlyWhenAskedFor) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const bool v3 = layout.name.find("V3") == 0;
    const auto plain = created(layout, attention_fields());
    EXPECT_EQ(plain->build_edition(), v3 ? 1 : 0);
    const auto aliasing = created(layout, attention_fields().with("alias_kv_cache", 1));
    const auto restored = aliasing->clone()->stored_and_restored();
    for (Plugin* plugin : {aliasing.get(), restored.get()}) {
      EXPECT_EQ(plugin->build_edition(), v3 ? 2 : 0);
      EXPECT_EQ(plugin->aliased_input(0), -1);
      EXPECT_EQ(plugin->aliased_input(1), v3 ? 1 : -1);
    }
  }
}

TEST(WorkspaceSufficesForEveryShapeWithinTheMaximum) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout, attention_fields(true));
    const auto workspace = [&](int64_t b, int64_t s, int64_t positions) {
      return plugin->workspace(split_tree_tensors(b, s, b, positions));
    };
    const size_t largest = workspace(4, 200, 60);
    for (int64_t b : {1, 3, 4}) {
      for (int64_t s : {1, 33, 199}) {
        EXPECT_LE(workspace(b, s, 1), largest);
        EXPECT_GT(workspace(b, s, 1), 0u);
      }
    }
  }
}

TEST(MaximaOfAProfileWithChunksAndTreesAreConfiguredWithoutComplaint) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout, attention_fields(true));
    const std::string before = last_error();
    plugin->configure(tree_tensors(4, 200, 4, 60));
    EXPECT_EQ(last_error(), before);
    plugin->configure(tree_tensors(4, -1, 4, 60));
    EXPECT_LAST_ERROR("configurePlugin: PackedQKV has shape [4, -1, 512]");
  }
}

TEST(RestoredPluginHasTheFieldsOfTheStoredOne) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    use_fake_driver();
    const auto plugin = created(layout, attention_fields(true))->stored_and_restored();
    ASSERT_TRUE(plugin != nullptr && plugin->attach());
    EXPECT_EQ(plugin->version(), layout.version);
    EXPECT_EQ(refusal(*plugin, tree_tensors(2, 5, 2, 5), attention_pointers(true)), "");
  }
}

TEST(EngineDataOfTheOtherPluginIsRefused) {
  const auto attention = v2_engine_data(kLibrary, attention_fields());
  const auto int4 = v2_engine_data(kLibrary, int4_fields());
  EXPECT_TRUE(v2_deserialize(kLibrary, "AttentionPlugin", attention) != nullptr);
  EXPECT_TRUE(v2_deserialize(kLibrary, "AttentionPlugin", int4) == nullptr);
  EXPECT_LAST_ERROR("AttentionPlugin deserializePlugin: engine data of 28 bytes, 36 expected");
  EXPECT_TRUE(v2_deserialize(kLibrary, "Int4GroupwiseGemmPlugin", attention) == nullptr);
  EXPECT_LAST_ERROR("rebuild the engine with this library");
}

TEST(CloneOfAnAttachedPluginOutlivesItAndLoadsNothing) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    auto plugin = attached(layout, attention_fields());
    const int loads = driver_calls("cuLibraryLoadData");
    const auto clone = plugin->clone();
    plugin.reset();
    EXPECT_EQ(refusal(*clone, attention_tensors(1, 5, 0), attention_pointers()), "");
    EXPECT_EQ(driver_calls("cuLibraryLoadData"), loads);
  }
}

TEST(EnqueueBeforeAttachingIsRefused) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    const auto plugin = created(layout, attention_fields());
    EXPECT_NE(plugin->enqueue(attention_tensors(1, 5, 0), attention_pointers()), 0);
    EXPECT_LAST_ERROR("enqueue before initialize() or attachToContext()");
  }
}

TEST(UnknownSmIsRefusedWithTheSmsOfTheBuild) {
  for (const Interface& layout : all_interfaces(kLibrary)) {
    use_fake_driver();
    const auto plugin = created(layout, attention_fields());
    set_sm(75);
    EXPECT_FALSE(plugin->attach());
    set_sm(80);
    EXPECT_LAST_ERROR("SM75 is not supported by this build of attention_");
  }
}

TEST(EightThreadsCreateCloneAndEnqueueAtOnce) {
  use_fake_driver();
  const auto run = [](int thread) {
    for (const Interface& layout : all_interfaces(kLibrary)) {
      for (int round = 0; round < 10; ++round) {
        auto plugin = created(layout, attention_fields());
        EXPECT_TRUE(plugin->attach());
        const auto clone = plugin->clone();
        plugin.reset();
        const Tensors t = attention_tensors(1 + thread, 1 + round, 0);
        EXPECT_EQ(refusal(*clone, t, attention_pointers()), "");
        EXPECT_NE(clone->enqueue(attention_tensors(thread, 1, thread + 1), attention_pointers()),
                  0);
        EXPECT_LAST_ERROR("KVCacheStartIndex has shape [" + std::to_string(thread + 1) + "]");
      }
    }
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) threads.emplace_back(run, thread);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace edge_llm::testing
