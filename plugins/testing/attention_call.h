// A small attention for tests: 4 Q heads on 2 KV heads of size 64, a cache of 16 slots per row.
#pragma once

#include <cstdint>

#include "plugins/testing/plugin_driver.h"

namespace edge_llm::testing {

inline Fields attention_fields(bool tree = false) {
  return {"AttentionPlugin",
          {{"num_q_heads", 4},
           {"num_kv_heads", 2},
           {"head_size", 64},
           {"enable_tree_attention", tree ? 1 : 0}}};
}

// The tensors of a call without tree inputs; KVCacheStartIndex has start_rows extents: 0 for
// prefill.
inline Tensors attention_tensors(int64_t b, int64_t s, int64_t start_rows) {
  const auto kInt32 = abi::DataType::kInt32;
  const std::vector<int64_t> cache{b, 2, 2, 16, 64};
  return {
      {{b, s, 512}},          {cache},         {{b}, kInt32}, {{1, 32, 64}, abi::DataType::kFloat},
      {{start_rows}, kInt32}, {{b, s, 4, 64}}, {cache}};
}

// The same with a mask and positions per row.
inline Tensors tree_tensors(int64_t b, int64_t s, int64_t start_rows, int64_t positions) {
  Tensors t = attention_tensors(b, s, start_rows);
  const Tensor mask{{b, positions, (positions + 31) / 32}, abi::DataType::kInt32};
  t.insert(t.begin() + 5, {mask, {{b, positions}, abi::DataType::kInt32}});
  return t;
}

// The output cache is the input cache.
inline Pointers attention_pointers(bool tree = false) {
  Pointers pointers(tree ? 7 : 5, 2);
  pointers.outputs[1] = const_cast<void*>(pointers.inputs[1]);
  return pointers;
}

}  // namespace edge_llm::testing
