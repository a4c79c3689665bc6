#include "plugins/attention/attention_config.h"

#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

constexpr int32_t kMaxGqaRatio = 16;  // the Q heads of one KV head fill one row tile of the kernels

void check_flag(const char* name, int32_t value) {
  if (value != 0 && value != 1) fail("field ", name, " = ", value, "; 0 and 1 are allowed");
}

}  // namespace

void AttentionConfig::check() const {
  if (num_kv_heads <= 0) {
    fail("field num_kv_heads = ", num_kv_heads, "; positive numbers are allowed");
  }
  const bool divides = num_q_heads > 0 && num_q_heads % num_kv_heads == 0;
  if (!divides || num_q_heads / num_kv_heads > kMaxGqaRatio) {
    fail("field num_q_heads = ", num_q_heads, "; 1 to ", kMaxGqaRatio,
         " times num_kv_heads = ", num_kv_heads, " is allowed");
  }
  if (head_size <= 0) fail("field head_size = ", head_size, "; positive numbers are allowed");
  check_flag("enable_tree_attention", enable_tree_attention);
  check_flag("alias_kv_cache", alias_kv_cache);
}

}  // namespace edge_llm
