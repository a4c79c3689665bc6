// Prints what plugins/abi declares, as the compiler lays it out: virtual slots, sizes and offsets,
// and the values of enumerations. JSON, for the tests that compare it with TensorRT's binaries.
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "plugins/abi/plugin_v2.h"
#include "plugins/abi/plugin_v3.h"
#include "plugins/abi/runtime.h"

namespace {

using namespace edge_llm::abi;

// group -> name -> member -> value
std::map<std::string, std::map<std::string, std::map<std::string, long>>> facts;

// In the Itanium C++ ABI (x86-64), a pointer to a virtual function is 1 plus the byte offset of its
// slot.
template <typename Class, typename Function>
long slot_of(Function Class::* function) {
  long bits[2];
  static_assert(sizeof(bits) == sizeof(function));
  std::memcpy(bits, &function, sizeof(bits));
  return (bits[0] - 1) / static_cast<long>(sizeof(void*));
}

#define SLOT(name) slots[#name] = slot_of(&Interface::name)

template <typename Abi>
std::string with_major(const char* name) {
  return name + std::string(" ") + std::to_string(Abi::kMajor);
}

template <typename Interface>
void versioned_slots(std::map<std::string, long>& slots) {
  SLOT(getAPILanguage);
  SLOT(getInterfaceInfo);
}

template <typename Abi>
void plugin_v2() {
  using Interface = PluginV2DynamicExt<Abi>;
  auto& slots = facts["slots"][with_major<Abi>("PluginV2DynamicExt")];
  SLOT(getTensorRTVersion);
  SLOT(getPluginType);
  SLOT(getPluginVersion);
  SLOT(getNbOutputs);
  SLOT(getOutputDimensionsLegacy);
  SLOT(supportsFormat);
  SLOT(configureWithFormat);
  SLOT(initialize);
  SLOT(terminate);
  SLOT(getWorkspaceSizeLegacy);
  SLOT(enqueueLegacy);
  SLOT(getSerializationSize);
  SLOT(serialize);
  SLOT(destroy);
  SLOT(clone);
  SLOT(setPluginNamespace);
  SLOT(getPluginNamespace);
  SLOT(getOutputDataType);
  if constexpr (Abi::kHasBroadcastSlots) {
    SLOT(isOutputBroadcastAcrossBatch);
    SLOT(canBroadcastInputAcrossBatch);
  }
  SLOT(configurePluginLegacy);
  SLOT(attachToContext);
  SLOT(detachFromContext);
  SLOT(getOutputDimensions);
  SLOT(supportsFormatCombination);
  SLOT(configurePlugin);
  SLOT(getWorkspaceSize);
  SLOT(enqueue);
}

template <typename Abi>
void creator_v2() {
  using Interface = PluginCreator<Abi>;
  auto& slots = facts["slots"][with_major<Abi>("PluginCreator")];
  if constexpr (Abi::kMajor == 8) {
    SLOT(getTensorRTVersion);
  } else {
    versioned_slots<Interface>(slots);
  }
  SLOT(getPluginName);
  SLOT(getPluginVersion);
  SLOT(getFieldNames);
  SLOT(createPlugin);
  SLOT(deserializePlugin);
  SLOT(setPluginNamespace);
  SLOT(getPluginNamespace);
}

template <typename Abi>
void logger() {
  using Interface = Logger<Abi>;
  auto& slots = facts["slots"][with_major<Abi>("Logger")];
  if constexpr (Abi::kHasVersionedLogger) versioned_slots<Interface>(slots);
  SLOT(log);
}

void plugin_v3() {
  using Interface = PluginV3;
  auto& slots = facts["slots"]["PluginV3"];
  versioned_slots<Interface>(slots);
  SLOT(getCapabilityInterface);
  SLOT(clone);
}

void core() {
  using Interface = PluginV3OneCore;
  auto& slots = facts["slots"]["PluginV3OneCore"];
  versioned_slots<Interface>(slots);
  SLOT(getPluginName);
  SLOT(getPluginVersion);
  SLOT(getPluginNamespace);
}

template <typename Interface>
std::map<std::string, long>& build(const char* name) {
  auto& slots = facts["slots"][name];
  versioned_slots<Interface>(slots);
  SLOT(configurePlugin);
  SLOT(getOutputDataTypes);
  SLOT(getOutputShapes);
  SLOT(supportsFormatCombination);
  SLOT(getNbOutputs);
  SLOT(getWorkspaceSize);
  SLOT(getValidTactics);
  SLOT(getNbTactics);
  SLOT(getTimingCacheID);
  SLOT(getFormatCombinationLimit);
  SLOT(getMetadataString);
  return slots;
}

void build_v2() {
  using Interface = PluginV3OneBuildV2;
  auto& slots = build<Interface>("PluginV3OneBuildV2");
  SLOT(getAliasedInput);
}

void runtime() {
  using Interface = PluginV3OneRuntime;
  auto& slots = facts["slots"]["PluginV3OneRuntime"];
  versioned_slots<Interface>(slots);
  SLOT(setTactic);
  SLOT(onShapeChange);
  SLOT(enqueue);
  SLOT(attachToContext);
  SLOT(getFieldsToSerialize);
}

void creator_v3() {
  using Interface = PluginCreatorV3One;
  auto& slots = facts["slots"]["PluginCreatorV3One"];
  versioned_slots<Interface>(slots);
  SLOT(createPlugin);
  SLOT(getFieldNames);
  SLOT(getPluginName);
  SLOT(getPluginVersion);
  SLOT(getPluginNamespace);
}

void expressions() {
  {
    using Interface = DimensionExprImpl<v10>;
    auto& slots = facts["slots"]["DimensionExprImpl"];
    SLOT(isConstant);
    SLOT(getConstantValue);
  }
  {
    using Interface = ExprBuilderImpl<v10>;
    auto& slots = facts["slots"]["ExprBuilderImpl"];
    SLOT(constant);
    SLOT(operation);
  }
}

template <typename Abi>
void layouts() {
  using Desc = typename Abi::PluginTensorDesc;
  using Dynamic = typename Abi::DynamicPluginTensorDesc;
  facts["layouts"][with_major<Abi>("PluginTensorDesc")] = {
      {"dims", offsetof(Desc, dims)},   {"extents", offsetof(typename Abi::Dims, d)},
      {"type", offsetof(Desc, type)},   {"format", offsetof(Desc, format)},
      {"scale", offsetof(Desc, scale)}, {"extent_size", sizeof(typename Abi::Extent)},
  };
  auto& dynamic = facts["layouts"][with_major<Abi>("DynamicPluginTensorDesc")];
  dynamic = {{"desc", offsetof(Dynamic, desc)},
             {"min", offsetof(Dynamic, min)},
             {"max", offsetof(Dynamic, max)}};
  if constexpr (Abi::kMajor != 8) dynamic["opt"] = offsetof(Dynamic, opt);
}

template <typename Enum>
long value(Enum e) {
  return static_cast<long>(e);
}

void enumerations() {
  facts["enums"]["DataType"] = {{"FLOAT", value(DataType::kFloat)},
                                {"HALF", value(DataType::kHalf)},
                                {"INT8", value(DataType::kInt8)},
                                {"INT32", value(DataType::kInt32)},
                                {"BOOL", value(DataType::kBool)}};
  facts["enums"]["TensorFormat"] = {{"LINEAR", value(TensorFormat::kLinear)}};
  facts["enums"]["PluginFieldType"] = {
      {"FLOAT16", value(PluginFieldType::kFloat16)}, {"FLOAT32", value(PluginFieldType::kFloat32)},
      {"FLOAT64", value(PluginFieldType::kFloat64)}, {"INT8", value(PluginFieldType::kInt8)},
      {"INT16", value(PluginFieldType::kInt16)},     {"INT32", value(PluginFieldType::kInt32)},
      {"CHAR", value(PluginFieldType::kChar)},       {"DIMS", value(PluginFieldType::kDims)},
      {"UNKNOWN", value(PluginFieldType::kUnknown)}};
  facts["enums"]["DimensionOperation"] = {{"SUM", value(DimensionOperation::kSum)},
                                          {"PROD", value(DimensionOperation::kProd)},
                                          {"MAX", value(DimensionOperation::kMax)},
                                          {"MIN", value(DimensionOperation::kMin)},
                                          {"SUB", value(DimensionOperation::kSub)},
                                          {"EQUAL", value(DimensionOperation::kEqual)},
                                          {"LESS", value(DimensionOperation::kLess)},
                                          {"FLOOR_DIV", value(DimensionOperation::kFloorDiv)},
                                          {"CEIL_DIV", value(DimensionOperation::kCeilDiv)}};
  facts["enums"]["PluginCapabilityType"] = {{"CORE", value(PluginCapabilityType::kCore)},
                                            {"BUILD", value(PluginCapabilityType::kBuild)},
                                            {"RUNTIME", value(PluginCapabilityType::kRuntime)}};
  facts["enums"]["TensorRTPhase"] = {{"BUILD", value(TensorRTPhase::kBuild)},
                                     {"RUNTIME", value(TensorRTPhase::kRuntime)}};
  facts["enums"]["Severity"] = {{"INTERNAL_ERROR", value(Severity::kInternalError)},
                                {"ERROR", value(Severity::kError)},
                                {"WARNING", value(Severity::kWarning)},
                                {"INFO", value(Severity::kInfo)},
                                {"VERBOSE", value(Severity::kVerbose)}};
}

template <typename Map, typename Print>
void print_object(const Map& map, Print print) {
  const char* separator = "{";
  for (const auto& [key, entry] : map) {
    std::printf("%s\"%s\": ", separator, key.c_str());
    print(entry);
    separator = ", ";
  }
  std::printf("}");
}

}  // namespace

int main() {
  plugin_v2<v8>();
  plugin_v2<v10>();
  plugin_v2<v11>();
  creator_v2<v8>();
  creator_v2<v10>();
  creator_v2<v11>();
  logger<v8>();
  logger<v10>();
  logger<v11>();
  plugin_v3();
  core();
  build<PluginV3OneBuild>("PluginV3OneBuild");
  build_v2();
  runtime();
  creator_v3();
  expressions();
  layouts<v8>();
  layouts<v10>();
  layouts<v11>();
  enumerations();
  print_object(facts, [](const auto& group) {
    print_object(group, [](const auto& members) {
      print_object(members, [](long value) { std::printf("%ld", value); });
    });
  });
  std::printf("\n");
}
