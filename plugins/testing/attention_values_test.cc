// The attention plugin computes on the emulator what each mode asks for, in every layout, with the
// cache updated in place and copied.
//
// Q is zero, so that every visible slot has the same weight and the output is the mean of the
// visible values; RoPE turns nothing. What is tested is that each tensor and extent reaches the
// kernels; their arithmetic is tested elsewhere.
#include <cuda.h>

#include <cstdint>
#include <string>
#include <vector>

#include "plugins/testing/attention_call.h"
#include "plugins/testing/emulator_fixture.h"

namespace edge_llm::testing {
namespace {

constexpr int kRows = 2, kQHeads = 4, kKvHeads = 2, kHeadSize = 64, kSlots = 16, kPositions = 32;
constexpr uint16_t kNan = 0x7e01;

using Slots = std::vector<int>;

struct Token {
  int slot;       // that its K and V are written to; -1 for an invalid token
  Slots visible;  // empty for an invalid token, whose output is zero
};

struct Case {
  std::string name;
  int past[kRows];  // slots that hold older tokens
  std::vector<int32_t> lengths;
  std::vector<int32_t> start;              // empty for prefill
  std::vector<int32_t> mask;               // one word per token, empty without the tree flag
  std::vector<int32_t> positions;          // of each token, or one per row
  std::vector<std::vector<Token>> tokens;  // per row

  int q_len() const { return static_cast<int>(tokens[0].size()); }
  bool tree() const { return !positions.empty(); }
};

const Token kInvalid{-1, {}};

const std::vector<Case>& cases() {
  static const auto* all = new std::vector<Case>{
      {"prefill",
       {0, 0},
       {3, 1},
       {},
       {},
       {},
       {{{0, {0}}, {1, {0, 1}}, {2, {0, 1, 2}}}, {{0, {0}}, kInvalid, kInvalid}}},
      {"prefill with idle tree inputs",
       {0, 0},
       {2, 1},
       {},
       {0, 0},
       {-1, -1},
       {{{0, {0}}, {1, {0, 1}}}, {{0, {0}}, kInvalid}}},
      {"chunked prefill",
       {2, 0},
       {2, 2},
       {2, 0},
       {},
       {},
       {{{2, {0, 1, 2}}, {3, {0, 1, 2, 3}}}, {{0, {0}}, {1, {0, 1}}}}},
      {"chunked prefill with idle tree inputs",
       {2, 1},
       {1, 2},
       {2, 1},
       {0, 0},
       {-1, -1},
       {{{2, {0, 1, 2}}, kInvalid}, {{1, {0, 1}}, {2, {0, 1, 2}}}}},
      {"decode", {3, 5}, {4, 6}, {0, 0}, {}, {}, {{{3, {0, 1, 2, 3}}}, {{5, {0, 1, 2, 3, 4, 5}}}}},
      {"decode with a chunk of one token",
       {3, 4},
       {4, 1},
       {3, 4},
       {},
       {},
       {{{3, {0, 1, 2, 3}}}, {{4, {0, 1, 2, 3, 4}}}}},
      // Tokens 1 and 2 are children of token 0.
      {"tree decode",
       {2, 0},
       {5, 3},
       {0, 0},
       {1, 3, 5, 1, 3, 5},
       {2, 3, 3, 0, 1, -1},
       {{{2, {0, 1, 2}}, {3, {0, 1, 2, 3}}, {4, {0, 1, 2, 4}}}, {{0, {0}}, {1, {0, 1}}, kInvalid}}},
  };
  return *all;
}

// Values that tell rows, heads and slots apart, exact in f16.
int key(int row, int head, int slot) { return 1000 + 100 * row + 50 * head + slot; }
int value(int row, int head, int slot) { return 1 + 40 * row + 20 * head + slot; }

size_t cache_index(int row, int kind, int head, int slot) {
  return ((static_cast<size_t>(row) * 2 + kind) * kKvHeads + head) * kSlots * kHeadSize +
         slot * kHeadSize;
}

void set_slot(std::vector<uint16_t>* cache, int row, int slot) {
  for (int head = 0; head < kKvHeads; ++head) {
    for (int d = 0; d < kHeadSize; ++d) {
      (*cache)[cache_index(row, 0, head, slot) + d] = half_of(key(row, head, slot));
      (*cache)[cache_index(row, 1, head, slot) + d] = half_of(value(row, head, slot));
    }
  }
}

// The cache before the call: older tokens, and NaN in every other slot.
std::vector<uint16_t> old_cache(const Case& c) {
  std::vector<uint16_t> cache(cache_index(kRows, 0, 0, 0), kNan);
  for (int row = 0; row < kRows; ++row) {
    for (int slot = 0; slot < c.past[row]; ++slot) set_slot(&cache, row, slot);
  }
  return cache;
}

std::vector<uint16_t> new_cache(const Case& c) {
  std::vector<uint16_t> cache = old_cache(c);
  for (int row = 0; row < kRows; ++row) {
    for (const Token& token : c.tokens[row]) {
      if (token.slot >= 0) set_slot(&cache, row, token.slot);
    }
  }
  return cache;
}

// Invalid tokens carry NaN, which must reach nothing.
std::vector<uint16_t> packed_qkv(const Case& c) {
  std::vector<uint16_t> qkv;
  for (int row = 0; row < kRows; ++row) {
    for (const Token& token : c.tokens[row]) {
      const auto add_head = [&](int number) {
        qkv.insert(qkv.end(), kHeadSize, token.slot < 0 ? kNan : half_of(number));
      };
      for (int head = 0; head < kQHeads; ++head) add_head(0);
      for (int head = 0; head < kKvHeads; ++head) add_head(key(row, head, token.slot));
      for (int head = 0; head < kKvHeads; ++head) add_head(value(row, head, token.slot));
    }
  }
  return qkv;
}

std::vector<float> identity_rope() {
  std::vector<float> table;
  for (int position = 0; position < kPositions; ++position) {
    table.insert(table.end(), kHeadSize / 2, 1.0f);  // cos
    table.insert(table.end(), kHeadSize / 2, 0.0f);  // sin
  }
  return table;
}

double mean_value(int row, int head, const Slots& visible) {
  double sum = 0;
  for (int slot : visible) sum += value(row, head, slot);
  return visible.empty() ? 0 : sum / visible.size();
}

void expect_output(const Case& c, const std::vector<uint16_t>& output) {
  size_t index = 0;
  for (int row = 0; row < kRows; ++row) {
    for (const Token& token : c.tokens[row]) {
      for (int head = 0; head < kQHeads; ++head) {
        const double mean = mean_value(row, head / (kQHeads / kKvHeads), token.visible);
        for (int d = 0; d < kHeadSize; ++d) {
          EXPECT_NEAR(value_of(output[index++]), mean, 2e-3 + 2e-3 * mean);
        }
      }
    }
  }
}

// One call; the output cache begins as `cache_out`, or is the input cache when that is empty.
void run(const Interface& layout, const Case& c, bool in_place) {
  const int q_len = c.q_len();
  const auto plugin = layout.create(attention_fields(c.tree()));
  ASSERT_TRUE(plugin != nullptr && plugin->attach());
  const int64_t start_rows = static_cast<int64_t>(c.start.size());
  const Tensors shapes = c.tree() ? tree_tensors(kRows, q_len, start_rows,
                                                 static_cast<int64_t>(c.positions.size()) / kRows)
                                  : attention_tensors(kRows, q_len, start_rows);

  const DeviceArray qkv(packed_qkv(c)), cache(old_cache(c));
  const DeviceArray other_cache(std::vector<uint16_t>(old_cache(c).size(), 0x1234));
  const DeviceArray output(std::vector<uint16_t>(kRows * q_len * kQHeads * kHeadSize, kNan));
  const DeviceArray lengths(c.lengths), start(c.start), mask(c.mask), positions(c.positions);
  const DeviceArray rope(identity_rope());
  const DeviceArray workspace(std::vector<char>(plugin->workspace(shapes), '\x7e'));
  const DeviceArray<uint16_t>& cache_out = in_place ? cache : other_cache;

  Pointers pointers = attention_pointers(c.tree());
  pointers.inputs = {qkv.pointer(), cache.pointer(), lengths.pointer(), rope.pointer(),
                     start.pointer()};
  if (c.tree())
    pointers.inputs.insert(pointers.inputs.end(), {mask.pointer(), positions.pointer()});
  pointers.outputs = {output.pointer(), cache_out.pointer()};
  pointers.workspace = workspace.pointer();
  ASSERT_EQ(plugin->enqueue(shapes, pointers), 0);

  expect_output(c, output.values());
  EXPECT_TRUE(cache_out.values() == new_cache(c));
  if (!in_place) EXPECT_TRUE(cache.values() == old_cache(c));
  EXPECT_TRUE(qkv.values() == packed_qkv(c));
}

void run_on_the_first_device(const Case& c, bool in_place) {
  use_emulator();
  use_device(0);
  for (const Interface& layout : all_interfaces(kLibrary)) run(layout, c, in_place);
}

}  // namespace

TEST(EveryModeComputesInPlace) {
  for (const Case& c : cases()) run_on_the_first_device(c, /*in_place=*/true);
}

TEST(EveryModeComputesOnACopyAndLeavesTheInputCache) {
  for (const Case& c : cases()) run_on_the_first_device(c, /*in_place=*/false);
}

}  // namespace edge_llm::testing
