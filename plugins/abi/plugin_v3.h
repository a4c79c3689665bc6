// IPluginV3, its capabilities and its creator: the same in every TensorRT from 10.0 on and in
// TensorRT-RTX. The order of declarations is the order of virtual slots, after the four of
// VersionedInterface.
#pragma once

#include "plugins/abi/expressions.h"
#include "plugins/abi/types.h"

namespace edge_llm::abi {

enum class PluginCapabilityType : int32_t { kCore = 0, kBuild = 1, kRuntime = 2 };

enum class TensorRTPhase : int32_t { kBuild = 0, kRuntime = 1 };

class PluginCapability : public VersionedInterface {};

class PluginV3 : public VersionedInterface {
 public:
  InterfaceInfo getInterfaceInfo() const noexcept override { return {"PLUGIN", 1, 0}; }
  virtual PluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept = 0;
  virtual PluginV3* clone() noexcept = 0;
};

class PluginV3OneCore : public PluginCapability {
 public:
  InterfaceInfo getInterfaceInfo() const noexcept override { return {"PLUGIN_V3ONE_CORE", 1, 0}; }
  virtual const char* getPluginName() const noexcept = 0;
  virtual const char* getPluginVersion() const noexcept = 0;
  virtual const char* getPluginNamespace() const noexcept = 0;
};

class PluginV3OneBuild : public PluginCapability {
 public:
  using DynamicPluginTensorDesc = v10::DynamicPluginTensorDesc;

  InterfaceInfo getInterfaceInfo() const noexcept override { return {"PLUGIN_V3ONE_BUILD", 1, 0}; }
  virtual int32_t configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                                  const DynamicPluginTensorDesc* outputs,
                                  int32_t output_count) noexcept = 0;
  virtual int32_t getOutputDataTypes(DataType* output_types, int32_t output_count,
                                     const DataType* input_types,
                                     int32_t input_count) const noexcept = 0;
  virtual int32_t getOutputShapes(const DimsExprs<v10>* inputs, int32_t input_count,
                                  const DimsExprs<v10>* shape_inputs, int32_t shape_input_count,
                                  DimsExprs<v10>* outputs, int32_t output_count,
                                  ExprBuilder<v10>& builder) noexcept = 0;
  virtual bool supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* in_out,
                                         int32_t input_count, int32_t output_count) noexcept = 0;
  virtual int32_t getNbOutputs() const noexcept = 0;
  virtual size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                                  const DynamicPluginTensorDesc* outputs,
                                  int32_t output_count) const noexcept = 0;
  virtual int32_t getValidTactics(int32_t* /*tactics*/, int32_t /*tactic_count*/) noexcept {
    return 0;
  }
  virtual int32_t getNbTactics() noexcept { return 0; }
  virtual const char* getTimingCacheID() noexcept { return nullptr; }
  virtual int32_t getFormatCombinationLimit() noexcept { return 100; }
  virtual const char* getMetadataString() noexcept { return nullptr; }
};

// Adds outputs that share an input's memory; known to TensorRT from 10.3 on, so plugins that alias
// nothing stay with PluginV3OneBuild.
class PluginV3OneBuildV2 : public PluginV3OneBuild {
 public:
  InterfaceInfo getInterfaceInfo() const noexcept override { return {"PLUGIN_V3ONE_BUILD", 2, 0}; }
  virtual int32_t getAliasedInput(int32_t /*output_index*/) noexcept { return -1; }
};

class PluginV3OneRuntime : public PluginCapability {
 public:
  using PluginTensorDesc = v10::PluginTensorDesc;

  InterfaceInfo getInterfaceInfo() const noexcept override {
    return {"PLUGIN_V3ONE_RUNTIME", 1, 0};
  }
  virtual int32_t setTactic(int32_t /*tactic*/) noexcept { return 0; }
  virtual int32_t onShapeChange(const PluginTensorDesc* inputs, int32_t input_count,
                                const PluginTensorDesc* outputs, int32_t output_count) noexcept = 0;
  virtual int32_t enqueue(const PluginTensorDesc* input_descs, const PluginTensorDesc* output_descs,
                          const void* const* inputs, void* const* outputs, void* workspace,
                          CUstream_st* stream) noexcept = 0;
  virtual PluginV3* attachToContext(void* resource_context) noexcept = 0;
  virtual const PluginFieldCollection* getFieldsToSerialize() noexcept = 0;
};

class PluginCreatorV3One : public VersionedInterface {
 public:
  InterfaceInfo getInterfaceInfo() const noexcept override {
    return {"PLUGIN CREATOR_V3ONE", 1, 0};
  }
  virtual PluginV3* createPlugin(const char* layer_name, const PluginFieldCollection* fields,
                                 TensorRTPhase phase) noexcept = 0;
  virtual const PluginFieldCollection* getFieldNames() noexcept = 0;
  virtual const char* getPluginName() const noexcept = 0;
  virtual const char* getPluginVersion() const noexcept = 0;
  virtual const char* getPluginNamespace() const noexcept = 0;
};

}  // namespace edge_llm::abi
