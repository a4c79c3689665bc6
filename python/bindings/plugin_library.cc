#include "python/bindings/plugin_library.h"

#include <dlfcn.h>

#include <utility>

#include "plugins/abi/plugin_v2.h"
#include "plugins/abi/plugin_v3.h"
#include "python/bindings/hosted_plugin_v2.h"
#include "python/bindings/hosted_plugin_v3.h"
#include "python/bindings/plugin_fields.h"

namespace edge_llm::host {
namespace {

std::vector<Field> names_of(const abi::PluginFieldCollection* fields) {
  return fields != nullptr ? from_collection(*fields) : std::vector<Field>();
}

template <typename Abi>
class CreatorV2 : public HostedCreator {
 public:
  CreatorV2(abi::PluginCreator<Abi>* creator, Fail fail)
      : creator_(creator), fail_(std::move(fail)) {}

  std::string name() const override { return creator_->getPluginName(); }
  std::string version() const override { return creator_->getPluginVersion(); }
  std::string kind() const override { return "V2"; }
  std::vector<Field> field_names() override { return names_of(creator_->getFieldNames()); }

  std::unique_ptr<HostedPlugin> create(const std::string& layer_name,
                                       const std::vector<Field>& fields) override {
    const FieldCollection collection(fields);
    return hosted(creator_->createPlugin(layer_name.c_str(), collection.get()), "createPlugin");
  }

  std::unique_ptr<HostedPlugin> deserialize(const std::string& layer_name,
                                            const SerializedPlugin& data) override {
    // A copy of exactly this size: reading behind it is an error that a sanitizer sees.
    const std::vector<char> bytes(data.bytes.begin(), data.bytes.end());
    return hosted(creator_->deserializePlugin(layer_name.c_str(), bytes.data(), bytes.size()),
                  "deserializePlugin");
  }

 private:
  std::unique_ptr<HostedPlugin> hosted(abi::PluginV2Head<Abi>* plugin, const char* what) {
    if (plugin == nullptr) fail_(what);
    plugin->setPluginNamespace("");
    return std::make_unique<HostedPluginV2<Abi>>(plugin, fail_);
  }

  abi::PluginCreator<Abi>* creator_;
  Fail fail_;
};

class CreatorV3 : public HostedCreator {
 public:
  CreatorV3(abi::PluginCreatorV3One* creator, Fail fail)
      : creator_(creator), fail_(std::move(fail)) {}

  std::string name() const override { return creator_->getPluginName(); }
  std::string version() const override { return creator_->getPluginVersion(); }
  std::string kind() const override { return "V3"; }
  std::vector<Field> field_names() override { return names_of(creator_->getFieldNames()); }

  std::unique_ptr<HostedPlugin> create(const std::string& layer_name,
                                       const std::vector<Field>& fields) override {
    return create(layer_name, fields, abi::TensorRTPhase::kBuild);
  }

  std::unique_ptr<HostedPlugin> deserialize(const std::string& layer_name,
                                            const SerializedPlugin& data) override {
    return create(layer_name, data.fields, abi::TensorRTPhase::kRuntime);
  }

 private:
  std::unique_ptr<HostedPlugin> create(const std::string& layer_name,
                                       const std::vector<Field>& fields, abi::TensorRTPhase phase) {
    const FieldCollection collection(fields);
    std::unique_ptr<abi::PluginV3> plugin(
        creator_->createPlugin(layer_name.c_str(), collection.get(), phase));
    if (plugin == nullptr) fail_("createPlugin");
    return std::make_unique<HostedPluginV3>(std::move(plugin), fail_);
  }

  abi::PluginCreatorV3One* creator_;
  Fail fail_;
};

// From major 10 on, creators of both interfaces share a base that says which one it is.
template <typename Abi>
std::shared_ptr<HostedCreator> versioned_creator(void* creator, const Fail& fail) {
  auto* versioned = static_cast<abi::VersionedInterface*>(creator);
  const std::string kind = versioned->getInterfaceInfo().kind;
  if (kind == "PLUGIN CREATOR_V1") {
    return std::make_shared<CreatorV2<Abi>>(static_cast<abi::PluginCreator<Abi>*>(versioned), fail);
  }
  if (kind == "PLUGIN CREATOR_V3ONE") {
    return std::make_shared<CreatorV3>(static_cast<abi::PluginCreatorV3One*>(versioned), fail);
  }
  throw PluginError("a creator calls itself \"" + kind + "\", which this host does not know");
}

// The library's message names the plugin and the function already.
[[noreturn]] void fail_with(const std::string& message, const std::string& what) {
  throw PluginError(message.empty() ? what + " failed, and the library does not say why" : message);
}

template <typename Function>
void resolve(void* library, const std::string& path, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) throw PluginError(path + " has no " + name);
}

}  // namespace

PluginLibrary::PluginLibrary(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw PluginError(std::string("cannot load the library: ") + dlerror());
  resolve(library, path, "edge_llm_plugins_version", functions_.version);
  resolve(library, path, "edge_llm_plugins_last_error", functions_.last_error);
  resolve(library, path, "edge_llm_plugins_creators", functions_.creators);
  resolve(library, path, "edge_llm_plugins_set_cuda_driver", functions_.set_cuda_driver);
  resolve(library, path, "edge_llm_plugins_int4_gemm_variant", functions_.int4_gemm_variant);
  resolve(library, path, "edge_llm_plugins_attention_variant", functions_.attention_variant);
}

void PluginLibrary::fail(const std::string& what) const {
  fail_with(functions_.last_error(), what);
}

void PluginLibrary::set_cuda_driver(const std::string& path) const {
  if (functions_.set_cuda_driver(path.c_str()) != 0) fail("set_cuda_driver");
}

std::vector<std::shared_ptr<HostedCreator>> PluginLibrary::creators(int tensorrt_major) const {
  // Creators outlive this object, so they take the function rather than `this`.
  const Fail fail = [last_error = functions_.last_error](const std::string& what) {
    fail_with(last_error(), what);
  };
  int count = 0;
  void* const* raw = functions_.creators(tensorrt_major, &count);
  std::vector<std::shared_ptr<HostedCreator>> creators;
  for (int i = 0; i < count; ++i) {
    if (tensorrt_major == 8) {
      creators.push_back(std::make_shared<CreatorV2<abi::v8>>(
          static_cast<abi::PluginCreator<abi::v8>*>(raw[i]), fail));
    } else if (tensorrt_major == 10) {
      creators.push_back(versioned_creator<abi::v10>(raw[i], fail));
    } else {
      creators.push_back(versioned_creator<abi::v11>(raw[i], fail));
    }
  }
  return creators;
}

std::string PluginLibrary::int4_gemm_variant(int64_t m, int64_t n, int64_t k, int sm,
                                             int sm_count) const {
  char text[256] = {};
  if (functions_.int4_gemm_variant(m, n, k, sm, sm_count, text, sizeof(text)) != 0) {
    fail("int4_gemm_variant");
  }
  return text;
}

std::string PluginLibrary::attention_variant(int mode, int64_t batch, int64_t q_len,
                                             int64_t num_q_heads, int64_t num_kv_heads,
                                             int64_t head_size, int64_t capacity, int sm,
                                             int sm_count) const {
  char text[256] = {};
  if (functions_.attention_variant(mode, batch, q_len, num_q_heads, num_kv_heads, head_size,
                                   capacity, sm, sm_count, text, sizeof(text)) != 0) {
    fail("attention_variant");
  }
  return text;
}

}  // namespace edge_llm::host
