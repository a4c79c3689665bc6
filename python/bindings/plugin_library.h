// A loaded libedge_llm_plugins.so: its C interface, and its creators for one TensorRT major.
#ifndef EDGE_LLM_PLUGINS_PYTHON_BINDINGS_PLUGIN_LIBRARY_H_
#define EDGE_LLM_PLUGINS_PYTHON_BINDINGS_PLUGIN_LIBRARY_H_

#include <memory>
#include <string>
#include <vector>

#include "plugins/edge_llm_plugins.h"
#include "python/bindings/hosted_plugin.h"

namespace edge_llm::host {

// A creator of any interface. `fields` go to createPlugin as the ONNX parser's attributes do.
class HostedCreator {
 public:
  virtual ~HostedCreator() = default;
  virtual std::string name() const = 0;
  virtual std::string version() const = 0;
  virtual std::string kind() const = 0;  // "V2" or "V3"
  virtual std::vector<Field> field_names() = 0;
  virtual std::unique_ptr<HostedPlugin> create(const std::string& layer_name,
                                               const std::vector<Field>& fields) = 0;
  // V2: deserializePlugin(bytes). V3: createPlugin(fields) in the run-time phase.
  virtual std::unique_ptr<HostedPlugin> deserialize(const std::string& layer_name,
                                                    const SerializedPlugin& data) = 0;
};

class PluginLibrary {
 public:
  // Loads the library for the life of the process. Throws PluginError.
  explicit PluginLibrary(const std::string& path);

  std::string version() const { return functions_.version(); }
  std::string last_error() const { return functions_.last_error(); }
  void set_cuda_driver(const std::string& path) const;
  std::vector<std::shared_ptr<HostedCreator>> creators(int tensorrt_major) const;
  // "<variant> splits=<count>", or "" for m == 0.
  std::string int4_gemm_variant(int64_t m, int64_t n, int64_t k, int sm, int sm_count) const;
  // The same of attention; modes as in edge_llm_plugins.h.
  std::string attention_variant(int mode, int64_t batch, int64_t q_len, int64_t num_q_heads,
                                int64_t num_kv_heads, int64_t head_size, int64_t capacity, int sm,
                                int sm_count) const;

 private:
  [[noreturn]] void fail(const std::string& what) const;

  struct {
    decltype(&edge_llm_plugins_version) version;
    decltype(&edge_llm_plugins_last_error) last_error;
    decltype(&edge_llm_plugins_creators) creators;
    decltype(&edge_llm_plugins_set_cuda_driver) set_cuda_driver;
    decltype(&edge_llm_plugins_int4_gemm_variant) int4_gemm_variant;
    decltype(&edge_llm_plugins_attention_variant) attention_variant;
  } functions_;
};

}  // namespace edge_llm::host

#endif  // EDGE_LLM_PLUGINS_PYTHON_BINDINGS_PLUGIN_LIBRARY_H_
