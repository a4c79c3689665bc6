// Drives the plugin library as TensorRT does, in every layout that it serves: through its exported
// functions and through virtual slots by their numbers, so that a wrong order of declarations in
// plugins/abi shows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugins/abi/types.h"

namespace edge_llm::testing {

// A function of a shared library; the library stays loaded. Throws when either is missing.
void* find_symbol(const std::string& library, const char* name);

template <typename Function>
Function symbol(const std::string& library, const char* name) {
  return reinterpret_cast<Function>(find_symbol(library, name));
}

// The plugin to create, and its INT32 fields.
struct Fields {
  std::string plugin;
  std::vector<std::pair<std::string, int32_t>> values;

  // A copy in which one field has another value, or is added.
  Fields with(const std::string& name, int32_t value) const;
};

struct Tensor {
  std::vector<int64_t> shape;
  abi::DataType type = abi::DataType::kHalf;
  abi::TensorFormat format = abi::TensorFormat::kLinear;
};
using Tensors = std::vector<Tensor>;  // inputs, then outputs

// Arguments of enqueue.
struct Pointers {
  // Addresses far apart and aligned, for a driver that never looks at them.
  Pointers(int input_count, int output_count);

  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  void* workspace;
  void* stream = nullptr;
};

// One plugin object. A null pointer from the library is a null unique_ptr here.
class Plugin {
 public:
  virtual ~Plugin() = default;  // destroys the object as TensorRT does

  virtual std::string name() = 0;
  virtual std::string version() = 0;
  virtual std::string plugin_namespace() = 0;
  virtual int outputs() = 0;
  virtual std::vector<abi::DataType> output_types(const Tensors& tensors) = 0;
  // initialize(), or attachToContext() in place of the object. False when refused.
  virtual bool attach() = 0;
  virtual std::unique_ptr<Plugin> clone() = 0;
  // The outputs' shapes for inputs of these ranks, as SymbolicShapes writes them; empty when
  // refused.
  virtual std::vector<std::string> output_shapes(const std::vector<int>& ranks) = 0;
  virtual bool supports(int position, const Tensors& tensors) = 0;
  virtual void configure(const Tensors& tensors) = 0;
  virtual size_t workspace(const Tensors& tensors) = 0;
  virtual int enqueue(const Tensors& tensors, const Pointers& pointers) = 0;
  // What an engine stores, and the plugin made from it; null when refused.
  virtual std::unique_ptr<Plugin> stored_and_restored() = 0;
  // Edition of the build interface, and the input whose memory an output shares; 0 and -1 for V2,
  // which has neither.
  virtual int build_edition() { return 0; }
  virtual int aliased_input(int /*output*/) { return -1; }
};

// One layout: how a TensorRT major sees one version of a plugin.
struct Interface {
  std::string name;  // "V2 of TensorRT 8"
  std::string version;
  std::function<std::unique_ptr<Plugin>(const Fields&)> create;
  // Of the named plugin's creator, for the plugins that it makes from then on; empty for V3, which
  // has none.
  std::function<void(const std::string& plugin, const char* plugin_namespace)> set_namespace;
  // The names of the fields that the plugin's creator lists.
  std::function<std::vector<std::string>(const std::string& plugin)> field_names;
};

// V2 of 8, 10 and 11; V3 of 10 and 11, and V3 under both versions for an unknown major.
std::vector<Interface> all_interfaces(const std::string& library);

// Engine data of a V2 plugin, and the plugin made from such data; null when refused.
std::vector<char> v2_engine_data(const std::string& library, const Fields& fields);
std::unique_ptr<Plugin> v2_deserialize(const std::string& library, const std::string& plugin,
                                       const std::vector<char>& data);

}  // namespace edge_llm::testing
