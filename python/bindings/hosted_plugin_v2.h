// Drives an IPluginV2DynamicExt in the binary interface of one TensorRT major.
#ifndef EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_V2_H_
#define EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_V2_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugins/abi/plugin_v2.h"
#include "python/bindings/hosted_plugin.h"
#include "python/bindings/shape_expressions.h"

namespace edge_llm::host {

template <typename Abi>
class HostedPluginV2 : public HostedPlugin {
 public:
  // Takes the plugin over. TensorRT tells the kinds of V2 plugins apart by the top byte of their
  // version before it calls what only some of them have.
  HostedPluginV2(abi::PluginV2Head<Abi>* plugin, Fail fail)
      : plugin_(static_cast<abi::PluginV2DynamicExt<Abi>*>(plugin)), fail_(std::move(fail)) {
    constexpr int kV2DynamicExt = 3;
    if (plugin->getTensorRTVersion() >> 24 != kV2DynamicExt) {
      throw PluginError("the plugin is no IPluginV2DynamicExt");
    }
  }

  ~HostedPluginV2() override {
    if (attached_) plugin_->detachFromContext();
    plugin_->destroy();
  }

  std::string name() const override { return plugin_->getPluginType(); }
  std::string version() const override { return plugin_->getPluginVersion(); }

  std::unique_ptr<HostedPlugin> clone() override { return clone_v2(); }

  int output_count() override { return plugin_->getNbOutputs(); }

  std::vector<abi::DataType> output_types(const std::vector<abi::DataType>& inputs) override {
    std::vector<abi::DataType> types;
    for (int i = 0; i < output_count(); ++i) {
      types.push_back(
          plugin_->getOutputDataType(i, inputs.data(), static_cast<int32_t>(inputs.size())));
    }
    return types;
  }

  std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) override {
    ShapeExpressions<Abi> expressions;
    std::vector<abi::DimsExprs<Abi>> symbols;
    for (const Shape& shape : inputs) symbols.push_back(expressions.symbols(shape));
    std::vector<Shape> outputs;
    for (int i = 0; i < output_count(); ++i) {
      const auto dims = plugin_->getOutputDimensions(
          i, symbols.data(), static_cast<int32_t>(symbols.size()), expressions.builder());
      if (dims.nbDims < 0) fail_("getOutputDimensions");
      outputs.push_back(expressions.evaluate(dims));
    }
    return outputs;
  }

  bool supports_format_combination(int position, const std::vector<Tensor>& tensors,
                                   int input_count) override {
    auto descs = to_descs<Abi>(tensors);
    for (size_t i = position + 1; i < descs.size(); ++i) descs[i] = to_desc<Abi>(rubbish_tensor());
    return plugin_->supportsFormatCombination(position, descs.data(), input_count,
                                              static_cast<int32_t>(descs.size()) - input_count);
  }

  void configure(const std::vector<TensorRange>& inputs,
                 const std::vector<TensorRange>& outputs) override {
    const auto in = to_descs<Abi>(inputs);
    const auto out = to_descs<Abi>(outputs);
    plugin_->configurePlugin(in.data(), static_cast<int32_t>(in.size()), out.data(),
                             static_cast<int32_t>(out.size()));
  }

  size_t workspace_size(const std::vector<TensorRange>& inputs,
                        const std::vector<TensorRange>& outputs) override {
    const auto in = to_descs<Abi>(largest(inputs));
    const auto out = to_descs<Abi>(largest(outputs));
    return plugin_->getWorkspaceSize(in.data(), static_cast<int32_t>(in.size()), out.data(),
                                     static_cast<int32_t>(out.size()));
  }

  // A byte behind the announced size must survive: the plugin owns no more than it asked for.
  SerializedPlugin serialize() override {
    constexpr char kCanary = 0x5a;
    const size_t size = plugin_->getSerializationSize();
    std::string bytes(size + 16, kCanary);
    plugin_->serialize(bytes.data());
    if (bytes.find_first_not_of(kCanary, size) != std::string::npos) {
      throw PluginError("serialize wrote behind the size that getSerializationSize gave");
    }
    bytes.resize(size);
    return {std::move(bytes), {}};
  }

  void initialize(const CudaDevice& device) override {
    const CurrentDevice current(device);
    if (plugin_->initialize() != 0) fail_("initialize");
  }

  void terminate(const CudaDevice& device) override {
    const CurrentDevice current(device);
    plugin_->terminate();
  }

  std::unique_ptr<HostedPlugin> attach_to_context(const CudaDevice& device) override {
    const CurrentDevice current(device);
    std::unique_ptr<HostedPluginV2> context_plugin = clone_v2();
    context_plugin->plugin_->attachToContext(nullptr, nullptr, nullptr);
    context_plugin->attached_ = true;
    return context_plugin;
  }

  void on_shape_change(const std::vector<Tensor>&, const std::vector<Tensor>&) override {}

  void enqueue(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
               const std::vector<CUdeviceptr>& input_addresses,
               const std::vector<CUdeviceptr>& output_addresses, CUdeviceptr workspace,
               const Stream& stream) override {
    const CurrentDevice current(stream.device());
    const auto in = to_descs<Abi>(inputs);
    const auto out = to_descs<Abi>(outputs);
    const int32_t status = plugin_->enqueue(
        in.data(), out.data(), to_inputs(input_addresses).data(),
        to_outputs(output_addresses).data(), reinterpret_cast<void*>(workspace), stream.handle());
    if (status != 0) fail_("enqueue");
  }

 private:
  std::unique_ptr<HostedPluginV2> clone_v2() {
    abi::PluginV2Head<Abi>* copy = plugin_->clone();
    if (copy == nullptr) fail_("clone");
    return std::make_unique<HostedPluginV2>(copy, fail_);
  }

  static std::vector<Tensor> largest(const std::vector<TensorRange>& ranges) {
    std::vector<Tensor> tensors;
    for (const TensorRange& range : ranges) {
      tensors.push_back({range.type, range.max, range.format});
    }
    return tensors;
  }

  abi::PluginV2DynamicExt<Abi>* plugin_;
  Fail fail_;
  bool attached_ = false;
};

}  // namespace edge_llm::host

#endif  // EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_V2_H_
