// What an AttentionPlugin is created from.
#pragma once

#include <cstdint>
#include <string_view>

#include "plugins/adapter/config_fields.h"

namespace edge_llm {

struct AttentionConfig {
  static const ConfigField<AttentionConfig> kFields[5];
  static constexpr std::string_view kEngineMagic = "ELLMATTN";

  int32_t num_q_heads = 0;   // 1 to 16 times num_kv_heads
  int32_t num_kv_heads = 0;  // at least 1
  int32_t head_size = 0;     // a head size that the kernels serve, which the operation checks
  int32_t enable_tree_attention = 0;  // 1: seven inputs, with mask and positions
  int32_t alias_kv_cache = 0;         // 1: ask TensorRT to share the cache's memory, in IPluginV3

  int64_t packed_heads() const { return num_q_heads + int64_t{2} * num_kv_heads; }

  // Throws an Error that names the field with an impossible value.
  void check() const;
};

inline constexpr ConfigField<AttentionConfig> AttentionConfig::kFields[] = {
    {"num_q_heads", &AttentionConfig::num_q_heads},
    {"num_kv_heads", &AttentionConfig::num_kv_heads},
    {"head_size", &AttentionConfig::head_size},
    {"enable_tree_attention", &AttentionConfig::enable_tree_attention},
    {"alias_kv_cache", &AttentionConfig::alias_kv_cache, /*required=*/false},
};

}  // namespace edge_llm
