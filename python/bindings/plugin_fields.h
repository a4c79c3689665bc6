// Fields between Python's owning values and the borrowed pointers of TensorRT.
#ifndef EDGE_LLM_PLUGINS_PYTHON_BINDINGS_PLUGIN_FIELDS_H_
#define EDGE_LLM_PLUGINS_PYTHON_BINDINGS_PLUGIN_FIELDS_H_

#include <vector>

#include "plugins/abi/types.h"
#include "python/bindings/hosted_plugin.h"

namespace edge_llm::host {

// A collection in memory that is gone (and overwritten) after the creator's call, as TensorRT's is:
// a plugin that keeps pointers to its fields reads rubbish in the tests.
class FieldCollection {
 public:
  explicit FieldCollection(const std::vector<Field>& fields);
  ~FieldCollection();
  FieldCollection(const FieldCollection&) = delete;
  FieldCollection& operator=(const FieldCollection&) = delete;

  const abi::PluginFieldCollection* get() const { return &collection_; }

 private:
  std::vector<Field> owned_;
  std::vector<abi::PluginField> borrowed_;
  abi::PluginFieldCollection collection_;
};

std::vector<Field> from_collection(const abi::PluginFieldCollection& collection);

}  // namespace edge_llm::host

#endif  // EDGE_LLM_PLUGINS_PYTHON_BINDINGS_PLUGIN_FIELDS_H_
