// Any operation as an IPluginV2DynamicExt plugin, version "1", for TensorRT 8, 10 and 11.
// operation.h says what an `Op` has.
#pragma once

#include <atomic>
#include <string>

#include "plugins/abi/plugin_v2.h"
#include "plugins/adapter/config_fields.h"
#include "plugins/adapter/engine_data.h"
#include "plugins/adapter/interned.h"
#include "plugins/adapter/tensors.h"
#include "plugins/runtime/status.h"

namespace edge_llm {

inline constexpr char kPluginV2Version[] = "1";

template <typename Abi, typename Op>
class PluginV2 final : public abi::PluginV2DynamicExt<Abi> {
 public:
  using Head = abi::PluginV2Head<Abi>;
  using PluginTensorDesc = typename Abi::PluginTensorDesc;
  using DynamicPluginTensorDesc = typename Abi::DynamicPluginTensorDesc;

  PluginV2(const typename Op::Config& config, const char* plugin_namespace)
      : op_(config), namespace_(plugin_namespace) {}

  const char* getPluginType() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kPluginV2Version; }
  int32_t getNbOutputs() const noexcept override { return op_.signature().output_count; }

  int32_t initialize() noexcept override {
    return guarded({Op::kName, "initialize"}, 1, [&] {
      op_.attach();
      return 0;
    });
  }

  // Nothing to release: the loaded kernels belong to the process, and other plugins use them.
  void terminate() noexcept override {}

  size_t getSerializationSize() const noexcept override {
    return kEngineDataSize<typename Op::Config>;
  }
  void serialize(void* buffer) const noexcept override { write_engine_data(op_.config(), buffer); }
  void destroy() noexcept override { delete this; }

  Head* clone() const noexcept override {
    return guarded({Op::kName, "clone"}, static_cast<Head*>(nullptr),
                   [&] { return new PluginV2(*this); });
  }

  void setPluginNamespace(const char* plugin_namespace) noexcept override {
    guarded({Op::kName, "setPluginNamespace"},
            [&] { namespace_ = plugin_namespace == nullptr ? "" : plugin_namespace; });
  }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

  abi::DataType getOutputDataType(int32_t index, const abi::DataType*,
                                  int32_t) const noexcept override {
    return op_.signature().outputs[index].type;
  }

  abi::DimsExprs<Abi> getOutputDimensions(int32_t output_index, const abi::DimsExprs<Abi>* inputs,
                                          int32_t input_count,
                                          abi::ExprBuilder<Abi>& builder) noexcept override {
    return guarded({Op::kName, "getOutputDimensions"}, abi::DimsExprs<Abi>{-1, {}}, [&] {
      check_counts(op_.signature(), input_count, op_.signature().output_count);
      return op_.output_shape(output_index, inputs, builder);
    });
  }

  bool supportsFormatCombination(int32_t position, const PluginTensorDesc* in_out,
                                 int32_t input_count, int32_t output_count) noexcept override {
    const Signature signature = op_.signature();
    return input_count == signature.input_count && output_count == signature.output_count &&
           supports(signature, position, in_out[position].type, in_out[position].format);
  }

  // TensorRT takes no refusal here; it meets the same checks, and the same message, in enqueue.
  void configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                       const DynamicPluginTensorDesc* outputs,
                       int32_t output_count) noexcept override {
    guarded({Op::kName, "configurePlugin"}, [&] {
      check_counts(op_.signature(), input_count, output_count);
      op_.check_largest(checked_shapes(op_.signature(), inputs, outputs));
    });
  }

  size_t getWorkspaceSize(const PluginTensorDesc* inputs, int32_t input_count,
                          const PluginTensorDesc* outputs,
                          int32_t output_count) const noexcept override {
    return guarded({Op::kName, "getWorkspaceSize"}, size_t{0}, [&]() -> size_t {
      check_counts(op_.signature(), input_count, output_count);
      return op_.workspace_bound(checked_shapes(op_.signature(), inputs, outputs));
    });
  }

  int32_t enqueue(const PluginTensorDesc* input_descs, const PluginTensorDesc* output_descs,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  CUstream_st* stream) noexcept override {
    return guarded({Op::kName, "enqueue"}, 1, [&] {
      op_.enqueue(checked_shapes(op_.signature(), input_descs, output_descs),
                  {inputs, outputs, workspace}, stream);
      return 0;
    });
  }

 private:
  Op op_;
  std::string namespace_;
};

template <typename Abi, typename Op>
class CreatorV2 final : public abi::PluginCreator<Abi> {
 public:
  using Config = typename Op::Config;
  using Head = abi::PluginV2Head<Abi>;

  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kPluginV2Version; }
  const abi::PluginFieldCollection* getFieldNames() noexcept override {
    return field_names<Config>();
  }

  Head* createPlugin(const char*, const abi::PluginFieldCollection* fields) noexcept override {
    return guarded({Op::kName, "createPlugin"}, static_cast<Head*>(nullptr),
                   [&] { return new PluginV2<Abi, Op>(read_fields<Config>(fields), namespace_); });
  }

  Head* deserializePlugin(const char*, const void* data, size_t length) noexcept override {
    return guarded({Op::kName, "deserializePlugin"}, static_cast<Head*>(nullptr), [&] {
      return new PluginV2<Abi, Op>(read_engine_data<Config>(data, length), namespace_);
    });
  }

  void setPluginNamespace(const char* plugin_namespace) noexcept override {
    guarded({Op::kName, "setPluginNamespace"}, [&] { namespace_ = interned(plugin_namespace); });
  }
  const char* getPluginNamespace() const noexcept override { return namespace_; }

 private:
  // One creator serves every thread and registry of the process.
  std::atomic<const char*> namespace_{""};
};

}  // namespace edge_llm
