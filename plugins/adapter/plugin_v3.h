// Any operation as an IPluginV3 plugin, for TensorRT from 10 on and TensorRT-RTX. operation.h says
// what an `Op` has.
#pragma once

#include <memory>

#include "plugins/abi/plugin_v3.h"
#include "plugins/adapter/config_fields.h"
#include "plugins/adapter/tensors.h"
#include "plugins/runtime/status.h"

namespace edge_llm {

// Is the second edition of the interface, which TensorRT knows from 10.3 on, only where an output
// shares an input's memory.
class BuildCapability : public abi::PluginV3OneBuildV2 {
 public:
  abi::InterfaceInfo getInterfaceInfo() const noexcept final {
    return aliases_ ? abi::PluginV3OneBuildV2::getInterfaceInfo()
                    : abi::PluginV3OneBuild::getInterfaceInfo();
  }

 protected:
  explicit BuildCapability(bool aliases) : aliases_(aliases) {}

 private:
  bool aliases_;
};

template <typename Op>
class PluginV3 final : public abi::PluginV3,
                       public abi::PluginV3OneCore,
                       public BuildCapability,
                       public abi::PluginV3OneRuntime {
 public:
  using Abi = abi::v10;
  using PluginTensorDesc = Abi::PluginTensorDesc;
  using DynamicPluginTensorDesc = Abi::DynamicPluginTensorDesc;

  // `version` is the one that the plugin was created under; the pointer must outlive the plugin.
  PluginV3(const Op& op, const char* version)
      : BuildCapability(has_aliases(op)), op_(op), version_(version) {}

  // TensorRT casts the result to the exact interface, so each case is a cast to that base.
  abi::PluginCapability* getCapabilityInterface(abi::PluginCapabilityType type) noexcept override {
    switch (type) {
      case abi::PluginCapabilityType::kCore:
        return static_cast<abi::PluginV3OneCore*>(this);
      case abi::PluginCapabilityType::kBuild:
        return static_cast<abi::PluginV3OneBuild*>(this);
      case abi::PluginCapabilityType::kRuntime:
        return static_cast<abi::PluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  abi::PluginV3* clone() noexcept override {
    return guarded({Op::kName, "clone"}, static_cast<abi::PluginV3*>(nullptr),
                   [&] { return new PluginV3(*this); });
  }

  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return version_; }
  const char* getPluginNamespace() const noexcept override { return ""; }

  int32_t configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const DynamicPluginTensorDesc* outputs,
                          int32_t output_count) noexcept override {
    return guarded({Op::kName, "configurePlugin"}, 1, [&] {
      check_counts(op_.signature(), input_count, output_count);
      op_.check_largest(checked_shapes(op_.signature(), inputs, outputs));
      return 0;
    });
  }

  int32_t getOutputDataTypes(abi::DataType* output_types, int32_t output_count,
                             const abi::DataType*, int32_t input_count) const noexcept override {
    return guarded({Op::kName, "getOutputDataTypes"}, 1, [&] {
      const Signature signature = op_.signature();
      check_counts(signature, input_count, output_count);
      for (int32_t i = 0; i < output_count; ++i) output_types[i] = signature.outputs[i].type;
      return 0;
    });
  }

  int32_t getOutputShapes(const abi::DimsExprs<Abi>* inputs, int32_t input_count,
                          const abi::DimsExprs<Abi>*, int32_t, abi::DimsExprs<Abi>* outputs,
                          int32_t output_count, abi::ExprBuilder<Abi>& builder) noexcept override {
    return guarded({Op::kName, "getOutputShapes"}, 1, [&] {
      check_counts(op_.signature(), input_count, output_count);
      for (int32_t i = 0; i < output_count; ++i) {
        outputs[i] = op_.output_shape(i, inputs, builder);
      }
      return 0;
    });
  }

  bool supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* in_out,
                                 int32_t input_count, int32_t output_count) noexcept override {
    const Signature signature = op_.signature();
    return input_count == signature.input_count && output_count == signature.output_count &&
           supports(signature, position, in_out[position].desc.type, in_out[position].desc.format);
  }

  int32_t getNbOutputs() const noexcept override { return op_.signature().output_count; }

  size_t getWorkspaceSize(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                          const DynamicPluginTensorDesc* outputs,
                          int32_t output_count) const noexcept override {
    return guarded({Op::kName, "getWorkspaceSize"}, size_t{0}, [&]() -> size_t {
      check_counts(op_.signature(), input_count, output_count);
      return op_.workspace_bound(checked_shapes(op_.signature(), inputs, outputs));
    });
  }

  int32_t getAliasedInput(int32_t output_index) noexcept override {
    return op_.aliased_input(output_index);
  }

  int32_t onShapeChange(const PluginTensorDesc* inputs, int32_t input_count,
                        const PluginTensorDesc* outputs, int32_t output_count) noexcept override {
    return guarded({Op::kName, "onShapeChange"}, 1, [&] {
      check_counts(op_.signature(), input_count, output_count);
      op_.check(checked_shapes(op_.signature(), inputs, outputs));
      return 0;
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

  abi::PluginV3* attachToContext(void*) noexcept override {
    return guarded({Op::kName, "attachToContext"}, static_cast<abi::PluginV3*>(nullptr), [&] {
      auto attached = std::make_unique<PluginV3>(*this);
      attached->op_.attach();
      return attached.release();
    });
  }

  const abi::PluginFieldCollection* getFieldsToSerialize() noexcept override {
    serialized_fields_ = fields_of(op_.config());
    serialized_ = {static_cast<int32_t>(serialized_fields_.size()), serialized_fields_.data()};
    return &serialized_;
  }

 private:
  static bool has_aliases(const Op& op) {
    for (int32_t i = 0; i < op.signature().output_count; ++i) {
      if (op.aliased_input(i) >= 0) return true;
    }
    return false;
  }

  Op op_;
  const char* version_;
  // What getFieldsToSerialize() returned last; it points into op_.
  FieldArray<typename Op::Config> serialized_fields_{};
  abi::PluginFieldCollection serialized_{};
};

template <typename Op>
class CreatorV3 final : public abi::PluginCreatorV3One {
 public:
  using Config = typename Op::Config;

  explicit CreatorV3(const char* version) : version_(version) {}

  abi::PluginV3* createPlugin(const char*, const abi::PluginFieldCollection* fields,
                              abi::TensorRTPhase) noexcept override {
    return guarded({Op::kName, "createPlugin"}, static_cast<abi::PluginV3*>(nullptr),
                   [&] { return new PluginV3<Op>(Op(read_fields<Config>(fields)), version_); });
  }
  const abi::PluginFieldCollection* getFieldNames() noexcept override {
    return field_names<Config>();
  }
  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return version_; }
  const char* getPluginNamespace() const noexcept override { return ""; }

 private:
  const char* version_;
};

}  // namespace edge_llm
