#include "tools/verify/plugin_run.h"

namespace edge_llm::verify {
namespace {

// V2 and V3 plugins both exist for it.
constexpr int kTensorRtMajor = 10;

size_t size_of(const HostTensor& tensor) {
  size_t size = tensor.type == abi::DataType::kInt8 ? 1 : 4;
  if (tensor.type == abi::DataType::kHalf) size = 2;
  for (const int64_t extent : tensor.shape) size *= static_cast<size_t>(extent);
  return size;
}

std::vector<host::Tensor> descriptions(const std::vector<HostTensor>& tensors) {
  std::vector<host::Tensor> all;
  for (const HostTensor& tensor : tensors) all.push_back({tensor.type, tensor.shape});
  return all;
}

// Of tensors with only one shape.
std::vector<host::TensorRange> ranges(const std::vector<HostTensor>& tensors) {
  std::vector<host::TensorRange> all;
  for (const HostTensor& tensor : tensors) {
    all.push_back({tensor.type, tensor.shape, tensor.shape, tensor.shape});
  }
  return all;
}

std::shared_ptr<host::HostedCreator> creator_of(const host::PluginLibrary& library,
                                                const std::string& plugin,
                                                const std::string& version) {
  for (const auto& creator : library.creators(kTensorRtMajor)) {
    if (creator->name() == plugin && creator->version() == version) return creator;
  }
  throw host::PluginError("the library has no " + plugin + " version " + version);
}

std::vector<host::Field> fields_of(const Call& call) {
  std::vector<host::Field> fields;
  for (const auto& [name, value] : call.fields) {
    fields.push_back({name, abi::PluginFieldType::kInt32,
                      std::string(reinterpret_cast<const char*>(&value), sizeof(value)), 1});
  }
  return fields;
}

void agree_on_formats(host::HostedPlugin& plugin, const Call& call) {
  std::vector<host::Tensor> tensors = descriptions(call.inputs);
  for (const host::Tensor& output : descriptions(call.outputs)) tensors.push_back(output);
  const int inputs = static_cast<int>(call.inputs.size());
  for (int i = 0; i < static_cast<int>(tensors.size()); ++i) {
    if (!plugin.supports_format_combination(i, tensors, inputs)) {
      throw host::PluginError(call.plugin + " refuses tensor " + std::to_string(i));
    }
  }
}

// The tensors of a call in device memory.
class DeviceTensors {
 public:
  DeviceTensors(const Call& call, const std::shared_ptr<host::CudaDevice>& device) {
    for (const HostTensor& input : call.inputs) {
      inputs_.push_back(std::make_unique<host::DeviceBuffer>(device, input.bytes.size()));
      inputs_.back()->write(0, input.bytes.data(), input.bytes.size());
      input_addresses.push_back(inputs_.back()->address());
    }
    for (const HostTensor& output : call.outputs) {
      const bool in_place = call.written_input >= 0 && &output == &call.outputs.back();
      if (!in_place) {
        outputs_.push_back(std::make_unique<host::DeviceBuffer>(device, size_of(output)));
        outputs_.back()->fill(0xff);  // NaN, which shows where nothing is written
      }
      results_.push_back(in_place ? inputs_[call.written_input].get() : outputs_.back().get());
      output_addresses.push_back(results_.back()->address());
    }
  }

  std::vector<Bytes> results() const {
    std::vector<Bytes> all;
    for (const host::DeviceBuffer* buffer : results_) {
      all.emplace_back(buffer->size(), '\0');
      buffer->read(0, all.back().data(), buffer->size());
    }
    return all;
  }

  std::vector<CUdeviceptr> input_addresses, output_addresses;

 private:
  std::vector<std::unique_ptr<host::DeviceBuffer>> inputs_, outputs_;
  std::vector<const host::DeviceBuffer*> results_;
};

}  // namespace

std::vector<Bytes> run_plugin(const Call& call, const host::PluginLibrary& library,
                              const std::string& plugin_version,
                              const std::shared_ptr<host::CudaDevice>& device) {
  const auto creator = creator_of(library, call.plugin, plugin_version);
  const auto inputs = ranges(call.inputs), outputs = ranges(call.outputs);
  const auto built = creator->create("layer", fields_of(call));
  agree_on_formats(*built, call);
  built->configure(inputs, outputs);
  host::DeviceBuffer workspace(device, built->workspace_size(inputs, outputs));

  const auto loaded = creator->deserialize("layer", built->serialize());
  loaded->initialize(*device);
  const auto attached = loaded->attach_to_context(*device);
  const DeviceTensors tensors(call, device);
  host::Stream stream(device);
  attached->on_shape_change(descriptions(call.inputs), descriptions(call.outputs));
  attached->enqueue(descriptions(call.inputs), descriptions(call.outputs), tensors.input_addresses,
                    tensors.output_addresses, workspace.address(), stream);
  stream.synchronize();
  loaded->terminate(*device);
  return tensors.results();
}

}  // namespace edge_llm::verify
