// The tensors of an operation as TensorRT describes them, checked against what the operation takes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "plugins/abi/types.h"

namespace edge_llm {

struct TensorRule {
  const char* name;
  abi::DataType type;  // the format is linear
};

// The inputs and outputs of an operation, in TensorRT's order. Points to constants.
struct Signature {
  const TensorRule* inputs;
  int32_t input_count;
  const TensorRule* outputs;
  int32_t output_count;
};

// The most that an operation has.
inline constexpr int32_t kMaxInputs = 7;
inline constexpr int32_t kMaxOutputs = 2;

// Shapes of one call, by position in the signature; those beyond its counts are unused. Extents of
// 32 and of 64 bits meet here: all checks are on the wider ones.
struct Shapes {
  abi::v10::Dims inputs[kMaxInputs];
  abi::v10::Dims outputs[kMaxOutputs];
};

// Device memory of one call, by position in the signature.
struct Buffers {
  const void* const* inputs;
  void* const* outputs;
  void* workspace;
};

template <typename Extent>
abi::v10::Dims widen(const abi::DimsOf<Extent>& dims) {
  abi::v10::Dims wide{dims.nbDims, {}};
  std::copy(std::begin(dims.d), std::end(dims.d), std::begin(wide.d));
  return wide;
}

template <typename Dims>
abi::v10::PluginTensorDesc widen(const abi::PluginTensorDescOf<Dims>& desc) {
  return {widen(desc.dims), desc.type, desc.format, desc.scale};
}

// At configuration a tensor is known by its largest shape.
template <typename Dims>
abi::v10::PluginTensorDesc widen(const abi::DynamicPluginTensorDescOf<Dims>& dynamic) {
  abi::v10::PluginTensorDesc desc = widen(dynamic.desc);
  desc.dims = widen(dynamic.max);
  return desc;
}

// Throws unless the counts are those of the signature.
void check_counts(const Signature& signature, int32_t inputs, int32_t outputs);

// Whether the tensor at `position` among inputs, then outputs, may have this type and format.
bool supports(const Signature& signature, int32_t position, abi::DataType type,
              abi::TensorFormat format);

// The shape of a tensor; throws unless its type and format are those of the rule.
abi::v10::Dims checked_shape(const TensorRule& rule, const abi::v10::PluginTensorDesc& tensor);

// The shapes of a call; throws for a wrong type or format. Whether they fit together is for the
// operation to say.
template <typename Desc>
Shapes checked_shapes(const Signature& signature, const Desc* inputs, const Desc* outputs) {
  Shapes shapes{};
  for (int32_t i = 0; i < signature.input_count; ++i) {
    shapes.inputs[i] = checked_shape(signature.inputs[i], widen(inputs[i]));
  }
  for (int32_t i = 0; i < signature.output_count; ++i) {
    shapes.outputs[i] = checked_shape(signature.outputs[i], widen(outputs[i]));
  }
  return shapes;
}

}  // namespace edge_llm
