#include "plugins/adapter/tensors.h"

#include <string>

#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

const char* name_of(abi::DataType type) {
  static constexpr const char* kNames[] = {"FP32", "FP16", "INT8", "INT32", "BOOL"};
  return kNames[static_cast<int32_t>(type)];
}

std::string names(const TensorRule* rules, int32_t count) {
  std::string list;
  for (int32_t i = 0; i < count; ++i) list += concat(i == 0 ? "" : ", ", rules[i].name);
  return concat(count, " (", list, ")");
}

}  // namespace

void check_counts(const Signature& signature, int32_t inputs, int32_t outputs) {
  if (inputs != signature.input_count || outputs != signature.output_count) {
    fail(inputs, " inputs and ", outputs, " outputs; the inputs are ",
         names(signature.inputs, signature.input_count), ", the outputs ",
         names(signature.outputs, signature.output_count));
  }
}

bool supports(const Signature& signature, int32_t position, abi::DataType type,
              abi::TensorFormat format) {
  const int32_t count = signature.input_count + signature.output_count;
  if (position < 0 || position >= count || format != abi::TensorFormat::kLinear) return false;
  const TensorRule& rule = position < signature.input_count
                               ? signature.inputs[position]
                               : signature.outputs[position - signature.input_count];
  return type == rule.type;
}

abi::v10::Dims checked_shape(const TensorRule& rule, const abi::v10::PluginTensorDesc& tensor) {
  if (tensor.type != rule.type || tensor.format != abi::TensorFormat::kLinear) {
    fail(rule.name, " has data type ", static_cast<int>(tensor.type), " and format ",
         static_cast<int>(tensor.format), "; linear ", name_of(rule.type), " is required");
  }
  return tensor.dims;
}

}  // namespace edge_llm
