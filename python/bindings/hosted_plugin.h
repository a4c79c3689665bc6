// A plugin as TensorRT sees it, whichever interface it was written for.
#ifndef EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_H_
#define EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "plugins/abi/types.h"
#include "python/bindings/cuda_device.h"

namespace edge_llm::host {

struct PluginError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Shape = std::vector<int64_t>;

struct Tensor {
  abi::DataType type;
  Shape shape;
  abi::TensorFormat format = abi::TensorFormat::kLinear;
};

// What an optimisation profile says of a tensor.
struct TensorRange {
  abi::DataType type;
  Shape min, opt, max;
  abi::TensorFormat format = abi::TensorFormat::kLinear;
};

// An attribute of a plugin; also the unit in which V3 plugins serialise themselves.
struct Field {
  std::string name;
  abi::PluginFieldType type;
  std::string data;
  int32_t length;  // elements of data
};

// What an engine file keeps of a plugin: fields for V3, else the bytes that V2 serialises.
struct SerializedPlugin {
  std::string bytes;
  std::vector<Field> fields;
};

// One plugin object. Functions that a plugin can fail throw PluginError with the library's
// last-error string; each documents what TensorRT calls in V2 (IPluginV2DynamicExt) and V3.
class HostedPlugin {
 public:
  virtual ~HostedPlugin() = default;

  virtual std::string name() const = 0;
  virtual std::string version() const = 0;
  virtual std::unique_ptr<HostedPlugin> clone() = 0;

  // The build phase.
  virtual int output_count() = 0;
  virtual std::vector<abi::DataType> output_types(const std::vector<abi::DataType>& inputs) = 0;
  virtual std::vector<Shape> output_shapes(const std::vector<Shape>& inputs) = 0;
  // May the tensor at `position` (inputs first, then outputs) look like that? Tensors after
  // `position` are shown to the plugin as rubbish: it must not look at them.
  virtual bool supports_format_combination(int position, const std::vector<Tensor>& tensors,
                                           int input_count) = 0;
  virtual void configure(const std::vector<TensorRange>& inputs,
                         const std::vector<TensorRange>& outputs) = 0;
  // Bytes. V2 is asked about the largest shapes, V3 about the ranges.
  virtual size_t workspace_size(const std::vector<TensorRange>& inputs,
                                const std::vector<TensorRange>& outputs) = 0;
  virtual SerializedPlugin serialize() = 0;

  // The run-time phase.
  // V2: initialize() and, at the end, terminate(). V3 has neither: nothing is called.
  virtual void initialize(const CudaDevice& device) = 0;
  virtual void terminate(const CudaDevice& device) = 0;
  // The plugin of a new execution context. V2: clone, then attachToContext. V3: attachToContext.
  virtual std::unique_ptr<HostedPlugin> attach_to_context(const CudaDevice& device) = 0;
  // V3: onShapeChange. V2 has no such function: nothing is called.
  virtual void on_shape_change(const std::vector<Tensor>& inputs,
                               const std::vector<Tensor>& outputs) = 0;
  virtual void enqueue(const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                       const std::vector<CUdeviceptr>& input_addresses,
                       const std::vector<CUdeviceptr>& output_addresses, CUdeviceptr workspace,
                       const Stream& stream) = 0;
};

// Throws PluginError for a failed call, with the last error of the library.
using Fail = std::function<void(const std::string& what)>;

// Conversions between the values above and an ABI's structures.

template <typename Abi>
typename Abi::Dims to_dims(const Shape& shape) {
  if (shape.size() > abi::kMaxDims) throw std::invalid_argument("a shape has at most 8 extents");
  typename Abi::Dims dims{static_cast<int32_t>(shape.size()), {}};
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] > std::numeric_limits<typename Abi::Extent>::max()) {
      throw std::invalid_argument("extent " + std::to_string(shape[i]) +
                                  " does not fit this TensorRT's 32 bits");
    }
    dims.d[i] = static_cast<typename Abi::Extent>(shape[i]);
  }
  return dims;
}

template <typename Abi>
typename Abi::PluginTensorDesc to_desc(const Tensor& tensor) {
  return {to_dims<Abi>(tensor.shape), tensor.type, tensor.format, /*scale=*/1.0f};
}

// Extents that the profile leaves open are -1 in desc.
template <typename Abi>
typename Abi::DynamicPluginTensorDesc to_desc(const TensorRange& range) {
  if (range.min.size() != range.max.size() || range.opt.size() != range.max.size()) {
    throw std::invalid_argument("min, opt and max have different ranks");
  }
  Shape known = range.max;
  for (size_t i = 0; i < known.size(); ++i) {
    if (range.min[i] != range.max[i]) known[i] = -1;
  }
  typename Abi::DynamicPluginTensorDesc desc{};
  desc.desc = to_desc<Abi>(Tensor{range.type, known, range.format});
  desc.min = to_dims<Abi>(range.min);
  desc.max = to_dims<Abi>(range.max);
  if constexpr (Abi::kMajor >= 10) desc.opt = to_dims<Abi>(range.opt);
  return desc;
}

template <typename Abi>
auto to_descs(const std::vector<Tensor>& tensors) {
  std::vector<typename Abi::PluginTensorDesc> descs;
  for (const Tensor& tensor : tensors) descs.push_back(to_desc<Abi>(tensor));
  return descs;
}

template <typename Abi>
auto to_descs(const std::vector<TensorRange>& ranges) {
  std::vector<typename Abi::DynamicPluginTensorDesc> descs;
  for (const TensorRange& range : ranges) descs.push_back(to_desc<Abi>(range));
  return descs;
}

// What supportsFormatCombination must not look at.
inline Tensor rubbish_tensor() {
  return {static_cast<abi::DataType>(-1), {-77, -77}, static_cast<abi::TensorFormat>(-1)};
}

inline std::vector<const void*> to_inputs(const std::vector<CUdeviceptr>& addresses) {
  std::vector<const void*> pointers;
  for (CUdeviceptr address : addresses) pointers.push_back(reinterpret_cast<void*>(address));
  return pointers;
}

inline std::vector<void*> to_outputs(const std::vector<CUdeviceptr>& addresses) {
  std::vector<void*> pointers;
  for (CUdeviceptr address : addresses) pointers.push_back(reinterpret_cast<void*>(address));
  return pointers;
}

}  // namespace edge_llm::host

#endif  // EDGE_LLM_PLUGINS_PYTHON_BINDINGS_HOSTED_PLUGIN_H_
