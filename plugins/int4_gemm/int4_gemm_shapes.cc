#include "plugins/int4_gemm/int4_gemm_shapes.h"

#include <limits>

#include "plugins/adapter/shapes.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

constexpr TensorRule kInputs[] = {
    {"GEMMInput", abi::DataType::kHalf},
    {"Int4Weights", abi::DataType::kInt8},
    {"ScalingFactors", abi::DataType::kHalf},
};
constexpr TensorRule kOutput = {"output", abi::DataType::kHalf};

}  // namespace

Signature int4_gemm_signature() { return {kInputs, std::size(kInputs), &kOutput, 1}; }

int64_t int4_gemm_rows(const abi::v10::Dims& x) {
  constexpr int64_t kMaxRows = std::numeric_limits<int32_t>::max();
  if (x.nbDims != 3) fail("GEMMInput has shape ", text(x), "; [B, S, K] is required");
  const int64_t b = x.d[0], s = x.d[1];
  const bool in_range = b >= 0 && s >= 0 && (b == 0 || s <= kMaxRows / b);
  if (!in_range) fail("GEMMInput has shape ", text(x), "; B * S must be in 0..", kMaxRows);
  return b * s;
}

int64_t checked_int4_gemm_rows(const Int4GemmConfig& config, const Shapes& shapes) {
  const abi::v10::Dims& x = shapes.inputs[kX];
  const int64_t rows = int4_gemm_rows(x);
  const auto expect = [&](const char* name, const abi::v10::Dims& shape, ShapePattern required) {
    if (matches(shape, required)) return;
    fail(name, " has shape ", text(shape), "; ", text(required),
         " is required by gemm_n = ", config.n, ", gemm_k = ", config.k,
         ", group_size = ", config.group_size);
  };
  expect("GEMMInput", x, {x.d[0], x.d[1], config.k});
  expect("Int4Weights", shapes.inputs[kWeights], {config.n / 2, config.k});
  expect("ScalingFactors", shapes.inputs[kScales], {config.groups(), config.n});
  expect("output", shapes.outputs[0], {x.d[0], x.d[1], config.n});
  return rows;
}

}  // namespace edge_llm
