#include "plugins/int4_gemm/int4_gemm_plugin_v2.h"

#include <mutex>
#include <set>

#include "plugins/int4_gemm/int4_gemm_tensors.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

constexpr char kVersion[] = "1";

// A pointer to this text that stays valid: creators hand out their namespace as a bare pointer.
const char* interned(const char* text) {
  static std::mutex mutex;
  static auto* texts = new std::set<std::string>;
  std::lock_guard<std::mutex> lock(mutex);
  return texts->insert(text == nullptr ? "" : text).first->c_str();
}

}  // namespace

template <typename Abi>
const char* Int4GemmPluginV2<Abi>::getPluginType() const noexcept {
  return kInt4GemmPluginName;
}

template <typename Abi>
const char* Int4GemmPluginV2<Abi>::getPluginVersion() const noexcept {
  return kVersion;
}

template <typename Abi>
int32_t Int4GemmPluginV2<Abi>::getNbOutputs() const noexcept {
  return kInt4GemmOutputs;
}

template <typename Abi>
int32_t Int4GemmPluginV2<Abi>::initialize() noexcept {
  return guarded("Int4GroupwiseGemmPlugin initialize", 1, [&] {
    op_.attach();
    return 0;
  });
}

// Nothing to release: the loaded kernels belong to the process, and other plugins use them.
template <typename Abi>
void Int4GemmPluginV2<Abi>::terminate() noexcept {}

template <typename Abi>
size_t Int4GemmPluginV2<Abi>::getSerializationSize() const noexcept {
  return kInt4GemmEngineDataSize;
}

template <typename Abi>
void Int4GemmPluginV2<Abi>::serialize(void* buffer) const noexcept {
  write_engine_data(op_.config(), buffer);
}

template <typename Abi>
void Int4GemmPluginV2<Abi>::destroy() noexcept {
  delete this;
}

template <typename Abi>
abi::PluginV2Head<Abi>* Int4GemmPluginV2<Abi>::clone() const noexcept {
  return guarded("Int4GroupwiseGemmPlugin clone", static_cast<abi::PluginV2Head<Abi>*>(nullptr),
                 [&] { return new Int4GemmPluginV2(*this); });
}

template <typename Abi>
void Int4GemmPluginV2<Abi>::setPluginNamespace(const char* plugin_namespace) noexcept {
  guarded("Int4GroupwiseGemmPlugin setPluginNamespace",
          [&] { namespace_ = plugin_namespace == nullptr ? "" : plugin_namespace; });
}

template <typename Abi>
const char* Int4GemmPluginV2<Abi>::getPluginNamespace() const noexcept {
  return namespace_.c_str();
}

template <typename Abi>
abi::DataType Int4GemmPluginV2<Abi>::getOutputDataType(int32_t, const abi::DataType*,
                                                       int32_t) const noexcept {
  return abi::DataType::kHalf;
}

template <typename Abi>
abi::DimsExprs<Abi> Int4GemmPluginV2<Abi>::getOutputDimensions(
    int32_t, const abi::DimsExprs<Abi>* inputs, int32_t input_count,
    abi::ExprBuilder<Abi>& builder) noexcept {
  return guarded("Int4GroupwiseGemmPlugin getOutputDimensions", abi::DimsExprs<Abi>{-1, {}}, [&] {
    check_tensor_counts(input_count, kInt4GemmOutputs);
    return int4_gemm_output_shape(op_.config(), inputs[kX], builder);
  });
}

template <typename Abi>
bool Int4GemmPluginV2<Abi>::supportsFormatCombination(int32_t position,
                                                      const PluginTensorDesc* in_out,
                                                      int32_t input_count,
                                                      int32_t output_count) noexcept {
  return input_count == kInt4GemmInputs && output_count == kInt4GemmOutputs &&
         int4_gemm_supports(position, in_out[position].type, in_out[position].format);
}

// TensorRT takes no refusal here; it meets the same checks, and the same message, in enqueue.
template <typename Abi>
void Int4GemmPluginV2<Abi>::configurePlugin(const DynamicPluginTensorDesc* inputs,
                                            int32_t input_count,
                                            const DynamicPluginTensorDesc* outputs,
                                            int32_t output_count) noexcept {
  guarded("Int4GroupwiseGemmPlugin configurePlugin", [&] {
    check_tensor_counts(input_count, output_count);
    check_configuration(op_.config(), inputs, outputs);
  });
}

template <typename Abi>
size_t Int4GemmPluginV2<Abi>::getWorkspaceSize(const PluginTensorDesc* inputs, int32_t input_count,
                                               const PluginTensorDesc*,
                                               int32_t output_count) const noexcept {
  return guarded("Int4GroupwiseGemmPlugin getWorkspaceSize", size_t{0}, [&]() -> size_t {
    check_tensor_counts(input_count, output_count);
    return op_.workspace_bound(int4_gemm_rows(widen(inputs[kX].dims)));
  });
}

template <typename Abi>
int32_t Int4GemmPluginV2<Abi>::enqueue(const PluginTensorDesc* input_descs,
                                       const PluginTensorDesc* output_descs,
                                       const void* const* inputs, void* const* outputs,
                                       void* workspace, CUstream_st* stream) noexcept {
  return guarded("Int4GroupwiseGemmPlugin enqueue", 1, [&] {
    const int64_t m = checked_rows(op_.config(), input_descs, output_descs);
    op_.enqueue(m, {inputs[kX], inputs[kWeights], inputs[kScales], outputs[0], workspace}, stream);
    return 0;
  });
}

template <typename Abi>
const char* Int4GemmCreatorV2<Abi>::getPluginName() const noexcept {
  return kInt4GemmPluginName;
}

template <typename Abi>
const char* Int4GemmCreatorV2<Abi>::getPluginVersion() const noexcept {
  return kVersion;
}

template <typename Abi>
const abi::PluginFieldCollection* Int4GemmCreatorV2<Abi>::getFieldNames() noexcept {
  return int4_gemm_field_names();
}

template <typename Abi>
abi::PluginV2Head<Abi>* Int4GemmCreatorV2<Abi>::createPlugin(
    const char*, const abi::PluginFieldCollection* fields) noexcept {
  return guarded("Int4GroupwiseGemmPlugin createPlugin",
                 static_cast<abi::PluginV2Head<Abi>*>(nullptr),
                 [&] { return new Int4GemmPluginV2<Abi>(int4_gemm_config(fields), namespace_); });
}

template <typename Abi>
abi::PluginV2Head<Abi>* Int4GemmCreatorV2<Abi>::deserializePlugin(const char*, const void* data,
                                                                  size_t length) noexcept {
  return guarded(
      "Int4GroupwiseGemmPlugin deserializePlugin", static_cast<abi::PluginV2Head<Abi>*>(nullptr),
      [&] { return new Int4GemmPluginV2<Abi>(read_engine_data(data, length), namespace_); });
}

template <typename Abi>
void Int4GemmCreatorV2<Abi>::setPluginNamespace(const char* plugin_namespace) noexcept {
  guarded("Int4GroupwiseGemmPlugin setPluginNamespace",
          [&] { namespace_ = interned(plugin_namespace); });
}

template <typename Abi>
const char* Int4GemmCreatorV2<Abi>::getPluginNamespace() const noexcept {
  return namespace_;
}

template class Int4GemmCreatorV2<abi::v8>;
template class Int4GemmCreatorV2<abi::v10>;
template class Int4GemmCreatorV2<abi::v11>;

}  // namespace edge_llm
