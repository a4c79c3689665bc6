// IPluginV2DynamicExt and its creator. The order of declarations is the order of virtual slots.
#pragma once

#include "plugins/abi/expressions.h"
#include "plugins/abi/types.h"

namespace edge_llm::abi {

// Slots 0 to 19. The functions that TensorRT never calls on a plugin with dynamic shapes ("Legacy",
// and the two of formats) are kept for their slots and give TensorRT's own fixed answers.
template <typename Abi>
class PluginV2Head {
 public:
  using Dims = typename Abi::Dims;

  virtual int32_t getTensorRTVersion() const noexcept {
    constexpr int32_t kV2DynamicExt = 3;
    return (kV2DynamicExt << 24) | (Abi::kLibraryVersion & 0xFFFFFF);
  }
  virtual const char* getPluginType() const noexcept = 0;
  virtual const char* getPluginVersion() const noexcept = 0;
  virtual int32_t getNbOutputs() const noexcept = 0;
  virtual Dims getOutputDimensionsLegacy(int32_t, const Dims*, int32_t) noexcept {
    return Dims{-1, {}};
  }
  virtual bool supportsFormat(DataType, TensorFormat) const noexcept { return false; }
  virtual void configureWithFormat(const Dims*, int32_t, const Dims*, int32_t, DataType,
                                   TensorFormat, int32_t) noexcept {}
  virtual int32_t initialize() noexcept = 0;
  virtual void terminate() noexcept = 0;
  virtual size_t getWorkspaceSizeLegacy(int32_t) const noexcept { return 0; }
  virtual int32_t enqueueLegacy(int32_t, const void* const*, void* const*, void*,
                                CUstream_st*) noexcept {
    return 1;
  }
  virtual size_t getSerializationSize() const noexcept = 0;
  virtual void serialize(void* buffer) const noexcept = 0;
  virtual void destroy() noexcept = 0;
  virtual PluginV2Head* clone() const noexcept = 0;
  virtual void setPluginNamespace(const char* plugin_namespace) noexcept = 0;
  virtual const char* getPluginNamespace() const noexcept = 0;

 protected:
  virtual ~PluginV2Head() noexcept = default;  // slots 17 and 18; hosts call destroy()

 public:
  virtual DataType getOutputDataType(int32_t index, const DataType* input_types,
                                     int32_t input_count) const noexcept = 0;
};

// Majors 8 and 10 have two more slots here, which major 11 dropped.
template <typename Abi, bool kHasBroadcastSlots = Abi::kHasBroadcastSlots>
class PluginV2Broadcast : public PluginV2Head<Abi> {
 public:
  virtual bool isOutputBroadcastAcrossBatch(int32_t, const bool*, int32_t) const noexcept {
    return false;
  }
  virtual bool canBroadcastInputAcrossBatch(int32_t) const noexcept { return true; }
};

template <typename Abi>
class PluginV2Broadcast<Abi, false> : public PluginV2Head<Abi> {};

template <typename Abi>
class PluginV2DynamicExt : public PluginV2Broadcast<Abi> {
 public:
  using typename PluginV2Head<Abi>::Dims;
  using PluginTensorDesc = typename Abi::PluginTensorDesc;
  using DynamicPluginTensorDesc = typename Abi::DynamicPluginTensorDesc;

  virtual void configurePluginLegacy(const Dims*, int32_t, const Dims*, int32_t, const DataType*,
                                     const DataType*, const bool*, const bool*, TensorFormat,
                                     int32_t) noexcept {}
  virtual void attachToContext(void* /*cudnn*/, void* /*cublas*/, void* /*allocator*/) noexcept {}
  virtual void detachFromContext() noexcept {}
  virtual DimsExprs<Abi> getOutputDimensions(int32_t output_index, const DimsExprs<Abi>* inputs,
                                             int32_t input_count,
                                             ExprBuilder<Abi>& builder) noexcept = 0;
  virtual bool supportsFormatCombination(int32_t position, const PluginTensorDesc* in_out,
                                         int32_t input_count, int32_t output_count) noexcept = 0;
  virtual void configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                               const DynamicPluginTensorDesc* outputs,
                               int32_t output_count) noexcept = 0;
  virtual size_t getWorkspaceSize(const PluginTensorDesc* inputs, int32_t input_count,
                                  const PluginTensorDesc* outputs,
                                  int32_t output_count) const noexcept = 0;
  virtual int32_t enqueue(const PluginTensorDesc* input_descs, const PluginTensorDesc* output_descs,
                          const void* const* inputs, void* const* outputs, void* workspace,
                          CUstream_st* stream) noexcept = 0;
};

// From major 10 on a creator is a versioned interface ...
template <typename Abi>
class PluginCreator : public VersionedInterface {
 public:
  InterfaceInfo getInterfaceInfo() const noexcept override { return {"PLUGIN CREATOR_V1", 1, 0}; }
  virtual const char* getPluginName() const noexcept = 0;
  virtual const char* getPluginVersion() const noexcept = 0;
  virtual const PluginFieldCollection* getFieldNames() noexcept = 0;
  virtual PluginV2Head<Abi>* createPlugin(const char* layer_name,
                                          const PluginFieldCollection* fields) noexcept = 0;
  virtual PluginV2Head<Abi>* deserializePlugin(const char* layer_name, const void* data,
                                               size_t length) noexcept = 0;
  virtual void setPluginNamespace(const char* plugin_namespace) noexcept = 0;
  virtual const char* getPluginNamespace() const noexcept = 0;
};

// ... and in major 8 it begins with a version number and ends with the destructor.
template <>
class PluginCreator<v8> {
 public:
  virtual int32_t getTensorRTVersion() const noexcept { return v8::kLibraryVersion; }
  virtual const char* getPluginName() const noexcept = 0;
  virtual const char* getPluginVersion() const noexcept = 0;
  virtual const PluginFieldCollection* getFieldNames() noexcept = 0;
  virtual PluginV2Head<v8>* createPlugin(const char* layer_name,
                                         const PluginFieldCollection* fields) noexcept = 0;
  virtual PluginV2Head<v8>* deserializePlugin(const char* layer_name, const void* data,
                                              size_t length) noexcept = 0;
  virtual void setPluginNamespace(const char* plugin_namespace) noexcept = 0;
  virtual const char* getPluginNamespace() const noexcept = 0;
  virtual ~PluginCreator() noexcept = default;
};

}  // namespace edge_llm::abi
