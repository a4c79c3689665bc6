#include "tools/verify/problem.h"

#include <algorithm>
#include <cstring>

#include "tools/testing/testing.h"

namespace edge_llm::verify {
namespace {

constexpr Limits kLimits{0.0005, 0.002, 1e-6};
constexpr size_t kHeadSize = 32;
constexpr size_t kPast = 3, kCapacity = 4;

// Decode, two rows with 3 and 2 tokens behind them, two Q heads on one KV head. All that is
// expected is zero, but V.
GoldenProblem decode() {
  GoldenProblem problem{"attention",
                        "decode",
                        {{"seed", 971503489},
                         {"inputs", 2063161894},
                         {"mode", 2},
                         {"batch", 2},
                         {"past", kPast},
                         {"tokens", 1},
                         {"num_q_heads", 2},
                         {"num_kv_heads", 1},
                         {"head_size", kHeadSize}},
                        {},
                        {}};
  problem.outputs.assign(2 * 2 * kHeadSize, 0.f);
  problem.keys.assign(2 * kHeadSize, 0);
  return problem;
}

void set_half(Bytes& bytes, size_t index, uint16_t half) {
  std::memcpy(&bytes[2 * index], &half, sizeof(half));
}

size_t cache_index(size_t row, size_t part, size_t slot) {
  return ((row * 2 + part) * kCapacity + slot) * kHeadSize;
}

// The right results of a call of decode().
std::vector<Bytes> right_results(const Call& call) {
  Bytes cache = call.inputs[1].bytes;
  for (size_t row = 0; row < 2; ++row) {
    const size_t slot = kPast - row;
    const size_t v = (row * 4 + 3) * kHeadSize;
    std::fill_n(&cache[2 * cache_index(row, 0, slot)], 2 * kHeadSize, '\0');
    std::copy_n(&call.inputs[0].bytes[2 * v], 2 * kHeadSize, &cache[2 * cache_index(row, 1, slot)]);
  }
  return {Bytes(2 * 2 * kHeadSize * 2, '\0'), cache};
}

TEST(RightResultsHaveNoError) {
  const GoldenProblem golden = decode();
  const auto problem = Problem::of(golden, kLimits);
  const Call call = problem->call();
  EXPECT_EQ(problem->error(call, right_results(call)), 0.0);
}

TEST(ErrorIsAShareOfTheAllowedOne) {
  const GoldenProblem golden = decode();
  const auto problem = Problem::of(golden, kLimits);
  const Call call = problem->call();
  std::vector<Bytes> results = right_results(call);
  set_half(results[0], 5, 0x1800);  // 2^-9
  EXPECT_EQ(problem->error(call, results), 1.0 / 512 / 0.002);
  set_half(results[0], 5, 0x7e00);
  EXPECT_THROWS_WITH(problem->error(call, results), "1 outputs are NaN or infinite");
}

TEST(WrongCachesAreNamedByTheirSlot) {
  const GoldenProblem golden = decode();
  const auto problem = Problem::of(golden, kLimits);
  const Call call = problem->call();
  const auto spoiled = [&](size_t row, size_t part, size_t slot) {
    std::vector<Bytes> results = right_results(call);
    results[1][2 * cache_index(row, part, slot) + 1] ^= 0x40;
    return results;
  };
  EXPECT_THROWS_WITH(problem->error(call, spoiled(0, 1, 3)),
                     "V of the cache is wrong in row 0, head 0, slot 3");
  EXPECT_THROWS_WITH(problem->error(call, spoiled(1, 0, 1)),
                     "K of the cache is wrong in row 1, head 0, slot 1");
  // Behind the new token nothing is written.
  EXPECT_THROWS_WITH(problem->error(call, spoiled(1, 0, 3)),
                     "K of the cache is wrong in row 1, head 0, slot 3");
  EXPECT_THROWS_WITH(problem->error(call, spoiled(1, 0, 2)), "a key of the cache is 2.0");
}

TEST(KeysMayBeWrongByAStep) {
  GoldenProblem golden = decode();
  golden.keys[kHeadSize] = 0x3c00;
  const auto problem = Problem::of(golden, kLimits);
  const Call call = problem->call();
  std::vector<Bytes> results = right_results(call);
  set_half(results[1], cache_index(1, 0, 2), 0x3c01);
  EXPECT_EQ(problem->error(call, results), 0.0);
  set_half(results[1], cache_index(1, 0, 2), 0x3c02);
  EXPECT_THROWS_WITH(problem->error(call, results), "a key of the cache is 1.00");
  set_half(results[1], cache_index(1, 0, 2), 0x7e00);
  EXPECT_THROWS_WITH(problem->error(call, results), "a key of the cache is nan");
}

TEST(ProductsHaveARelativeError) {
  const GoldenProblem golden{
      "int4_gemm",
      "product",
      {{"seed", 1323529159}, {"inputs", 2046044062}, {"m", 1}, {"n", 4}, {"k", 64}},
      {1, 1, 1, 1},
      {}};
  const auto problem = Problem::of(golden, kLimits);
  const Call call = problem->call();
  Bytes results(8, '\0');
  for (size_t i = 0; i < 4; ++i) set_half(results, i, 0x3c00);
  EXPECT_EQ(problem->error(call, {results}), 0.0);
  set_half(results, 2, 0x3c01);  // 2^-10 of 2
  EXPECT_EQ(problem->error(call, {results}), 1.0 / 2048 / 0.0005);
  set_half(results, 2, 0x7e00);
  EXPECT_TRUE(!(problem->error(call, {results}) <= 1));
}

TEST(TreeSeesItsAncestors) {
  GoldenProblem golden = decode();
  golden.facts["seed"] = 3998320947;
  golden.facts["inputs"] = 39826916;
  golden.facts["mode"] = 3;
  golden.facts["batch"] = 1;
  golden.facts["tokens"] = 2;
  EXPECT_EQ(Problem::of(golden, kLimits)->call().inputs.size(), 7u);
}

TEST(InputsOfAnotherReleaseAreRefused) {
  GoldenProblem golden = decode();
  golden.facts["inputs"] = 1;
  EXPECT_THROWS_WITH(Problem::of(golden, kLimits)->call(),
                     "decode: the inputs made here are not those of the golden file");
}

}  // namespace
}  // namespace edge_llm::verify
