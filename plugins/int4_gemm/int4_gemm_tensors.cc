#include "plugins/int4_gemm/int4_gemm_tensors.h"

#include <limits>
#include <string>

namespace edge_llm {
namespace {

struct TensorRule {
  const char* name;
  const char* type_name;
  abi::DataType type;
};

constexpr TensorRule kRules[] = {
    {"GEMMInput", "FP16", abi::DataType::kHalf},
    {"Int4Weights", "INT8", abi::DataType::kInt8},
    {"ScalingFactors", "FP16", abi::DataType::kHalf},
    {"output", "FP16", abi::DataType::kHalf},
};

std::string text(const abi::v10::Dims& dims) {
  std::string extents;
  for (int i = 0; i < std::clamp(dims.nbDims, 0, abi::kMaxDims); ++i) {
    extents += concat(i == 0 ? "" : ", ", dims.d[i]);
  }
  return "[" + extents + "]";
}

bool equal(const abi::v10::Dims& a, const abi::v10::Dims& b) {
  return a.nbDims == b.nbDims && std::equal(a.d, a.d + b.nbDims, b.d);
}

abi::v10::Dims expected_shape(const Int4GemmConfig& config, int32_t position,
                              const abi::v10::Dims& x) {
  switch (position) {
    case kX:
      return {3, {x.d[0], x.d[1], config.k}};
    case kWeights:
      return {2, {config.n / 2, config.k}};
    case kScales:
      return {2, {config.groups(), config.n}};
    default:
      return {3, {x.d[0], x.d[1], config.n}};
  }
}

}  // namespace

bool int4_gemm_supports(int32_t position, abi::DataType type, abi::TensorFormat format) {
  return position >= kX && position <= kY && type == kRules[position].type &&
         format == abi::TensorFormat::kLinear;
}

void check_tensor_counts(int32_t inputs, int32_t outputs) {
  if (inputs != kInt4GemmInputs || outputs != kInt4GemmOutputs) {
    fail(inputs, " inputs and ", outputs, " outputs; 3 inputs (GEMMInput, Int4Weights, ",
         "ScalingFactors) and 1 output are required");
  }
}

int64_t int4_gemm_rows(const abi::v10::Dims& x) {
  constexpr int64_t kMaxRows = std::numeric_limits<int32_t>::max();
  if (x.nbDims != 3) fail("GEMMInput has shape ", text(x), "; [B, S, K] is required");
  const int64_t b = x.d[0], s = x.d[1];
  const bool in_range = b >= 0 && s >= 0 && (b == 0 || s <= kMaxRows / b);
  if (!in_range) fail("GEMMInput has shape ", text(x), "; B * S must be in 0..", kMaxRows);
  return b * s;
}

void check_tensor(const Int4GemmConfig& config, int32_t position,
                  const abi::v10::PluginTensorDesc& tensor, const abi::v10::Dims& x) {
  const TensorRule& rule = kRules[position];
  if (!int4_gemm_supports(position, tensor.type, tensor.format)) {
    fail(rule.name, " has data type ", static_cast<int>(tensor.type), " and format ",
         static_cast<int>(tensor.format), "; linear ", rule.type_name, " is required");
  }
  const abi::v10::Dims expected = expected_shape(config, position, x);
  if (!equal(tensor.dims, expected)) {
    fail(rule.name, " has shape ", text(tensor.dims), "; ", text(expected),
         " is required by gemm_n = ", config.n, ", gemm_k = ", config.k,
         ", group_size = ", config.group_size);
  }
}

}  // namespace edge_llm
