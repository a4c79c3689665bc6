#include "plugins/attention/attention_shapes.h"

#include <string>

#include "plugins/adapter/shapes.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

constexpr TensorRule kInputs[] = {
    {"PackedQKV", abi::DataType::kHalf},          {"KVCache", abi::DataType::kHalf},
    {"ContextLengths", abi::DataType::kInt32},    {"RopeCosSin", abi::DataType::kFloat},
    {"KVCacheStartIndex", abi::DataType::kInt32}, {"AttentionMask", abi::DataType::kInt32},
    {"AttentionPosIds", abi::DataType::kInt32},
};
constexpr TensorRule kOutputs[] = {
    {"AttentionOutput", abi::DataType::kHalf},
    {"output KVCache", abi::DataType::kHalf},
};
constexpr int32_t kInputsWithoutTree = 5;

constexpr int64_t kMaxTreeSize = 128;  // tokens; the kernels keep four mask words per token

std::string heads_text(const AttentionConfig& config) {
  return concat("num_q_heads = ", config.num_q_heads, ", num_kv_heads = ", config.num_kv_heads,
                ", head_size = ", config.head_size);
}

void expect(const AttentionConfig& config, const char* name, const abi::v10::Dims& shape,
            ShapePattern required) {
  if (matches(shape, required)) return;
  fail(name, " has shape ", text(shape), "; ", text(required), " is required by ",
       heads_text(config));
}

void check_qkv(const AttentionConfig& config, const abi::v10::Dims& qkv) {
  const Extent b("B", 0), s("S", 0);
  const int64_t heads = config.packed_heads(), head_size = config.head_size;
  const ShapePattern flat{b, s, heads * head_size}, split{b, s, heads, head_size};
  if (matches(qkv, flat) || matches(qkv, split)) return;
  fail("PackedQKV has shape ", text(qkv), "; ", text(flat), " or ", text(split), " is required by ",
       heads_text(config));
}

// One table for all rows, or one for each.
void check_rope(const AttentionConfig& config, const abi::v10::Dims& rope, const Extent& b) {
  const Extent p("P", 1), r("R", 2);
  const ShapePattern shared{1, p, r}, per_row{b, p, r};
  if (!matches(rope, shared) && !matches(rope, per_row)) {
    fail("RopeCosSin has shape ", text(rope), "; ", text(shared), " or ", text(per_row),
         " is required");
  }
  const int64_t rotary_size = rope.d[2];
  if (rotary_size % 2 != 0 || rotary_size > config.head_size) {
    fail("RopeCosSin has shape ", text(rope), "; the last extent must be even and at most ",
         "head_size = ", config.head_size);
  }
}

// The tensors whose shapes follow from the configuration, B and S in every mode.
void check_common(const AttentionConfig& config, const Shapes& shapes, const Extent& b,
                  const Extent& s) {
  const auto& in = shapes.inputs;
  const auto& out = shapes.outputs;
  const Extent hkv = config.num_kv_heads, d = config.head_size, cap("Cap", 1);
  expect(config, "KVCache", in[kKvCache], {b, 2, hkv, cap, d});
  expect(config, "ContextLengths", in[kContextLengths], {b});
  check_rope(config, in[kRopeCosSin], b);
  if (config.enable_tree_attention) {
    const Extent any("any", 0);
    expect(config, "AttentionMask", in[kTreeMask], {b, any, any});
    expect(config, "AttentionPosIds", in[kTreePositions], {b, any});
  }
  expect(config, "AttentionOutput", out[kAttentionOutput], {b, s, config.num_q_heads, d});
  expect(config, "output KVCache", out[kKvCacheOut], {b, 2, hkv, in[kKvCache].d[3], d});
}

// The mode table of the contract.
AttentionMode mode_of(const AttentionConfig& config, const Shapes& shapes, int64_t b, int64_t s) {
  const abi::v10::Dims& start = shapes.inputs[kStartIndex];
  if (matches(start, {0})) return AttentionMode::kPrefill;
  if (!matches(start, {b})) {
    fail("KVCacheStartIndex has shape ", text(start), "; [0] (prefill) or [", b,
         "] (the rows of PackedQKV) is required");
  }
  if (config.enable_tree_attention) {
    const int64_t positions = shapes.inputs[kTreePositions].d[1];
    if (positions == s) return AttentionMode::kTreeDecode;
    if (positions == 1 && s > 1) return AttentionMode::kChunkedPrefill;
    fail("AttentionPosIds has shape ", text(shapes.inputs[kTreePositions]), "; [", b, ", ", s,
         "] (tree decode) or [", b, ", 1] (chunked prefill of more than one token) is required");
  }
  return s == 1 ? AttentionMode::kDecode : AttentionMode::kChunkedPrefill;
}

void check_tree(const AttentionConfig& config, const abi::v10::Dims& mask, int64_t b, int64_t s) {
  if (s > kMaxTreeSize) {
    fail("a tree of ", s, " tokens; up to ", kMaxTreeSize, " are allowed in tree decode");
  }
  expect(config, "AttentionMask", mask, {b, s, {"W", (s + 31) / 32}});
}

AttentionProblem problem_of(const AttentionConfig& config, const Shapes& shapes) {
  AttentionProblem problem;
  problem.batch = shapes.inputs[kPackedQkv].d[0];
  problem.q_len = shapes.inputs[kPackedQkv].d[1];
  problem.num_q_heads = config.num_q_heads;
  problem.num_kv_heads = config.num_kv_heads;
  problem.head_size = config.head_size;
  problem.capacity = shapes.inputs[kKvCache].d[3];
  return problem;
}

}  // namespace

Signature attention_signature(const AttentionConfig& config) {
  const bool tree = config.enable_tree_attention != 0;
  const int32_t inputs = tree ? std::size(kInputs) : kInputsWithoutTree;
  return {kInputs, inputs, kOutputs, std::size(kOutputs)};
}

AttentionCall attention_call(const AttentionConfig& config, const Shapes& shapes) {
  check_qkv(config, shapes.inputs[kPackedQkv]);
  AttentionCall call;
  call.problem = problem_of(config, shapes);
  const int64_t b = call.problem.batch, s = call.problem.q_len;
  check_common(config, shapes, b, s);
  call.problem.mode = mode_of(config, shapes, b, s);
  const abi::v10::Dims& rope = shapes.inputs[kRopeCosSin];
  call.rope_rows = rope.d[0];
  call.rope_positions = rope.d[1];
  call.rotary_size = rope.d[2];
  if (call.problem.mode == AttentionMode::kTreeDecode) {
    check_tree(config, shapes.inputs[kTreeMask], b, s);
    call.mask_words = shapes.inputs[kTreeMask].d[2];
  }
  return call;
}

void check_largest_attention_shapes(const AttentionConfig& config, const Shapes& shapes) {
  check_qkv(config, shapes.inputs[kPackedQkv]);
  const Extent b("B", 0), s("S", 0);
  check_common(config, shapes, b, s);
  expect(config, "KVCacheStartIndex", shapes.inputs[kStartIndex], {{"0 or B", 0}});
}

AttentionProblem largest_attention_problem(const AttentionConfig& config, const Shapes& shapes) {
  check_qkv(config, shapes.inputs[kPackedQkv]);
  const Extent b("B", 0), cap("Cap", 1);
  expect(config, "KVCache", shapes.inputs[kKvCache],
         {b, 2, config.num_kv_heads, cap, config.head_size});
  return problem_of(config, shapes);
}

}  // namespace edge_llm
