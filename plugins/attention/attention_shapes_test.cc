// The mode table, and the refusal of every shape that is in none of its rows.
#include "plugins/attention/attention_shapes.h"

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tools/testing/testing.h"

namespace edge_llm {
namespace {

using abi::v10;

v10::Dims dims(const std::vector<int64_t>& extents) {
  v10::Dims out{static_cast<int32_t>(extents.size()), {}};
  std::copy(extents.begin(), extents.end(), out.d);
  return out;
}

// Hq = 4, Hkv = 2, D = 32: 8 packed heads.
AttentionConfig config(int32_t tree) { return {4, 2, 32, tree, 0}; }

// A call of b rows of s tokens with a cache of 16 slots. start_rows is the extent of
// KVCacheStartIndex, positions the second one of AttentionPosIds.
Shapes shapes(int64_t b, int64_t s, int64_t start_rows, int64_t positions = 1, int64_t words = 1) {
  Shapes out{};
  out.inputs[kPackedQkv] = dims({b, s, 8 * 32});
  out.inputs[kKvCache] = dims({b, 2, 2, 16, 32});
  out.inputs[kContextLengths] = dims({b});
  out.inputs[kRopeCosSin] = dims({1, 64, 32});
  out.inputs[kStartIndex] = dims({start_rows});
  out.inputs[kTreeMask] = dims({b, positions, words});
  out.inputs[kTreePositions] = dims({b, positions});
  out.outputs[kAttentionOutput] = dims({b, s, 4, 32});
  out.outputs[kKvCacheOut] = dims({b, 2, 2, 16, 32});
  return out;
}

AttentionMode mode(int32_t tree, const Shapes& shapes) {
  return attention_call(config(tree), shapes).problem.mode;
}

}  // namespace

TEST(EmptyStartIndexMeansPrefillWhateverTheTreeInputs) {
  for (int64_t s : {1, 2, 300}) {
    EXPECT_EQ(mode(0, shapes(3, s, 0)), AttentionMode::kPrefill);
    for (int64_t positions : {int64_t{1}, int64_t{2}, s}) {
      EXPECT_EQ(mode(1, shapes(3, s, 0, positions)), AttentionMode::kPrefill);
    }
  }
}

TEST(StartIndexPerRowMeansChunkedPrefillOfSeveralTokensAndDecodeOfOne) {
  EXPECT_EQ(mode(0, shapes(3, 2, 3)), AttentionMode::kChunkedPrefill);
  EXPECT_EQ(mode(0, shapes(3, 300, 3)), AttentionMode::kChunkedPrefill);
  EXPECT_EQ(mode(0, shapes(3, 1, 3)), AttentionMode::kDecode);
  EXPECT_EQ(mode(0, shapes(1, 1, 1)), AttentionMode::kDecode);
}

TEST(AsManyPositionsAsTokensMeanTreeDecodeOfOneTokenToo) {
  EXPECT_EQ(mode(1, shapes(3, 1, 3, 1)), AttentionMode::kTreeDecode);
  EXPECT_EQ(mode(1, shapes(3, 2, 3, 2)), AttentionMode::kTreeDecode);
  EXPECT_EQ(mode(1, shapes(3, 128, 3, 128, 4)), AttentionMode::kTreeDecode);
}

TEST(OnePositionBesideSeveralTokensMeansChunkedPrefill) {
  EXPECT_EQ(mode(1, shapes(3, 2, 3, 1)), AttentionMode::kChunkedPrefill);
  EXPECT_EQ(mode(1, shapes(3, 300, 3, 1)), AttentionMode::kChunkedPrefill);
}

TEST(AnyOtherNumberOfPositionsIsRefused) {
  for (int64_t positions : {0, 2, 4, 6}) {
    EXPECT_THROWS_WITH(mode(1, shapes(3, 5, 3, positions)),
                       "AttentionPosIds has shape [3, " + std::to_string(positions) +
                           "]; [3, 5] (tree decode) or [3, 1] (chunked prefill");
  }
  EXPECT_THROWS_WITH(mode(1, shapes(3, 1, 3, 2)), "AttentionPosIds has shape [3, 2]; [3, 1]");
}

TEST(StartIndexOfAnotherLengthIsRefused) {
  for (int32_t tree : {0, 1}) {
    for (int64_t rows : {1, 2, 4}) {
      EXPECT_THROWS_WITH(
          mode(tree, shapes(3, 2, rows, 2)),
          "KVCacheStartIndex has shape [" + std::to_string(rows) + "]; [0] (prefill) or [3]");
    }
  }
}

TEST(RowsWithoutTokensAreACallOfEveryForm) {
  EXPECT_EQ(mode(0, shapes(0, 5, 0)), AttentionMode::kPrefill);
  EXPECT_EQ(mode(0, shapes(3, 0, 0)), AttentionMode::kPrefill);
  EXPECT_EQ(mode(0, shapes(3, 0, 3)), AttentionMode::kChunkedPrefill);
  EXPECT_EQ(mode(1, shapes(3, 0, 3, 0)), AttentionMode::kTreeDecode);
}

TEST(PackedHeadsMayHaveTheirOwnDimension) {
  Shapes split = shapes(3, 2, 3);
  split.inputs[kPackedQkv] = dims({3, 2, 8, 32});
  const AttentionCall call = attention_call(config(0), split);
  EXPECT_EQ(call.problem.batch, 3);
  EXPECT_EQ(call.problem.q_len, 2);
  EXPECT_EQ(call.problem.mode, AttentionMode::kChunkedPrefill);
}

TEST(CallCarriesEveryExtent) {
  Shapes all = shapes(3, 33, 3, 33, 5);
  all.inputs[kRopeCosSin] = dims({3, 70, 16});
  const AttentionCall call = attention_call(config(1), all);
  EXPECT_EQ(call.problem.num_q_heads, 4);
  EXPECT_EQ(call.problem.num_kv_heads, 2);
  EXPECT_EQ(call.problem.head_size, 32);
  EXPECT_EQ(call.problem.capacity, 16);
  EXPECT_EQ(call.rope_rows, 3);
  EXPECT_EQ(call.rope_positions, 70);
  EXPECT_EQ(call.rotary_size, 16);
  EXPECT_EQ(call.mask_words, 5);
}

TEST(TreesBeyond128TokensAreRefused) {
  EXPECT_THROWS_WITH(mode(1, shapes(1, 129, 1, 129, 5)), "a tree of 129 tokens; up to 128");
}

TEST(MaskNeedsAWordPer32Tokens) {
  EXPECT_EQ(mode(1, shapes(1, 32, 1, 32, 1)), AttentionMode::kTreeDecode);
  EXPECT_THROWS_WITH(mode(1, shapes(1, 33, 1, 33, 1)),
                     "AttentionMask has shape [1, 33, 1]; [1, 33, W >= 2] is required");
  Shapes rows = shapes(1, 5, 1, 5);
  rows.inputs[kTreeMask] = dims({1, 1, 1});
  EXPECT_THROWS_WITH(mode(1, rows), "AttentionMask has shape [1, 1, 1]; [1, 5, W >= 1]");
}

TEST(DummyMaskIsReadInTreeDecodeAlone) {
  for (const std::vector<int64_t>& mask : {std::vector<int64_t>{3, 1, 1}, {3, 7, 9}, {3, 0, 0}}) {
    Shapes chunk = shapes(3, 40, 3, 1);
    chunk.inputs[kTreeMask] = dims(mask);
    EXPECT_EQ(attention_call(config(1), chunk).mask_words, 0);
  }
}

TEST(EachWrongShapeIsRefusedWithTheOneRequired) {
  struct Case {
    std::function<void(Shapes&)> spoil;
    const char* message;
  };
  const int64_t unknown = -1, huge = std::numeric_limits<int64_t>::max();
  const Case cases[] = {
      {[](Shapes& s) { s.inputs[kPackedQkv] = dims({3, 256}); },
       "PackedQKV has shape [3, 256]; [B, S, 256] or [B, S, 8, 32] is required by num_q_heads = 4, "
       "num_kv_heads = 2, head_size = 32"},
      {[](Shapes& s) { s.inputs[kPackedQkv] = dims({3, 2, 255}); }, "PackedQKV has shape"},
      {[](Shapes& s) { s.inputs[kPackedQkv] = dims({3, 2, 32, 8}); }, "PackedQKV has shape"},
      {[=](Shapes& s) { s.inputs[kPackedQkv].d[0] = unknown; }, "PackedQKV has shape [-1, 2, 256]"},
      {[=](Shapes& s) { s.inputs[kPackedQkv].d[1] = huge; }, "PackedQKV has shape [3, 9223372036"},
      {[](Shapes& s) { s.inputs[kKvCache].d[0] = 2; },
       "KVCache has shape [2, 2, 2, 16, 32]; [3, 2, 2, Cap >= 1, 32] is required"},
      {[](Shapes& s) { s.inputs[kKvCache].d[1] = 1; }, "KVCache has shape [3, 1, 2, 16, 32]"},
      {[](Shapes& s) { s.inputs[kKvCache].d[2] = 4; }, "KVCache has shape [3, 2, 4, 16, 32]"},
      {[](Shapes& s) { s.inputs[kKvCache].d[3] = 0; }, "KVCache has shape [3, 2, 2, 0, 32]"},
      {[](Shapes& s) { s.inputs[kKvCache].d[4] = 64; }, "KVCache has shape [3, 2, 2, 16, 64]"},
      {[](Shapes& s) { s.inputs[kKvCache].nbDims = 4; }, "KVCache has shape [3, 2, 2, 16];"},
      {[](Shapes& s) { s.inputs[kContextLengths].d[0] = 4; }, "ContextLengths has shape [4]; [3]"},
      {[](Shapes& s) { s.inputs[kContextLengths] = dims({3, 1}); }, "ContextLengths has shape"},
      {[](Shapes& s) { s.inputs[kRopeCosSin].d[0] = 2; },
       "RopeCosSin has shape [2, 64, 32]; [1, P >= 1, R >= 2] or [3, P >= 1, R >= 2] is required"},
      {[](Shapes& s) { s.inputs[kRopeCosSin].d[1] = 0; }, "RopeCosSin has shape [1, 0, 32]"},
      {[](Shapes& s) { s.inputs[kRopeCosSin].d[2] = 0; }, "RopeCosSin has shape [1, 64, 0]"},
      {[](Shapes& s) { s.inputs[kRopeCosSin].d[2] = 15; },
       "RopeCosSin has shape [1, 64, 15]; the last extent must be even and at most head_size = 32"},
      {[](Shapes& s) { s.inputs[kRopeCosSin].d[2] = 34; }, "RopeCosSin has shape [1, 64, 34]"},
      {[](Shapes& s) { s.inputs[kStartIndex] = dims({3, 1}); }, "KVCacheStartIndex has shape"},
      {[](Shapes& s) { s.inputs[kStartIndex] = dims({}); }, "KVCacheStartIndex has shape []"},
      {[](Shapes& s) { s.inputs[kTreeMask] = dims({3, 2}); },
       "AttentionMask has shape [3, 2]; [3, any, any] is required"},
      {[](Shapes& s) { s.inputs[kTreeMask].d[0] = 1; }, "AttentionMask has shape [1, 2, 1]"},
      {[](Shapes& s) { s.inputs[kTreePositions] = dims({3}); }, "AttentionPosIds has shape [3];"},
      {[](Shapes& s) { s.inputs[kTreePositions].d[0] = 1; }, "AttentionPosIds has shape [1, 2];"},
      {[](Shapes& s) { s.outputs[kAttentionOutput] = dims({3, 2, 128}); },
       "AttentionOutput has shape [3, 2, 128]; [3, 2, 4, 32] is required"},
      {[](Shapes& s) { s.outputs[kAttentionOutput].d[1] = 1; }, "AttentionOutput has shape"},
      {[](Shapes& s) { s.outputs[kKvCacheOut].d[3] = 32; },
       "output KVCache has shape [3, 2, 2, 32, 32]; [3, 2, 2, 16, 32] is required"},
  };
  for (const Case& c : cases) {
    Shapes spoiled = shapes(3, 2, 3, 2);
    c.spoil(spoiled);
    EXPECT_THROWS_WITH(attention_call(config(1), spoiled), c.message);
  }
  attention_call(config(1), shapes(3, 2, 3, 2));  // what all cases start from is possible
}

TEST(TreeInputsAreNotLookedAtWithoutTheTreeFlag) {
  Shapes five = shapes(3, 2, 3);
  five.inputs[kTreeMask] = five.inputs[kTreePositions] = dims({});
  EXPECT_EQ(mode(0, five), AttentionMode::kChunkedPrefill);
  EXPECT_EQ(attention_signature(config(0)).input_count, 5);
  EXPECT_EQ(attention_signature(config(1)).input_count, 7);
}

// One profile may hold chunks of 512 tokens and trees of 60: its maxima belong to no single mode.
TEST(MaximaOfAProfileNeedNotBeOneCall) {
  const Shapes largest = shapes(3, 512, 3, 60, 2);
  EXPECT_THROWS_WITH(mode(1, largest), "AttentionPosIds has shape");
  check_largest_attention_shapes(config(1), largest);
  EXPECT_EQ(largest_attention_problem(config(1), largest).q_len, 512);
  EXPECT_EQ(largest_attention_problem(config(1), largest).capacity, 16);
}

TEST(MaximaStillNeedTheHeadsOfTheConfiguration) {
  Shapes largest = shapes(3, 512, 3, 60, 2);
  largest.inputs[kKvCache].d[2] = 4;
  EXPECT_THROWS_WITH(check_largest_attention_shapes(config(1), largest),
                     "KVCache has shape [3, 2, 4, 16, 32]; [B, 2, 2, Cap >= 1, 32] is required");
  EXPECT_THROWS_WITH(largest_attention_problem(config(1), largest), "KVCache has shape");
  largest = shapes(3, 512, 3, 60, 2);
  largest.inputs[kStartIndex] = dims({3, 3});
  EXPECT_THROWS_WITH(check_largest_attention_shapes(config(1), largest), "KVCacheStartIndex has");
}

}  // namespace edge_llm
