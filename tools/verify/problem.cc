#include "tools/verify/problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace edge_llm::verify {
namespace {

constexpr auto kFloat = abi::DataType::kFloat;
constexpr auto kHalf = abi::DataType::kHalf;
constexpr auto kInt8 = abi::DataType::kInt8;
constexpr auto kInt32 = abi::DataType::kInt32;

constexpr int64_t kGroupSize = 128;
constexpr uint16_t kHalfNan = 0x7e00;

// As make_golden.py and inputs.py number them.
enum TensorNumber : uint64_t { kOutputSample = 8, kKeySample = 9 };

std::vector<uint16_t> halves_of(const Bytes& bytes) {
  std::vector<uint16_t> halves(bytes.size() / sizeof(uint16_t));
  std::memcpy(halves.data(), bytes.data(), halves.size() * sizeof(uint16_t));
  return halves;
}

// Those of `values` whose expected ones the golden file has.
std::vector<uint16_t> sampled(uint64_t seed, TensorNumber number,
                              const std::vector<uint16_t>& values, size_t samples) {
  if (values.size() == samples) return values;
  std::vector<uint16_t> sample(samples);
  for (size_t i = 0; i < samples; ++i) {
    sample[i] = values[random_word(seed, number, i) % values.size()];
  }
  return sample;
}

// "<variant> splits=<count>"
std::pair<std::string, bool> variant_and_is_split(const std::string& plan) {
  const size_t end = plan.find(" splits=");
  return {plan.substr(0, end), plan.substr(end) != " splits=1"};
}

class Int4GemmProblem : public Problem {
 public:
  using Problem::Problem;

  std::vector<std::string> kernels(const host::PluginLibrary& library, int sm,
                                   int sm_count) const override {
    const auto [variant, is_split] =
        variant_and_is_split(library.int4_gemm_variant(m(), n(), k(), sm, sm_count));
    std::vector<std::string> kernels{variant};
    if (is_split) kernels.emplace_back("int4_combine_f16");
    return kernels;
  }

  double error(const Call&, const std::vector<Bytes>& outputs) const override {
    const auto results =
        sampled(seed(), kOutputSample, halves_of(outputs[0]), golden_.outputs.size());
    double differences = 0, squares = 0;
    for (size_t i = 0; i < results.size(); ++i) {
      const double expected = golden_.outputs[i];
      differences += std::pow(half_value(results[i]) - expected, 2);
      squares += expected * expected;
    }
    return std::sqrt(differences / squares) / limits_.int4_relative_rms;
  }

 protected:
  Call seeded_call() const override {
    const int64_t groups = (k() + kGroupSize - 1) / kGroupSize;
    return {"Int4GroupwiseGemmPlugin",
            {{"gemm_n", static_cast<int32_t>(n())},
             {"gemm_k", static_cast<int32_t>(k())},
             {"group_size", kGroupSize}},
            {{kHalf, {1, m(), k()}, bytes_of(normals(seed(), 0, m() * k()))},
             {kInt8, {n() / 2, k()}, bytes_of(int8s(seed(), 1, n() / 2 * k()))},
             {kHalf, {groups, n()}, bytes_of(scales(seed(), 2, groups * n()))}},
            {{kHalf, {1, m(), n()}, {}}}};
  }

 private:
  int64_t m() const { return fact("m"); }
  int64_t n() const { return fact("n"); }
  int64_t k() const { return fact("k"); }
};

enum Mode : int { kPrefill, kChunk, kDecode, kTree };

class AttentionProblem : public Problem {
 public:
  using Problem::Problem;

  std::vector<std::string> kernels(const host::PluginLibrary& library, int sm,
                                   int sm_count) const override {
    const auto [variant, is_split] = variant_and_is_split(
        library.attention_variant(mode(), batch(), tokens(), fact("num_q_heads"), kv_heads(),
                                  head_size(), capacity(), sm, sm_count));
    std::vector<std::string> kernels{variant};
    if (variant.find("_prefill_") != std::string::npos) {
      kernels.insert(kernels.begin(), "attention_append_f16");
    }
    if (is_split) kernels.emplace_back("attention_combine_f16");
    return kernels;
  }

  double error(const Call& call, const std::vector<Bytes>& outputs) const override {
    check_cache(call, halves_of(outputs[1]));
    const std::vector<uint16_t> all = halves_of(outputs[0]);
    const auto wrong = std::count_if(
        all.begin(), all.end(), [](uint16_t half) { return !std::isfinite(half_value(half)); });
    if (wrong > 0) throw WrongResult(std::to_string(wrong) + " outputs are NaN or infinite");
    const auto results = sampled(seed(), kOutputSample, all, golden_.outputs.size());
    double worst = 0;
    for (size_t i = 0; i < results.size(); ++i) {
      const double expected = golden_.outputs[i];
      const double allowed = limits_.attention * (1 + std::abs(expected));
      worst = std::max(worst, std::abs(half_value(results[i]) - expected) / allowed);
    }
    return worst;
  }

 protected:
  Call seeded_call() const override {
    const int64_t heads = fact("num_q_heads") + 2 * kv_heads();
    const host::Shape cache{batch(), 2, kv_heads(), capacity(), head_size()};
    const std::vector<int32_t> start = start_index();
    Call call{
        "AttentionPlugin",
        {{"num_q_heads", static_cast<int32_t>(fact("num_q_heads"))},
         {"num_kv_heads", static_cast<int32_t>(kv_heads())},
         {"head_size", static_cast<int32_t>(head_size())},
         {"enable_tree_attention", mode() == kTree ? 1 : 0}},
        {{kHalf,
          {batch(), tokens(), heads * head_size()},
          bytes_of(normals(seed(), 0, batch() * tokens() * heads * head_size()))},
         {kHalf, cache, bytes_of(past_cache())},
         {kInt32, {batch()}, bytes_of(context_lengths())},
         {kFloat, {1, capacity(), head_size()}, bytes_of(rope_table(capacity(), head_size()))},
         {kInt32, {static_cast<int64_t>(start.size())}, bytes_of(start)}},
        {{kHalf, {batch(), tokens(), fact("num_q_heads"), head_size()}, {}}, {kHalf, cache, {}}},
        /*written_input=*/1};
    if (mode() == kTree) add_tree(call);
    return call;
  }

 private:
  int mode() const { return static_cast<int>(fact("mode")); }
  int64_t batch() const { return fact("batch"); }
  int64_t tokens() const { return fact("tokens"); }
  int64_t kv_heads() const { return fact("num_kv_heads"); }
  int64_t head_size() const { return fact("head_size"); }
  int64_t capacity() const { return fact("past") + tokens(); }

  // Of a row: tokens in the cache, and slots that are written behind them.
  int64_t past(int64_t row) const { return std::max<int64_t>(fact("past") - row, 0); }
  int64_t written(int64_t row) const {
    return mode() >= kDecode ? tokens() : std::max<int64_t>(tokens() - row, 1);
  }

  std::vector<int32_t> per_row(int64_t (AttentionProblem::*value)(int64_t) const) const {
    std::vector<int32_t> values;
    for (int64_t row = 0; row < batch(); ++row) {
      values.push_back(static_cast<int32_t>((this->*value)(row)));
    }
    return values;
  }

  int64_t total(int64_t row) const { return past(row) + tokens(); }
  std::vector<int32_t> context_lengths() const {
    return per_row(mode() >= kDecode ? &AttentionProblem::total : &AttentionProblem::written);
  }

  std::vector<int32_t> start_index() const {
    if (mode() == kPrefill) return {};
    if (mode() == kChunk) return per_row(&AttentionProblem::past);
    return std::vector<int32_t>(batch(), 0);
  }

  // Calls visit(row, 0 for K and 1 for V, head, slot, index of the first element) for each slot.
  template <typename Visit>
  void for_each_slot(const Visit& visit) const {
    size_t first = 0;
    for (int64_t row = 0; row < batch(); ++row) {
      for (int64_t part = 0; part < 2; ++part) {
        for (int64_t head = 0; head < kv_heads(); ++head) {
          for (int64_t slot = 0; slot < capacity(); ++slot, first += head_size()) {
            visit(row, part, head, slot, first);
          }
        }
      }
    }
  }

  std::vector<uint16_t> past_cache() const {
    auto cache = normals(seed(), 1, batch() * 2 * kv_heads() * capacity() * head_size());
    for_each_slot([&](int64_t row, int64_t, int64_t, int64_t slot, size_t first) {
      if (slot >= past(row)) std::fill_n(cache.begin() + first, head_size(), kHalfNan);
    });
    return cache;
  }

  // A mask of ancestors and positions by depth, the same tree in every row.
  void add_tree(Call& call) const {
    const std::vector<int32_t> tree = parents(seed(), 2, tokens());
    const int64_t words = (tokens() + 31) / 32;
    std::vector<int32_t> mask, positions;
    for (int64_t row = 0; row < batch(); ++row) {
      for (int64_t token = 0; token < tokens(); ++token) {
        std::vector<uint32_t> seen(words);
        int32_t depth = -1;
        for (auto other = static_cast<int32_t>(token); other >= 0; other = tree[other]) {
          seen[other / 32] |= 1u << other % 32;
          ++depth;
        }
        mask.insert(mask.end(), seen.begin(), seen.end());
        positions.push_back(static_cast<int32_t>(past(row)) + depth);
      }
    }
    call.inputs.push_back({kInt32, {batch(), tokens(), words}, bytes_of(mask)});
    call.inputs.push_back({kInt32, {batch(), tokens()}, bytes_of(positions)});
  }

  // V is copied by the bit, K is rotated, and nothing else is written.
  void check_cache(const Call& call, const std::vector<uint16_t>& cache) const {
    const std::vector<uint16_t> qkv = halves_of(call.inputs[0].bytes);
    const std::vector<uint16_t> before = halves_of(call.inputs[1].bytes);
    const int64_t heads = fact("num_q_heads") + 2 * kv_heads();
    std::vector<uint16_t> keys;
    for_each_slot([&](int64_t row, int64_t part, int64_t head, int64_t slot, size_t first) {
      const int64_t token = slot - past(row);
      const bool is_new = token >= 0 && token < written(row);
      if (is_new && part == 0) {
        keys.insert(keys.end(), cache.begin() + first, cache.begin() + first + head_size());
        return;
      }
      const int64_t v_head = heads - kv_heads() + head;
      const uint16_t* expected =
          is_new ? &qkv[((row * tokens() + token) * heads + v_head) * head_size()] : &before[first];
      if (!std::equal(expected, expected + head_size(), cache.begin() + first)) {
        throw WrongResult(std::string(part == 0 ? "K" : "V") + " of the cache is wrong in row " +
                          std::to_string(row) + ", head " + std::to_string(head) + ", slot " +
                          std::to_string(slot));
      }
    });
    check_keys(sampled(seed(), kKeySample, keys, golden_.keys.size()));
  }

  void check_keys(const std::vector<uint16_t>& keys) const {
    for (size_t i = 0; i < keys.size(); ++i) {
      const double actual = half_value(keys[i]);
      const double expected = half_value(golden_.keys[i]);
      const double allowed =
          std::max({half_spacing(keys[i]), half_spacing(golden_.keys[i]), limits_.key});
      if (!(std::abs(actual - expected) <= allowed)) {
        throw WrongResult("a key of the cache is " + std::to_string(actual) + ", expected " +
                          std::to_string(expected));
      }
    }
  }
};

}  // namespace

std::unique_ptr<Problem> Problem::of(const GoldenProblem& golden, const Limits& limits) {
  if (golden.family == "attention") {
    return std::unique_ptr<Problem>(new AttentionProblem(golden, limits));
  }
  return std::unique_ptr<Problem>(new Int4GemmProblem(golden, limits));
}

Call Problem::call() const {
  Call call = seeded_call();
  uint32_t crc = 0;
  for (const HostTensor& input : call.inputs) crc = crc32(crc, input.bytes);
  if (crc != golden_.fact("inputs")) {
    throw VerifyError(label() +
                      ": the inputs made here are not those of the golden file; both must"
                      " be of the same release");
  }
  return call;
}

}  // namespace edge_llm::verify
