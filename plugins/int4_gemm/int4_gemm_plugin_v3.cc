#include "plugins/int4_gemm/int4_gemm_plugin_v3.h"

#include <memory>

#include "plugins/int4_gemm/int4_gemm_tensors.h"
#include "plugins/runtime/status.h"

namespace edge_llm {

// TensorRT casts the result to the exact interface, so each case is a cast to that base.
abi::PluginCapability* Int4GemmPluginV3::getCapabilityInterface(
    abi::PluginCapabilityType type) noexcept {
  switch (type) {
    case abi::PluginCapabilityType::kCore:
      return static_cast<abi::PluginV3OneCore*>(this);
    case abi::PluginCapabilityType::kBuild:
      return static_cast<abi::PluginV3OneBuild*>(this);
    case abi::PluginCapabilityType::kRuntime:
      return static_cast<abi::PluginV3OneRuntime*>(this);
  }
  return nullptr;
}

abi::PluginV3* Int4GemmPluginV3::clone() noexcept {
  return guarded("Int4GroupwiseGemmPlugin clone", static_cast<abi::PluginV3*>(nullptr),
                 [&] { return new Int4GemmPluginV3(*this); });
}

const char* Int4GemmPluginV3::getPluginName() const noexcept { return kInt4GemmPluginName; }

const char* Int4GemmPluginV3::getPluginVersion() const noexcept { return version_; }

const char* Int4GemmPluginV3::getPluginNamespace() const noexcept { return ""; }

int32_t Int4GemmPluginV3::configurePlugin(const DynamicPluginTensorDesc* inputs,
                                          int32_t input_count,
                                          const DynamicPluginTensorDesc* outputs,
                                          int32_t output_count) noexcept {
  return guarded("Int4GroupwiseGemmPlugin configurePlugin", 1, [&] {
    check_tensor_counts(input_count, output_count);
    check_configuration(op_.config(), inputs, outputs);
    return 0;
  });
}

int32_t Int4GemmPluginV3::getOutputDataTypes(abi::DataType* output_types, int32_t output_count,
                                             const abi::DataType*,
                                             int32_t input_count) const noexcept {
  return guarded("Int4GroupwiseGemmPlugin getOutputDataTypes", 1, [&] {
    check_tensor_counts(input_count, output_count);
    output_types[0] = abi::DataType::kHalf;
    return 0;
  });
}

int32_t Int4GemmPluginV3::getOutputShapes(const abi::DimsExprs<abi::v10>* inputs,
                                          int32_t input_count, const abi::DimsExprs<abi::v10>*,
                                          int32_t, abi::DimsExprs<abi::v10>* outputs,
                                          int32_t output_count,
                                          abi::ExprBuilder<abi::v10>& builder) noexcept {
  return guarded("Int4GroupwiseGemmPlugin getOutputShapes", 1, [&] {
    check_tensor_counts(input_count, output_count);
    outputs[0] = int4_gemm_output_shape(op_.config(), inputs[kX], builder);
    return 0;
  });
}

bool Int4GemmPluginV3::supportsFormatCombination(int32_t position,
                                                 const DynamicPluginTensorDesc* in_out,
                                                 int32_t input_count,
                                                 int32_t output_count) noexcept {
  return input_count == kInt4GemmInputs && output_count == kInt4GemmOutputs &&
         int4_gemm_supports(position, in_out[position].desc.type, in_out[position].desc.format);
}

int32_t Int4GemmPluginV3::getNbOutputs() const noexcept { return kInt4GemmOutputs; }

size_t Int4GemmPluginV3::getWorkspaceSize(const DynamicPluginTensorDesc* inputs,
                                          int32_t input_count, const DynamicPluginTensorDesc*,
                                          int32_t output_count) const noexcept {
  return guarded("Int4GroupwiseGemmPlugin getWorkspaceSize", size_t{0}, [&]() -> size_t {
    check_tensor_counts(input_count, output_count);
    return op_.workspace_bound(int4_gemm_rows(inputs[kX].max));
  });
}

int32_t Int4GemmPluginV3::onShapeChange(const PluginTensorDesc* inputs, int32_t input_count,
                                        const PluginTensorDesc* outputs,
                                        int32_t output_count) noexcept {
  return guarded("Int4GroupwiseGemmPlugin onShapeChange", 1, [&] {
    check_tensor_counts(input_count, output_count);
    checked_rows(op_.config(), inputs, outputs);
    return 0;
  });
}

int32_t Int4GemmPluginV3::enqueue(const PluginTensorDesc* input_descs,
                                  const PluginTensorDesc* output_descs, const void* const* inputs,
                                  void* const* outputs, void* workspace,
                                  CUstream_st* stream) noexcept {
  return guarded("Int4GroupwiseGemmPlugin enqueue", 1, [&] {
    const int64_t m = checked_rows(op_.config(), input_descs, output_descs);
    op_.enqueue(m, {inputs[kX], inputs[kWeights], inputs[kScales], outputs[0], workspace}, stream);
    return 0;
  });
}

abi::PluginV3* Int4GemmPluginV3::attachToContext(void*) noexcept {
  return guarded("Int4GroupwiseGemmPlugin attachToContext", static_cast<abi::PluginV3*>(nullptr),
                 [&] {
                   auto attached = std::make_unique<Int4GemmPluginV3>(*this);
                   attached->op_.attach();
                   return attached.release();
                 });
}

const abi::PluginFieldCollection* Int4GemmPluginV3::getFieldsToSerialize() noexcept {
  serialized_fields_ = int4_gemm_fields(op_.config());
  serialized_ = {static_cast<int32_t>(serialized_fields_.size()), serialized_fields_.data()};
  return &serialized_;
}

abi::PluginV3* Int4GemmCreatorV3::createPlugin(const char*,
                                               const abi::PluginFieldCollection* fields,
                                               abi::TensorRTPhase) noexcept {
  return guarded("Int4GroupwiseGemmPlugin createPlugin", static_cast<abi::PluginV3*>(nullptr),
                 [&] { return new Int4GemmPluginV3(int4_gemm_config(fields), version_); });
}

const abi::PluginFieldCollection* Int4GemmCreatorV3::getFieldNames() noexcept {
  return int4_gemm_field_names();
}

const char* Int4GemmCreatorV3::getPluginName() const noexcept { return kInt4GemmPluginName; }

const char* Int4GemmCreatorV3::getPluginVersion() const noexcept { return version_; }

const char* Int4GemmCreatorV3::getPluginNamespace() const noexcept { return ""; }

}  // namespace edge_llm
