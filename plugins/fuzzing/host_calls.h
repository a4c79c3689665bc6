// The calls that a host makes on a plugin up to the first launch, with tensors that an input picks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "plugins/adapter/plugin_v2.h"
#include "plugins/adapter/plugin_v3.h"
#include "plugins/attention/attention_op.h"
#include "plugins/int4_gemm/int4_gemm_op.h"
#include "tools/testing/fuzz.h"

namespace edge_llm::fuzzing {

using ::fuzzing::Choices;
using ::fuzzing::require;

// Keeps messages of the library off the log. Returns whether it could, for a static initialiser.
bool silence_log();

// A refusal leaves one line that says why.
void require_refusal(const char* what);

// Shapes of inputs, then outputs, that fit a configuration and each other.
std::vector<std::vector<int64_t>> fitting_shapes(const AttentionConfig& config, Choices& choices);
std::vector<std::vector<int64_t>> fitting_shapes(const Int4GemmConfig& config, Choices& choices);

// Plans a call of these shapes for some device, as enqueue does; throws Error where it is refused.
void plan(const AttentionConfig& config, const Shapes& shapes, Choices& choices);
void plan(const Int4GemmConfig& config, const Shapes& shapes, Choices& choices);

// Changes an extent, a rank, a type or a format in some tensors.
void change(std::vector<abi::v10::PluginTensorDesc>& tensors, Choices& choices);

// As TensorRT describes the tensors of a call, in the layout of a major.
template <typename Abi>
typename Abi::PluginTensorDesc narrow(const abi::v10::PluginTensorDesc& wide) {
  typename Abi::PluginTensorDesc desc{{wide.dims.nbDims, {}}, wide.type, wide.format, wide.scale};
  for (int i = 0; i < abi::kMaxDims; ++i) {
    desc.dims.d[i] = static_cast<typename Abi::Extent>(wide.dims.d[i]);
  }
  return desc;
}

template <typename Op>
std::vector<abi::v10::PluginTensorDesc> drawn_tensors(const Op& op, Choices& choices) {
  const Signature signature = op.signature();
  std::vector<abi::v10::PluginTensorDesc> tensors;
  for (const std::vector<int64_t>& shape : fitting_shapes(op.config(), choices)) {
    const auto i = static_cast<int32_t>(tensors.size());
    const TensorRule& rule = i < signature.input_count
                                 ? signature.inputs[i]
                                 : signature.outputs[i - signature.input_count];
    abi::v10::PluginTensorDesc desc{
        {static_cast<int32_t>(shape.size()), {}}, rule.type, abi::TensorFormat::kLinear, 1.0f};
    std::copy(shape.begin(), shape.end(), desc.dims.d);
    tensors.push_back(desc);
  }
  require(static_cast<int32_t>(tensors.size()) == signature.input_count + signature.output_count,
          "fitting_shapes() has another number of tensors than the signature");
  change(tensors, choices);
  return tensors;
}

// No kernel is loaded, so nothing may be enqueued.
template <typename Plugin, typename Desc>
void require_refused_enqueue(Plugin& plugin, const std::vector<Desc>& tensors, int32_t inputs) {
  const std::vector<const void*> in(inputs);
  const std::vector<void*> out(tensors.size() - inputs);
  require(
      plugin.enqueue(&tensors[0], &tensors[inputs], in.data(), out.data(), nullptr, nullptr) != 0,
      "enqueue succeeded without kernels");
  require_refusal("enqueue");
}

// A V2 plugin under every call.
template <typename Abi, typename Op>
void drive(PluginV2<Abi, Op>& plugin, const Op& op, Choices& choices) {
  std::vector<typename Abi::PluginTensorDesc> tensors;
  std::vector<typename Abi::DynamicPluginTensorDesc> largest;
  for (const auto& wide : drawn_tensors(op, choices)) {
    tensors.push_back(narrow<Abi>(wide));
    typename Abi::DynamicPluginTensorDesc dynamic{};
    dynamic.desc = tensors.back();
    dynamic.min = dynamic.max = tensors.back().dims;
    largest.push_back(dynamic);
  }
  const int32_t outputs = op.signature().output_count;
  const auto inputs = static_cast<int32_t>(tensors.size()) - outputs;
  for (int32_t i = 0; i < inputs + outputs; ++i) {
    plugin.supportsFormatCombination(i, tensors.data(), inputs, outputs);
  }
  plugin.configurePlugin(&largest[0], inputs, &largest[inputs], outputs);
  plugin.getWorkspaceSize(&tensors[0], inputs, &tensors[inputs], outputs);
  require_refused_enqueue(plugin, tensors, inputs);
}

// The same for V3.
template <typename Op>
void drive(PluginV3<Op>& plugin, const Op& op, Choices& choices) {
  const std::vector<abi::v10::PluginTensorDesc> tensors = drawn_tensors(op, choices);
  std::vector<abi::v10::DynamicPluginTensorDesc> largest;
  for (const auto& desc : tensors) largest.push_back({desc, desc.dims, desc.dims, desc.dims});
  const int32_t outputs = op.signature().output_count;
  const auto inputs = static_cast<int32_t>(tensors.size()) - outputs;
  for (int32_t i = 0; i < inputs + outputs; ++i) {
    plugin.supportsFormatCombination(i, largest.data(), inputs, outputs);
  }
  plugin.configurePlugin(&largest[0], inputs, &largest[inputs], outputs);
  plugin.getWorkspaceSize(&largest[0], inputs, &largest[inputs], outputs);
  const bool fits = plugin.onShapeChange(&tensors[0], inputs, &tensors[inputs], outputs) == 0;
  if (!fits) require_refusal("onShapeChange");
  require_refused_enqueue(plugin, tensors, inputs);
  if (!fits) return;
  try {
    plan(op.config(), checked_shapes(op.signature(), &tensors[0], &tensors[inputs]), choices);
  } catch (const Error&) {
  }
}

}  // namespace edge_llm::fuzzing
