// Int4GroupwiseGemmPlugin version "1": IPluginV2DynamicExt for TensorRT 8, 10 and 11.
#pragma once

#include <atomic>
#include <string>

#include "plugins/abi/plugin_v2.h"
#include "plugins/int4_gemm/int4_gemm_op.h"

namespace edge_llm {

template <typename Abi>
class Int4GemmPluginV2 final : public abi::PluginV2DynamicExt<Abi> {
 public:
  using PluginTensorDesc = typename Abi::PluginTensorDesc;
  using DynamicPluginTensorDesc = typename Abi::DynamicPluginTensorDesc;

  Int4GemmPluginV2(const Int4GemmConfig& config, const char* plugin_namespace)
      : op_(config), namespace_(plugin_namespace) {}

  const char* getPluginType() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  int32_t getNbOutputs() const noexcept override;
  int32_t initialize() noexcept override;
  void terminate() noexcept override;
  size_t getSerializationSize() const noexcept override;
  void serialize(void* buffer) const noexcept override;
  void destroy() noexcept override;
  abi::PluginV2Head<Abi>* clone() const noexcept override;
  void setPluginNamespace(const char* plugin_namespace) noexcept override;
  const char* getPluginNamespace() const noexcept override;
  abi::DataType getOutputDataType(int32_t index, const abi::DataType* input_types,
                                  int32_t input_count) const noexcept override;
  abi::DimsExprs<Abi> getOutputDimensions(int32_t output_index, const abi::DimsExprs<Abi>* inputs,
                                          int32_t input_count,
                                          abi::ExprBuilder<Abi>& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const PluginTensorDesc* in_out,
                                 int32_t input_count, int32_t output_count) noexcept override;
  void configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                       const DynamicPluginTensorDesc* outputs,
                       int32_t output_count) noexcept override;
  size_t getWorkspaceSize(const PluginTensorDesc* inputs, int32_t input_count,
                          const PluginTensorDesc* outputs,
                          int32_t output_count) const noexcept override;
  int32_t enqueue(const PluginTensorDesc* input_descs, const PluginTensorDesc* output_descs,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  CUstream_st* stream) noexcept override;

 private:
  Int4GemmOp op_;
  std::string namespace_;
};

template <typename Abi>
class Int4GemmCreatorV2 final : public abi::PluginCreator<Abi> {
 public:
  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const abi::PluginFieldCollection* getFieldNames() noexcept override;
  abi::PluginV2Head<Abi>* createPlugin(const char* layer_name,
                                       const abi::PluginFieldCollection* fields) noexcept override;
  abi::PluginV2Head<Abi>* deserializePlugin(const char* layer_name, const void* data,
                                            size_t length) noexcept override;
  void setPluginNamespace(const char* plugin_namespace) noexcept override;
  const char* getPluginNamespace() const noexcept override;

 private:
  // One creator serves every thread and registry of the process.
  std::atomic<const char*> namespace_{""};
};

extern template class Int4GemmCreatorV2<abi::v8>;
extern template class Int4GemmCreatorV2<abi::v10>;
extern template class Int4GemmCreatorV2<abi::v11>;

}  // namespace edge_llm
