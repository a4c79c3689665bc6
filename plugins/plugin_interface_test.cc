// Drives the plugin library as TensorRT does, in every layout that it serves: through the exported
// functions and the virtual slots, by their numbers. A wrong order of declarations shows here.
//
// The driver is the fake one: what is tested is the conduct of the plugin, not the arithmetic.
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "plugins/abi/plugin_v2.h"
#include "plugins/abi/plugin_v3.h"
#include "tools/testing/testing.h"

namespace edge_llm {
namespace {

using abi::DataType;
using abi::TensorFormat;

template <typename Function>
Function symbol(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_NOW);
  if (handle == nullptr) throw std::runtime_error(dlerror());
  void* address = dlsym(handle, name);
  if (address == nullptr) throw std::runtime_error(dlerror());
  return reinterpret_cast<Function>(address);
}

constexpr char kLibrary[] = "plugins/libedge_llm_plugins_ptx.so";
constexpr char kFakeDriver[] = "plugins/runtime/libfake_cuda_driver.so";

void use_fake_driver() {
  const auto set = symbol<int (*)(const char*)>(kLibrary, "edge_llm_plugins_set_cuda_driver");
  ASSERT_EQ(set(kFakeDriver), 0);
}

int driver_calls(const char* function) {
  return symbol<int (*)(const char*)>(kFakeDriver, "fake_driver_calls")(function);
}

void set_sm(int sm) { symbol<void (*)(int)>(kFakeDriver, "fake_driver_set_sm")(sm); }

std::string last_error() {
  return symbol<const char* (*)()>(kLibrary, "edge_llm_plugins_last_error")();
}

#define EXPECT_LAST_ERROR(part) \
  EXPECT_EQ(last_error().find(part) == std::string::npos ? last_error() : std::string(part), part)

void* creator(int major, int index) {
  int count = 0;
  void* const* creators =
      symbol<void* const* (*)(int, int*)>(kLibrary, "edge_llm_plugins_creators")(major, &count);
  return index < count ? creators[index] : nullptr;
}

template <typename Result, typename... Arguments>
Result call(void* object, int slot, Arguments... arguments) {
  void** slots = *static_cast<void***>(object);
  return reinterpret_cast<Result (*)(void*, Arguments...)>(slots[slot])(object, arguments...);
}

// The fields of a plugin with n = 8 and k = 192, so that there are two groups, one of them short.
struct Fields {
  int32_t n = 8, k = 192, group_size = 128;
  abi::PluginField list[3] = {{"gemm_n", &n, abi::PluginFieldType::kInt32, 1},
                              {"gemm_k", &k, abi::PluginFieldType::kInt32, 1},
                              {"group_size", &group_size, abi::PluginFieldType::kInt32, 1}};
  abi::PluginFieldCollection collection{3, list};
};

struct Tensor {
  std::vector<int64_t> shape;
  DataType type = DataType::kHalf;
  TensorFormat format = TensorFormat::kLinear;
};
using Tensors = std::vector<Tensor>;  // three inputs, one output

Tensors tensors(int64_t b, int64_t s) {
  return {{{b, s, 192}}, {{4, 192}, DataType::kInt8}, {{2, 8}}, {{b, s, 8}}};
}

template <typename Dims>
Dims dims_of(const std::vector<int64_t>& shape) {
  Dims dims{static_cast<int32_t>(shape.size()), {}};
  for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = shape[i];
  return dims;
}

template <typename Abi>
std::vector<typename Abi::PluginTensorDesc> descs_of(const Tensors& tensors) {
  std::vector<typename Abi::PluginTensorDesc> descs;
  for (const Tensor& t : tensors) {
    descs.push_back({dims_of<typename Abi::Dims>(t.shape), t.type, t.format, 1.0f});
  }
  return descs;
}

template <typename Abi>
std::vector<typename Abi::DynamicPluginTensorDesc> dynamic_descs_of(const Tensors& tensors) {
  std::vector<typename Abi::DynamicPluginTensorDesc> dynamic;
  for (const auto& desc : descs_of<Abi>(tensors)) {
    typename Abi::DynamicPluginTensorDesc d{};
    d.desc = desc;
    d.min = d.max = desc.dims;
    dynamic.push_back(d);
  }
  return dynamic;
}

// Addresses that the fake driver never looks at.
struct Pointers {
  const void* inputs[3] = {reinterpret_cast<void*>(0x1000), reinterpret_cast<void*>(0x2000),
                           reinterpret_cast<void*>(0x3000)};
  void* outputs[1] = {reinterpret_cast<void*>(0x4000)};
  void* workspace = reinterpret_cast<void*>(0x5000);
};

// Symbolic extents: each constant is remembered.
template <typename Abi>
struct Expressions : abi::ExprBuilderImpl<Abi> {
  using Expr = abi::DimensionExpr<Abi>;
  const Expr* constant(typename Abi::Extent value) override {
    constants.push_back(value);
    exprs.push_back(std::make_unique<Expr>(nullptr));
    return exprs.back().get();
  }
  const Expr* operation(abi::DimensionOperation, const Expr&, const Expr&) override {
    return nullptr;
  }
  std::vector<int64_t> constants;
  std::vector<std::unique_ptr<Expr>> exprs;
};

// An IPluginV2DynamicExt of one TensorRT major.
template <typename AbiOf>
struct V2 {
  using Abi = AbiOf;
  static constexpr char kVersion[] = "1";
  // Major 11 dropped two slots in the middle; the creator of major 8 begins with a version number.
  static constexpr int kShift = Abi::kMajor == 11 ? -2 : 0;
  static constexpr int kCreatorShift = Abi::kMajor == 8 ? -3 : 0;

  static void* make_creator() { return creator(Abi::kMajor, 0); }
  static V2 create(const Fields& fields) {
    return {call<void*>(make_creator(), 7 + kCreatorShift, "layer", &fields.collection)};
  }
  static V2 deserialize(const std::vector<char>& data) {
    return {call<void*>(make_creator(), 8 + kCreatorShift, "layer", data.data(), data.size())};
  }
  static std::string creator_name() { return call<const char*>(make_creator(), 4 + kCreatorShift); }

  std::string version() { return call<const char*>(object, 2); }
  std::string name() { return call<const char*>(object, 1); }
  int outputs() { return call<int32_t>(object, 3); }
  bool attach() { return call<int32_t>(object, 7) == 0; }
  void destroy() { call<void>(object, 13); }
  V2 clone() { return {call<void*>(object, 14)}; }
  abi::DimsExprs<Abi> output_shape(const std::vector<abi::DimsExprs<Abi>>& inputs,
                                   abi::ExprBuilder<Abi>* builder) {
    return call<abi::DimsExprs<Abi>>(object, 25 + kShift, 0, inputs.data(),
                                     static_cast<int32_t>(inputs.size()), builder);
  }
  bool supports(int position, const Tensors& tensors) {
    return call<bool>(object, 26 + kShift, position, descs_of<Abi>(tensors).data(), 3, 1);
  }
  bool configure(const Tensors& tensors) {
    const std::string before = last_error();
    const auto d = dynamic_descs_of<Abi>(tensors);
    call<void>(object, 27 + kShift, &d[0], 3, &d[3], 1);
    return last_error() == before;
  }
  size_t workspace(const Tensors& tensors) {
    const auto d = descs_of<Abi>(tensors);
    return call<size_t>(object, 28 + kShift, &d[0], 3, &d[3], 1);
  }
  int enqueue(const Tensors& tensors, const Pointers& p) {
    const auto d = descs_of<Abi>(tensors);
    return call<int32_t>(object, 29 + kShift, &d[0], &d[3], p.inputs, p.outputs, p.workspace,
                         nullptr);
  }

  void* object;
};

// An IPluginV3 with its three capabilities.
struct V3 {
  using Abi = abi::v10;
  static constexpr char kVersion[] = "2";

  static V3 create(const Fields& fields) {
    return {call<void*>(creator(10, 1), 4, "layer", &fields.collection, 0)};
  }
  static std::string creator_name() { return call<const char*>(creator(10, 1), 6); }

  void* core() { return call<void*>(object, 4, 0); }
  void* build() { return call<void*>(object, 4, 1); }
  void* runtime() { return call<void*>(object, 4, 2); }

  std::string name() { return call<const char*>(core(), 4); }
  std::string version() { return call<const char*>(core(), 5); }
  int outputs() { return call<int32_t>(build(), 8); }
  bool attach() {
    void* attached = call<void*>(runtime(), 7, nullptr);
    if (attached == nullptr) return false;
    destroy();
    object = attached;
    return true;
  }
  void destroy() { call<void>(object, 3); }  // the deleting destructor
  V3 clone() { return {call<void*>(object, 5)}; }
  abi::DimsExprs<Abi> output_shape(const std::vector<abi::DimsExprs<Abi>>& inputs,
                                   abi::ExprBuilder<Abi>* builder) {
    abi::DimsExprs<Abi> shape{-1, {}};
    call<int32_t>(build(), 6, inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0,
                  &shape, 1, builder);
    return shape;
  }
  bool supports(int position, const Tensors& tensors) {
    return call<bool>(build(), 7, position, dynamic_descs_of<Abi>(tensors).data(), 3, 1);
  }
  bool configure(const Tensors& tensors) {
    const auto d = dynamic_descs_of<Abi>(tensors);
    return call<int32_t>(build(), 4, &d[0], 3, &d[3], 1) == 0;
  }
  size_t workspace(const Tensors& tensors) {
    const auto d = dynamic_descs_of<Abi>(tensors);
    return call<size_t>(build(), 9, &d[0], 3, &d[3], 1);
  }
  int shape_change(const Tensors& tensors) {
    const auto d = descs_of<Abi>(tensors);
    return call<int32_t>(runtime(), 5, &d[0], 3, &d[3], 1);
  }
  int enqueue(const Tensors& tensors, const Pointers& p) {
    const auto d = descs_of<Abi>(tensors);
    return call<int32_t>(runtime(), 6, &d[0], &d[3], p.inputs, p.outputs, p.workspace, nullptr);
  }

  void* object;
};

// Runs the test in each layout.
#define TEST_EACH_INTERFACE(name)                        \
  template <typename Plugin>                             \
  void name();                                           \
  TEST(name##OnV2OfTensorRt8) { name<V2<abi::v8>>(); }   \
  TEST(name##OnV2OfTensorRt10) { name<V2<abi::v10>>(); } \
  TEST(name##OnV2OfTensorRt11) { name<V2<abi::v11>>(); } \
  TEST(name##OnV3) { name<V3>(); }                       \
  template <typename Plugin>                             \
  void name()

// First in this file: the driver of a process is chosen once.
TEST_EACH_INTERFACE(BuildingNeedsNoDriverAndAttachingNamesIt) {
  setenv("EDGE_LLM_PLUGINS_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
  Plugin plugin = Plugin::create({});
  ASSERT_TRUE(plugin.object != nullptr);
  EXPECT_TRUE(plugin.configure(tensors(2, 3)));
  EXPECT_GE(plugin.workspace(tensors(2, 3)), size_t{0});
  EXPECT_FALSE(plugin.attach());
  EXPECT_LAST_ERROR("no CUDA driver: /nowhere/libcuda.so.1");
  EXPECT_NE(plugin.enqueue(tensors(1, 1), {}), 0);
  EXPECT_LAST_ERROR("enqueue before initialize() or attachToContext()");
  plugin.destroy();
}

TEST_EACH_INTERFACE(NamesAndVersions) {
  Plugin plugin = Plugin::create({});
  EXPECT_EQ(Plugin::creator_name(), "Int4GroupwiseGemmPlugin");
  EXPECT_EQ(plugin.name(), "Int4GroupwiseGemmPlugin");
  EXPECT_EQ(plugin.version(), Plugin::kVersion);
  EXPECT_EQ(plugin.outputs(), 1);
  plugin.destroy();
}

TEST_EACH_INTERFACE(ImpossibleFieldGivesNoPluginAndSaysWhich) {
  Fields fields;
  fields.n = 6;
  EXPECT_TRUE(Plugin::create(fields).object == nullptr);
  EXPECT_LAST_ERROR("field gemm_n = 6; positive multiples of 4 are allowed");
}

TEST_EACH_INTERFACE(OutputShapeKeepsTheExpressionsOfX) {
  using Abi = typename Plugin::Abi;
  Expressions<Abi> expressions;
  abi::ExprBuilder<Abi> builder(&expressions);
  const abi::DimensionExpr<Abi> b(nullptr), s(nullptr), other(nullptr);
  Plugin plugin = Plugin::create({});
  const auto shape = plugin.output_shape(
      {{3, {&b, &s, &other}}, {2, {&other, &other}}, {2, {&other, &other}}}, &builder);
  ASSERT_EQ(shape.nbDims, 3);
  EXPECT_TRUE(shape.d[0] == &b && shape.d[1] == &s);
  ASSERT_EQ(expressions.constants.size(), 1u);
  EXPECT_EQ(expressions.constants[0], 8);
  EXPECT_TRUE(shape.d[2] == expressions.exprs[0].get());

  const auto refused = plugin.output_shape(
      {{2, {&b, &other}}, {2, {&other, &other}}, {2, {&other, &other}}}, &builder);
  EXPECT_EQ(refused.nbDims, -1);
  EXPECT_LAST_ERROR("GEMMInput has rank 2; [B, S, K] is required");
  plugin.destroy();
}

TEST_EACH_INTERFACE(OneTypeAndFormatPerPositionWhateverComesLater) {
  Plugin plugin = Plugin::create({});
  for (int position = 0; position < 4; ++position) {
    for (int type = 0; type < 10; ++type) {
      for (int format = 0; format <= 12; ++format) {
        Tensors t = tensors(1, 1);
        for (int later = position + 1; later < 4; ++later) t[later].type = DataType::kBool;
        t[position].type = static_cast<DataType>(type);
        t[position].format = static_cast<TensorFormat>(format);
        const bool expected = format == 0 && type == (position == 1 ? 2 : 1);
        EXPECT_EQ(plugin.supports(position, t), expected);
      }
    }
  }
  plugin.destroy();
}

TEST_EACH_INTERFACE(EachWrongTensorIsRefusedByNameAndNothingIsLaunched) {
  use_fake_driver();
  Plugin plugin = Plugin::create({});
  ASSERT_TRUE(plugin.attach());
  const int launches = driver_calls("cuLaunchKernel");
  const auto refused = [&](std::function<void(Tensors&)> spoil, const char* message) {
    Tensors t = tensors(2, 3);
    spoil(t);
    EXPECT_NE(plugin.enqueue(t, {}), 0);
    EXPECT_LAST_ERROR(message);
    EXPECT_FALSE(plugin.configure(t));
  };
  refused([](Tensors& t) { t[0].shape = {6, 192}; }, "GEMMInput has shape [6, 192]");
  refused([](Tensors& t) { t[0].shape[2] = 128; }, "[2, 3, 192] is required by gemm_n = 8");
  refused([](Tensors& t) { t[0].shape[0] = -1; }, "B * S must be in 0..2147483647");
  refused([](Tensors& t) { t[0].type = DataType::kFloat; }, "GEMMInput has data type 0");
  refused([](Tensors& t) { t[1].shape = {8, 192}; }, "Int4Weights has shape [8, 192]; [4, 192]");
  refused([](Tensors& t) { t[1].type = DataType::kHalf; }, "linear INT8 is required");
  refused([](Tensors& t) { t[2].shape = {1, 8}; }, "ScalingFactors has shape [1, 8]; [2, 8]");
  refused([](Tensors& t) { t[2].format = TensorFormat(4); }, "linear FP16 is required");
  refused([](Tensors& t) { t[3].shape = {3, 2, 8}; }, "output has shape [3, 2, 8]; [2, 3, 8]");
  refused([](Tensors& t) { t[3].shape = {2, 3, 8, 1}; }, "output has shape [2, 3, 8, 1]");
  EXPECT_EQ(driver_calls("cuLaunchKernel"), launches);
  plugin.destroy();
}

TEST_EACH_INTERFACE(NullAndUnalignedPointersAreRefusedByName) {
  use_fake_driver();
  Plugin plugin = Plugin::create({});
  ASSERT_TRUE(plugin.attach());
  const int launches = driver_calls("cuLaunchKernel");
  const auto refused = [&](std::function<void(Pointers&)> spoil, const char* message) {
    Pointers pointers;
    spoil(pointers);
    EXPECT_NE(plugin.enqueue(tensors(2, 3), pointers), 0);
    EXPECT_LAST_ERROR(message);
  };
  refused([](Pointers& p) { p.inputs[0] = nullptr; }, "x is at");
  refused([](Pointers& p) { p.inputs[1] = nullptr; }, "weights is at");
  refused([](Pointers& p) { p.inputs[2] = nullptr; }, "scales is at");
  refused([](Pointers& p) { p.outputs[0] = nullptr; }, "y is at");
  refused([](Pointers& p) { p.inputs[0] = reinterpret_cast<void*>(0x1008); },
          "x is at 0x1008");
  EXPECT_EQ(driver_calls("cuLaunchKernel"), launches);
  plugin.destroy();
}

TEST_EACH_INTERFACE(ZeroRowsSucceedWithoutALaunch) {
  use_fake_driver();
  Plugin plugin = Plugin::create({});
  ASSERT_TRUE(plugin.attach());
  const int launches = driver_calls("cuLaunchKernel");
  const Pointers none{{nullptr, nullptr, nullptr}, {nullptr}, nullptr};
  EXPECT_EQ(plugin.enqueue(tensors(0, 7), none), 0);
  EXPECT_EQ(plugin.enqueue(tensors(7, 0), none), 0);
  EXPECT_EQ(driver_calls("cuLaunchKernel"), launches);
  EXPECT_EQ(plugin.enqueue(tensors(1, 1), {}), 0);
  EXPECT_GT(driver_calls("cuLaunchKernel"), launches);
  plugin.destroy();
}

TEST_EACH_INTERFACE(CloneOfAnAttachedPluginOutlivesIt) {
  use_fake_driver();
  Plugin plugin = Plugin::create({});
  ASSERT_TRUE(plugin.attach());
  Plugin clone = plugin.clone();
  plugin.destroy();
  const int loads = driver_calls("cuLibraryLoadData");
  EXPECT_EQ(clone.enqueue(tensors(1, 5), {}), 0);
  EXPECT_EQ(driver_calls("cuLibraryLoadData"), loads);
  clone.destroy();
}

TEST_EACH_INTERFACE(UnknownSmIsRefusedWithTheSmsOfTheBuild) {
  use_fake_driver();
  set_sm(75);
  Plugin plugin = Plugin::create({});
  EXPECT_FALSE(plugin.attach());
  set_sm(80);
  EXPECT_LAST_ERROR("SM75 is not supported by this build");
  EXPECT_LAST_ERROR("it has SM 80");
  plugin.destroy();
}

TEST_EACH_INTERFACE(EightThreadsCreateCloneAndEnqueueAtOnce) {
  use_fake_driver();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([thread] {
      for (int round = 0; round < 20; ++round) {
        Plugin plugin = Plugin::create({});
        EXPECT_TRUE(plugin.attach());
        Plugin clone = plugin.clone();
        EXPECT_EQ(clone.enqueue(tensors(1 + thread, 1 + round), {}), 0);
        EXPECT_NE(clone.enqueue(tensors(-1, thread), {}), 0);
        EXPECT_LAST_ERROR("GEMMInput has shape [-1, " + std::to_string(thread) + ", 192]");
        clone.destroy();
        plugin.destroy();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

template <typename Plugin>
void engine_data_round_trips() {
  Plugin plugin = Plugin::create({});
  const size_t size = call<size_t>(plugin.object, 11);
  std::vector<char> data(size + 8, 0x55);
  call<void>(plugin.object, 12, data.data());
  EXPECT_TRUE(std::all_of(data.begin() + size, data.end(), [](char c) { return c == 0x55; }));
  data.resize(size);

  Plugin restored = Plugin::deserialize(data);
  ASSERT_TRUE(restored.object != nullptr);
  std::vector<char> again(size);
  call<void>(restored.object, 12, again.data());
  EXPECT_TRUE(data == again);
  EXPECT_TRUE(restored.configure(tensors(2, 3)));  // n and k are those of the original

  data.pop_back();
  EXPECT_TRUE(Plugin::deserialize(data).object == nullptr);
  EXPECT_LAST_ERROR("rebuild the engine");
  restored.destroy();
  plugin.destroy();
}

TEST(EngineDataRoundTripsOnV2OfTensorRt8) { engine_data_round_trips<V2<abi::v8>>(); }
TEST(EngineDataRoundTripsOnV2OfTensorRt10) { engine_data_round_trips<V2<abi::v10>>(); }
TEST(EngineDataRoundTripsOnV2OfTensorRt11) { engine_data_round_trips<V2<abi::v11>>(); }

TEST(SerializedFieldsRecreateTheV3Plugin) {
  V3 plugin = V3::create({});
  const auto* fields = call<const abi::PluginFieldCollection*>(plugin.runtime(), 8);
  ASSERT_EQ(fields->nbFields, 3);
  V3 restored{call<void*>(creator(10, 1), 4, "layer", fields, 1)};
  ASSERT_TRUE(restored.object != nullptr);
  plugin.destroy();
  EXPECT_EQ(restored.shape_change(tensors(2, 3)), 0);
  Tensors wrong = tensors(2, 3);
  wrong[1].shape[1] = 64;
  EXPECT_NE(restored.shape_change(wrong), 0);
  EXPECT_LAST_ERROR("Int4Weights has shape [4, 64]");
  restored.destroy();
}

TEST(NamespacesOfPluginAndCreatorAreKept) {
  V2<abi::v10> plugin = V2<abi::v10>::create({});
  call<void>(plugin.object, 15, "mine");
  V2<abi::v10> clone = plugin.clone();
  plugin.destroy();
  EXPECT_EQ(std::string(call<const char*>(clone.object, 16)), "mine");
  clone.destroy();
  call<void>(creator(10, 0), 9, "theirs");
  EXPECT_EQ(std::string(call<const char*>(creator(10, 0), 10)), "theirs");
  call<void>(creator(10, 0), 9, "");
}

// A caller of an unknown major gets V3 plugins alone, which report the version asked for.
TEST(UnknownMajorGetsV3UnderBothVersions) {
  for (int index = 0; index < 2; ++index) {
    void* v3 = creator(1, index);
    ASSERT_TRUE(v3 != nullptr);
    const std::string version = call<const char*>(v3, 7);
    EXPECT_EQ(version, index == 0 ? "1" : "2");
    const Fields fields;
    V3 plugin{call<void*>(v3, 4, "layer", &fields.collection, 0)};
    EXPECT_EQ(plugin.version(), version);
    EXPECT_EQ(plugin.clone().version(), version);
    plugin.destroy();
  }
  EXPECT_TRUE(creator(1, 2) == nullptr);
}

TEST(RegisteringWithoutTensorRtSaysSo) {
  EXPECT_NE(symbol<int (*)()>(kLibrary, "edge_llm_plugins_register")(), 0);
  EXPECT_LAST_ERROR("no TensorRT is loaded in this process");
}

}  // namespace
}  // namespace edge_llm
