#include "python/bindings/hosted_plugin_v3.h"

#include <utility>

#include "python/bindings/plugin_fields.h"
#include "python/bindings/shape_expressions.h"

namespace edge_llm::host {

using Abi = abi::v10;

HostedPluginV3::HostedPluginV3(std::unique_ptr<abi::PluginV3> plugin, Fail fail)
    : plugin_(std::move(plugin)),
      fail_(std::move(fail)),
      core_(
          capability<abi::PluginV3OneCore>(abi::PluginCapabilityType::kCore, "PLUGIN_V3ONE_CORE")),
      build_(capability<abi::PluginV3OneBuild>(abi::PluginCapabilityType::kBuild,
                                               "PLUGIN_V3ONE_BUILD")),
      runtime_(capability<abi::PluginV3OneRuntime>(abi::PluginCapabilityType::kRuntime,
                                                   "PLUGIN_V3ONE_RUNTIME")) {}

// TensorRT casts by the announced kind, too.
template <typename Capability>
Capability* HostedPluginV3::capability(abi::PluginCapabilityType type, const char* kind) {
  abi::PluginCapability* found = plugin_->getCapabilityInterface(type);
  if (found == nullptr) fail_(std::string("getCapabilityInterface of ") + kind);
  if (found->getInterfaceInfo().kind != std::string(kind)) {
    throw PluginError(std::string("the capability ") + kind + " calls itself " +
                      found->getInterfaceInfo().kind);
  }
  return static_cast<Capability*>(found);
}

std::unique_ptr<HostedPlugin> HostedPluginV3::clone() {
  std::unique_ptr<abi::PluginV3> copy(plugin_->clone());
  if (copy == nullptr) fail_("clone");
  return std::make_unique<HostedPluginV3>(std::move(copy), fail_);
}

std::vector<abi::DataType> HostedPluginV3::output_types(const std::vector<abi::DataType>& inputs) {
  std::vector<abi::DataType> types(output_count());
  if (build_->getOutputDataTypes(types.data(), static_cast<int32_t>(types.size()), inputs.data(),
                                 static_cast<int32_t>(inputs.size())) != 0) {
    fail_("getOutputDataTypes");
  }
  return types;
}

std::vector<Shape> HostedPluginV3::output_shapes(const std::vector<Shape>& inputs) {
  ShapeExpressions<Abi> expressions;
  std::vector<abi::DimsExprs<Abi>> symbols;
  for (const Shape& shape : inputs) symbols.push_back(expressions.symbols(shape));
  std::vector<abi::DimsExprs<Abi>> dims(output_count());
  if (build_->getOutputShapes(symbols.data(), static_cast<int32_t>(symbols.size()),
                              /*shape_inputs=*/nullptr, 0, dims.data(),
                              static_cast<int32_t>(dims.size()), expressions.builder()) != 0) {
    fail_("getOutputShapes");
  }
  std::vector<Shape> outputs;
  for (const auto& output : dims) outputs.push_back(expressions.evaluate(output));
  return outputs;
}

bool HostedPluginV3::supports_format_combination(int position, const std::vector<Tensor>& tensors,
                                                 int input_count) {
  std::vector<Abi::DynamicPluginTensorDesc> descs;
  for (const Tensor& tensor : tensors) {
    descs.push_back(to_desc<Abi>(
        TensorRange{tensor.type, tensor.shape, tensor.shape, tensor.shape, tensor.format}));
  }
  for (size_t i = position + 1; i < descs.size(); ++i) {
    descs[i].desc = to_desc<Abi>(rubbish_tensor());
  }
  return build_->supportsFormatCombination(position, descs.data(), input_count,
                                           static_cast<int32_t>(descs.size()) - input_count);
}

void HostedPluginV3::configure(const std::vector<TensorRange>& inputs,
                               const std::vector<TensorRange>& outputs) {
  const auto in = to_descs<Abi>(inputs);
  const auto out = to_descs<Abi>(outputs);
  if (build_->configurePlugin(in.data(), static_cast<int32_t>(in.size()), out.data(),
                              static_cast<int32_t>(out.size())) != 0) {
    fail_("configurePlugin");
  }
}

size_t HostedPluginV3::workspace_size(const std::vector<TensorRange>& inputs,
                                      const std::vector<TensorRange>& outputs) {
  const auto in = to_descs<Abi>(inputs);
  const auto out = to_descs<Abi>(outputs);
  return build_->getWorkspaceSize(in.data(), static_cast<int32_t>(in.size()), out.data(),
                                  static_cast<int32_t>(out.size()));
}

SerializedPlugin HostedPluginV3::serialize() {
  const abi::PluginFieldCollection* fields = runtime_->getFieldsToSerialize();
  if (fields == nullptr) fail_("getFieldsToSerialize");
  return {{}, from_collection(*fields)};
}

std::unique_ptr<HostedPlugin> HostedPluginV3::attach_to_context(const CudaDevice& device) {
  const CurrentDevice current(device);
  std::unique_ptr<abi::PluginV3> attached(runtime_->attachToContext(/*resource_context=*/nullptr));
  if (attached == nullptr) fail_("attachToContext");
  return std::make_unique<HostedPluginV3>(std::move(attached), fail_);
}

void HostedPluginV3::on_shape_change(const std::vector<Tensor>& inputs,
                                     const std::vector<Tensor>& outputs) {
  const auto in = to_descs<Abi>(inputs);
  const auto out = to_descs<Abi>(outputs);
  if (runtime_->onShapeChange(in.data(), static_cast<int32_t>(in.size()), out.data(),
                              static_cast<int32_t>(out.size())) != 0) {
    fail_("onShapeChange");
  }
}

void HostedPluginV3::enqueue(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                             const std::vector<CUdeviceptr>& input_addresses,
                             const std::vector<CUdeviceptr>& output_addresses,
                             CUdeviceptr workspace, const Stream& stream) {
  const CurrentDevice current(stream.device());
  const auto in = to_descs<Abi>(inputs);
  const auto out = to_descs<Abi>(outputs);
  const int32_t status = runtime_->enqueue(in.data(), out.data(), to_inputs(input_addresses).data(),
                                           to_outputs(output_addresses).data(),
                                           reinterpret_cast<void*>(workspace), stream.handle());
  if (status != 0) fail_("enqueue");
}

}  // namespace edge_llm::host
