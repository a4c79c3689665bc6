#include "plugins/fuzzing/host_calls.h"

#include <cstring>
#include <iterator>
#include <limits>

#include "kernels/variant_tables.h"
#include "plugins/runtime/attention_launcher.h"
#include "plugins/runtime/int4_gemm_launcher.h"
#include "plugins/runtime/log.h"

// No kernels: nothing is launched.
extern "C" const edge_llm::KernelImage edge_llm_kernel_images[] = {{}};

namespace edge_llm::fuzzing {
namespace {

constexpr int64_t kExtents[] = {
    -1,
    0,
    1,
    2,
    3,
    64,
    65,
    int64_t{1} << 31,
    int64_t{1} << 40,
    (int64_t{1} << 31) - 1,
    std::numeric_limits<int64_t>::max(),
    std::numeric_limits<int64_t>::min(),
};

DeviceFacts drawn_device(Choices& choices) {
  return {kSmFacts[choices.below(std::size(kSmFacts))].sm,
          1 + static_cast<int>(choices.below(200))};
}

}  // namespace

bool silence_log() {
  set_log_sink([](void*, LogLevel, const char*) { return true; }, nullptr);
  return true;
}

void require_refusal(const char* what) {
  const char* error = last_error();
  require(error[0] != '\0', std::string(what) + " was refused without a reason");
  require(std::strchr(error, '\n') == nullptr, std::string("more than one line: ") + error);
}

std::vector<std::vector<int64_t>> fitting_shapes(const AttentionConfig& config, Choices& choices) {
  const int64_t b = 1 + choices.below(3), s = 1 + choices.below(40), cap = 1 + choices.below(600);
  const int64_t hq = config.num_q_heads, hkv = config.num_kv_heads, d = config.head_size;
  const std::vector<int64_t> cache = {b, 2, hkv, cap, d};
  std::vector<std::vector<int64_t>> shapes = {
      {b, s, config.packed_heads() * d}, cache, {b}, {1, cap, d}, {choices.below(2) ? b : 0}};
  if (config.enable_tree_attention) {
    shapes.push_back({b, s, (s + 31) / 32});
    shapes.push_back({b, choices.below(2) ? s : 1});
  }
  shapes.push_back({b, s, hq, d});
  shapes.push_back(cache);
  return shapes;
}

std::vector<std::vector<int64_t>> fitting_shapes(const Int4GemmConfig& config, Choices& choices) {
  const int64_t b = 1 + choices.below(3), s = choices.below(300);
  return {
      {b, s, config.k}, {config.n / 2, config.k}, {config.groups(), config.n}, {b, s, config.n}};
}

void change(std::vector<abi::v10::PluginTensorDesc>& tensors, Choices& choices) {
  for (size_t changes = choices.below(4); changes > 0; --changes) {
    abi::v10::PluginTensorDesc& tensor = tensors[choices.below(tensors.size())];
    switch (choices.below(8)) {
      case 0:
        tensor.dims.nbDims = static_cast<int32_t>(choices.below(abi::kMaxDims + 2)) - 1;
        break;
      case 1:
        tensor.type = static_cast<abi::DataType>(choices.value<uint8_t>());
        break;
      case 2:
        tensor.format = static_cast<abi::TensorFormat>(choices.value<uint8_t>());
        break;
      case 3:
        tensor.dims.d[choices.below(abi::kMaxDims)] = choices.value<int64_t>();
        break;
      default:
        tensor.dims.d[choices.below(abi::kMaxDims)] = kExtents[choices.below(std::size(kExtents))];
    }
  }
}

void plan(const AttentionConfig& config, const Shapes& shapes, Choices& choices) {
  const AttentionProblem problem = attention_call(config, shapes).problem;
  const AttentionPlan plan = plan_attention(problem, drawn_device(choices));
  require(plan.workspace_bytes <= attention_workspace_bound(problem), "more than the bound");
}

void plan(const Int4GemmConfig& config, const Shapes& shapes, Choices& choices) {
  const int64_t m = checked_int4_gemm_rows(config, shapes);
  const Int4GemmPlan plan = plan_int4_gemm({m, config.n, config.k}, drawn_device(choices));
  require(plan.workspace_bytes <= int4_gemm_workspace_bound(m, config.n, config.k),
          "more than the bound");
}

}  // namespace edge_llm::fuzzing
