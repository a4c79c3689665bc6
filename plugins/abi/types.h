// Plain data of the TensorRT plugin interface, for the majors 8, 10 and 11.
//
// No package registry ships TensorRT's headers, so this folder declares the few interfaces that the
// library implements or calls. Each value, size, offset and virtual slot is a fact of the binary
// interface, checked by //tests/tensorrt:abi_test against the vendor's bindings wheels. Functions
// carry TensorRT's own names, whose documentation says what they mean.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;  // the CUDA driver's stream, as cuda.h declares it

namespace edge_llm::abi {

constexpr int kMaxDims = 8;

enum class DataType : int32_t { kFloat = 0, kHalf = 1, kInt8 = 2, kInt32 = 3, kBool = 4 };

enum class TensorFormat : int32_t { kLinear = 0 };

enum class PluginFieldType : int32_t {
  kFloat16 = 0,
  kFloat32 = 1,
  kFloat64 = 2,
  kInt8 = 3,
  kInt16 = 4,
  kInt32 = 5,
  kChar = 6,
  kDims = 7,
  kUnknown = 8,
};

struct PluginField {
  const char* name;
  const void* data;
  PluginFieldType type;
  int32_t length;  // elements at data
};
static_assert(sizeof(PluginField) == 24 && offsetof(PluginField, type) == 16 &&
              offsetof(PluginField, length) == 20);

struct PluginFieldCollection {
  int32_t nbFields;
  const PluginField* fields;
};
static_assert(sizeof(PluginFieldCollection) == 16 && offsetof(PluginFieldCollection, fields) == 8);

template <typename Extent>
struct DimsOf {
  int32_t nbDims;  // rank, or -1 for "unknown"
  Extent d[kMaxDims];
};

template <typename Dims>
struct PluginTensorDescOf {
  Dims dims;  // an extent is -1 where it is known at run time only
  DataType type;
  TensorFormat format;
  float scale;
};

// From major 10 on: 64-bit extents, and the optimal shape last, which major 8 lacks.
template <typename Dims>
struct DynamicPluginTensorDescOf {
  PluginTensorDescOf<Dims> desc;
  Dims min;
  Dims max;
  Dims opt;
};

template <>
struct DynamicPluginTensorDescOf<DimsOf<int32_t>> {
  PluginTensorDescOf<DimsOf<int32_t>> desc;
  DimsOf<int32_t> min;
  DimsOf<int32_t> max;
};

// What differs between majors; the interfaces that differ are templates over one of these.
struct v8 {
  static constexpr int kMajor = 8;
  static constexpr int32_t kLibraryVersion = 8600;
  static constexpr bool kHasBroadcastSlots = true;
  static constexpr bool kHasVersionedLogger = false;
  using Extent = int32_t;
  using Dims = DimsOf<Extent>;
  using PluginTensorDesc = PluginTensorDescOf<Dims>;
  using DynamicPluginTensorDesc = DynamicPluginTensorDescOf<Dims>;
};

struct v10 {
  static constexpr int kMajor = 10;
  static constexpr int32_t kLibraryVersion = 100000;
  static constexpr bool kHasBroadcastSlots = true;
  static constexpr bool kHasVersionedLogger = false;
  using Extent = int64_t;
  using Dims = DimsOf<Extent>;
  using PluginTensorDesc = PluginTensorDescOf<Dims>;
  using DynamicPluginTensorDesc = DynamicPluginTensorDescOf<Dims>;
};

struct v11 : v10 {
  static constexpr int kMajor = 11;
  static constexpr int32_t kLibraryVersion = 110000;
  static constexpr bool kHasBroadcastSlots = false;
  static constexpr bool kHasVersionedLogger = true;
};

static_assert(sizeof(v8::Dims) == 36 && offsetof(v8::Dims, d) == 4);
static_assert(sizeof(v10::Dims) == 72 && offsetof(v10::Dims, d) == 8);
static_assert(sizeof(v8::PluginTensorDesc) == 48 && offsetof(v8::PluginTensorDesc, type) == 36 &&
              offsetof(v8::PluginTensorDesc, format) == 40 &&
              offsetof(v8::PluginTensorDesc, scale) == 44);
static_assert(sizeof(v10::PluginTensorDesc) == 88 && offsetof(v10::PluginTensorDesc, type) == 72 &&
              offsetof(v10::PluginTensorDesc, format) == 76 &&
              offsetof(v10::PluginTensorDesc, scale) == 80);
static_assert(sizeof(v8::DynamicPluginTensorDesc) == 120 &&
              offsetof(v8::DynamicPluginTensorDesc, min) == 48 &&
              offsetof(v8::DynamicPluginTensorDesc, max) == 84);
static_assert(sizeof(v10::DynamicPluginTensorDesc) == 304 &&
              offsetof(v10::DynamicPluginTensorDesc, min) == 88 &&
              offsetof(v10::DynamicPluginTensorDesc, max) == 160 &&
              offsetof(v10::DynamicPluginTensorDesc, opt) == 232);

// The base of most interfaces from major 10 on (slots 0 to 3).
enum class ApiLanguage : int32_t { kCpp = 0, kPython = 1 };

struct InterfaceInfo {
  const char* kind;
  int32_t major;
  int32_t minor;
};
static_assert(sizeof(InterfaceInfo) == 16 && offsetof(InterfaceInfo, major) == 8 &&
              offsetof(InterfaceInfo, minor) == 12);

class VersionedInterface {
 public:
  virtual ApiLanguage getAPILanguage() const noexcept { return ApiLanguage::kCpp; }
  virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;
  virtual ~VersionedInterface() noexcept = default;
};

}  // namespace edge_llm::abi
