// Drives the plugin library as TensorRT does, in every layout that it serves: through its exported
// functions and through virtual slots by their numbers, so that a wrong order of declarations in
// plugins/abi shows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "plugins/abi/types.h"

namespace edge_llm::testing {

// A function of a shared library; the library stays loaded. Throws when either is missing.
void* find_symbol(const std::string& library, const char* name);

template <typename Function>
Function symbol(const std::string& library, const char* name) {
  return reinterpret_cast<Function>(find_symbol(library, name));
}

// The fields of a plugin with n = 8 and k = 192: two groups, the second one short. Points into
// itself, so it cannot be copied.
struct Fields {
  Fields() = default;
  Fields(const Fields&) = delete;

  int32_t n = 8, k = 192, group_size = 128;
  abi::PluginField list[3] = {{"gemm_n", &n, abi::PluginFieldType::kInt32, 1},
                              {"gemm_k", &k, abi::PluginFieldType::kInt32, 1},
                              {"group_size", &group_size, abi::PluginFieldType::kInt32, 1}};
  abi::PluginFieldCollection collection{3, list};
};

struct Tensor {
  std::vector<int64_t> shape;
  abi::DataType type = abi::DataType::kHalf;
  abi::TensorFormat format = abi::TensorFormat::kLinear;
};
using Tensors = std::vector<Tensor>;  // three inputs, one output

// The tensors of a call with x = [b, s, 192], for the plugin of Fields.
Tensors tensors(int64_t b, int64_t s);

// Arguments of enqueue. These addresses suit a driver that never looks at them.
struct Pointers {
  const void* inputs[3] = {reinterpret_cast<void*>(0x1000), reinterpret_cast<void*>(0x2000),
                           reinterpret_cast<void*>(0x3000)};
  void* outputs[1] = {reinterpret_cast<void*>(0x4000)};
  void* workspace = reinterpret_cast<void*>(0x5000);
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
  virtual abi::DataType output_type() = 0;
  // initialize(), or attachToContext() in place of the object. False when refused.
  virtual bool attach() = 0;
  virtual std::unique_ptr<Plugin> clone() = 0;
  // The output's shape for an x of this rank: 0 and 1 for its own first extents, a constant's
  // value, or -1 for anything else; empty when refused.
  virtual std::vector<int64_t> output_shape(int x_rank) = 0;
  virtual bool supports(int position, const Tensors& tensors) = 0;
  virtual void configure(const Tensors& tensors) = 0;
  virtual size_t workspace(const Tensors& tensors) = 0;
  virtual int enqueue(const Tensors& tensors, const Pointers& pointers) = 0;
  // What an engine stores, and the plugin made from it; null when refused.
  virtual std::unique_ptr<Plugin> stored_and_restored() = 0;
};

// One layout: how a TensorRT major sees one version of the plugin.
struct Interface {
  std::string name;  // "V2 of TensorRT 8"
  std::string version;
  std::function<std::unique_ptr<Plugin>(const Fields&)> create;
  // Of the creator, for the plugins that it makes from then on; empty for V3, which has none.
  std::function<void(const char*)> set_namespace;
};

// V2 of 8, 10 and 11; V3 of 10, and V3 under both versions for an unknown major.
std::vector<Interface> all_interfaces(const std::string& library);

// Engine data of a V2 plugin, and the plugin made from such data; null when refused.
std::vector<char> v2_engine_data(const std::string& library);
std::unique_ptr<Plugin> v2_deserialize(const std::string& library, const std::vector<char>& data);

}  // namespace edge_llm::testing
