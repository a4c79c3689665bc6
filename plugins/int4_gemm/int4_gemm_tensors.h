// The tensors of an Int4GroupwiseGemmPlugin as TensorRT describes them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "plugins/abi/expressions.h"
#include "plugins/abi/types.h"
#include "plugins/int4_gemm/int4_gemm_config.h"
#include "plugins/runtime/status.h"

namespace edge_llm {

// Positions in TensorRT's list of inputs, then outputs.
enum Int4GemmTensor : int32_t {
  kX = 0,        // f16 [B, S, K]
  kWeights = 1,  // i8 [N / 2, K], packed
  kScales = 2,   // f16 [ceil(K / group_size), N]
  kY = 3,        // f16 [B, S, N]
};
inline constexpr int32_t kInt4GemmInputs = 3;
inline constexpr int32_t kInt4GemmOutputs = 1;

// Descriptions with 32-bit and 64-bit extents meet here; all checks are on the wider one.
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

// Whether the tensor at `position` may have this type and format.
bool int4_gemm_supports(int32_t position, abi::DataType type, abi::TensorFormat format);

// Throws unless there are three inputs and one output.
void check_tensor_counts(int32_t inputs, int32_t outputs);

// B * S of x. Throws for a rank other than 3, an extent that is negative (unknown), and for more
// rows than the kernels count.
int64_t int4_gemm_rows(const abi::v10::Dims& x);

// Throws unless the tensor at `position` has exactly the type, format and shape that the
// configuration asks for; `x` gives B and S of the output.
void check_tensor(const Int4GemmConfig& config, int32_t position,
                  const abi::v10::PluginTensorDesc& tensor, const abi::v10::Dims& x);

// Checks all four tensors of a call and returns the rows of x.
template <typename Desc>
int64_t checked_rows(const Int4GemmConfig& config, const Desc* inputs, const Desc* outputs) {
  const abi::v10::Dims x = widen(inputs[kX].dims);
  const int64_t rows = int4_gemm_rows(x);
  for (int32_t i = 0; i < kInt4GemmInputs; ++i) check_tensor(config, i, widen(inputs[i]), x);
  check_tensor(config, kY, widen(outputs[0]), x);
  return rows;
}

// The same for configuration, where extents are known by their maximum.
template <typename DynamicDesc>
void check_configuration(const Int4GemmConfig& config, const DynamicDesc* inputs,
                         const DynamicDesc* outputs) {
  const auto at_most = [](const DynamicDesc& tensor) {
    auto desc = widen(tensor.desc);
    desc.dims = widen(tensor.max);
    return desc;
  };
  const abi::v10::PluginTensorDesc input_descs[] = {at_most(inputs[kX]), at_most(inputs[kWeights]),
                                                    at_most(inputs[kScales])};
  const abi::v10::PluginTensorDesc output_desc = at_most(outputs[0]);
  checked_rows(config, input_descs, &output_desc);
}

// y = [B, S, N] as expressions.
template <typename Abi>
abi::DimsExprs<Abi> int4_gemm_output_shape(const Int4GemmConfig& config,
                                           const abi::DimsExprs<Abi>& x,
                                           abi::ExprBuilder<Abi>& builder) {
  if (x.nbDims != 3) fail("GEMMInput has rank ", x.nbDims, "; [B, S, K] is required");
  return {3, {x.d[0], x.d[1], builder.constant(config.n)}};
}

}  // namespace edge_llm
