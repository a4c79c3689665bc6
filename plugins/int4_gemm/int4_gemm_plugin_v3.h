// Int4GroupwiseGemmPlugin version "2": IPluginV3, for TensorRT from 10 on and TensorRT-RTX.
#pragma once

#include <array>

#include "plugins/abi/plugin_v3.h"
#include "plugins/int4_gemm/int4_gemm_op.h"

namespace edge_llm {

class Int4GemmPluginV3 final : public abi::PluginV3,
                               public abi::PluginV3OneCore,
                               public abi::PluginV3OneBuild,
                               public abi::PluginV3OneRuntime {
 public:
  using PluginTensorDesc = abi::v10::PluginTensorDesc;
  using DynamicPluginTensorDesc = abi::v10::DynamicPluginTensorDesc;

  // `version` is the one that the plugin was created under; the pointer must outlive the plugin.
  Int4GemmPluginV3(const Int4GemmConfig& config, const char* version)
      : op_(config), version_(version) {}

  abi::PluginCapability* getCapabilityInterface(abi::PluginCapabilityType type) noexcept override;
  abi::PluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;

  int32_t configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const DynamicPluginTensorDesc* outputs,
                          int32_t output_count) noexcept override;
  int32_t getOutputDataTypes(abi::DataType* output_types, int32_t output_count,
                             const abi::DataType* input_types,
                             int32_t input_count) const noexcept override;
  int32_t getOutputShapes(const abi::DimsExprs<abi::v10>* inputs, int32_t input_count,
                          const abi::DimsExprs<abi::v10>* shape_inputs, int32_t shape_input_count,
                          abi::DimsExprs<abi::v10>* outputs, int32_t output_count,
                          abi::ExprBuilder<abi::v10>& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* in_out,
                                 int32_t input_count, int32_t output_count) noexcept override;
  int32_t getNbOutputs() const noexcept override;
  size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const DynamicPluginTensorDesc* outputs,
                          int32_t output_count) const noexcept override;

  int32_t onShapeChange(const PluginTensorDesc* inputs, int32_t input_count,
                        const PluginTensorDesc* outputs, int32_t output_count) noexcept override;
  int32_t enqueue(const PluginTensorDesc* input_descs, const PluginTensorDesc* output_descs,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  CUstream_st* stream) noexcept override;
  abi::PluginV3* attachToContext(void* resource_context) noexcept override;
  const abi::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 private:
  Int4GemmOp op_;
  const char* version_;
  // What getFieldsToSerialize() returned last; it points into op_.
  std::array<abi::PluginField, 3> serialized_fields_{};
  abi::PluginFieldCollection serialized_{};
};

class Int4GemmCreatorV3 final : public abi::PluginCreatorV3One {
 public:
  explicit Int4GemmCreatorV3(const char* version) : version_(version) {}

  abi::PluginV3* createPlugin(const char* layer_name, const abi::PluginFieldCollection* fields,
                              abi::TensorRTPhase phase) noexcept override;
  const abi::PluginFieldCollection* getFieldNames() noexcept override;
  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;

 private:
  const char* version_;
};

}  // namespace edge_llm
