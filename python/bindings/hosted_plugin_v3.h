// Drives an IPluginV3, whose binary interface is the same in every TensorRT from 10.0 on.
#ifndef EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_V3_H_
#define EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_V3_H_

#include <memory>
#include <string>
#include <vector>

#include "plugins/abi/plugin_v3.h"
#include "python/bindings/hosted_plugin.h"

namespace edge_llm::host {

class HostedPluginV3 : public HostedPlugin {
 public:
  HostedPluginV3(std::unique_ptr<abi::PluginV3> plugin, Fail fail);

  std::string name() const override { return core_->getPluginName(); }
  std::string version() const override { return core_->getPluginVersion(); }
  std::unique_ptr<HostedPlugin> clone() override;

  int output_count() override { return build_->getNbOutputs(); }
  std::vector<abi::DataType> output_types(const std::vector<abi::DataType>& inputs) override;
  std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) override;
  bool supports_format_combination(int position, const std::vector<Tensor>& tensors,
                                   int input_count) override;
  void configure(const std::vector<TensorRange>& inputs,
                 const std::vector<TensorRange>& outputs) override;
  size_t workspace_size(const std::vector<TensorRange>& inputs,
                        const std::vector<TensorRange>& outputs) override;
  SerializedPlugin serialize() override;

  void initialize(const CudaDevice&) override {}
  void terminate(const CudaDevice&) override {}
  std::unique_ptr<HostedPlugin> attach_to_context(const CudaDevice& device) override;
  void on_shape_change(const std::vector<Tensor>& inputs,
                       const std::vector<Tensor>& outputs) override;
  void enqueue(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
               const std::vector<CUdeviceptr>& input_addresses,
               const std::vector<CUdeviceptr>& output_addresses, CUdeviceptr workspace,
               const Stream& stream) override;

 private:
  template <typename Capability>
  Capability* capability(abi::PluginCapabilityType type, const char* kind);

  std::unique_ptr<abi::PluginV3> plugin_;
  Fail fail_;
  abi::PluginV3OneCore* core_;
  abi::PluginV3OneBuild* build_;
  abi::PluginV3OneRuntime* runtime_;
};

}  // namespace edge_llm::host

#endif  // EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_V3_H_
