#include "plugins/attention/attention_config.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "plugins/adapter/engine_data.h"
#include "tools/testing/testing.h"

namespace edge_llm {
namespace {

using abi::PluginField;
using abi::PluginFieldType;

constexpr AttentionConfig kConfig{14, 2, 64, 1, 1};

// The configuration read from fields with these values; reading checks them.
AttentionConfig read(AttentionConfig values) {
  const auto fields = fields_of(values);
  const abi::PluginFieldCollection collection{static_cast<int32_t>(fields.size()), fields.data()};
  return read_fields<AttentionConfig>(&collection);
}

AttentionConfig with(int32_t AttentionConfig::* member, int32_t value) {
  AttentionConfig config = kConfig;
  config.*member = value;
  return config;
}

// The fields without the one of this name.
AttentionConfig read_without(const std::string& name) {
  std::vector<PluginField> fields;
  for (const PluginField& field : fields_of(kConfig)) {
    if (field.name != name) fields.push_back(field);
  }
  const abi::PluginFieldCollection collection{static_cast<int32_t>(fields.size()), fields.data()};
  return read_fields<AttentionConfig>(&collection);
}

std::vector<char> engine_data() {
  std::vector<char> data(kEngineDataSize<AttentionConfig>);
  write_engine_data(kConfig, data.data());
  return data;
}

bool equal(const AttentionConfig& a, const AttentionConfig& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

}  // namespace

TEST(EveryFieldReachesItsMember) { EXPECT_TRUE(equal(read(kConfig), kConfig)); }

TEST(EveryFieldIsListedForTheOnnxParser) {
  std::string names;
  const abi::PluginFieldCollection* fields = field_names<AttentionConfig>();
  for (int i = 0; i < fields->nbFields; ++i) {
    names += std::string(fields->fields[i].name) + " ";
    EXPECT_EQ(fields->fields[i].type, PluginFieldType::kInt32);
  }
  EXPECT_EQ(names, "num_q_heads num_kv_heads head_size enable_tree_attention alias_kv_cache ");
}

TEST(AliasingIsOptionalAndOffWithoutItsField) {
  EXPECT_TRUE(equal(read_without("alias_kv_cache"), with(&AttentionConfig::alias_kv_cache, 0)));
}

TEST(EveryOtherFieldIsRequired) {
  for (const char* name : {"num_q_heads", "num_kv_heads", "head_size", "enable_tree_attention"}) {
    EXPECT_THROWS_WITH(read_without(name), std::string("field ") + name + " is missing");
  }
}

TEST(MistypedOptionalFieldIsRefused) {
  auto fields = fields_of(kConfig);
  fields[4].type = PluginFieldType::kInt8;
  const abi::PluginFieldCollection collection{5, fields.data()};
  EXPECT_THROWS_WITH(read_fields<AttentionConfig>(&collection),
                     "field alias_kv_cache has type INT8; INT32 is required");
}

TEST(RatiosFromOneToSixteenAreAllowed) {
  for (int32_t ratio = 1; ratio <= 16; ++ratio) {
    EXPECT_EQ(read(with(&AttentionConfig::num_q_heads, 2 * ratio)).num_q_heads, 2 * ratio);
  }
}

TEST(ImpossibleHeadsAreNamedWithTheAllowedOnes) {
  for (int32_t heads : {0, -2, 3, 34, std::numeric_limits<int32_t>::max()}) {
    EXPECT_THROWS_WITH(
        read(with(&AttentionConfig::num_q_heads, heads)),
        "field num_q_heads = " + std::to_string(heads) + "; 1 to 16 times num_kv_heads = 2 is");
  }
  for (int32_t heads : {0, -1}) {
    EXPECT_THROWS_WITH(read(with(&AttentionConfig::num_kv_heads, heads)),
                       "field num_kv_heads = " + std::to_string(heads) + "; positive");
    EXPECT_THROWS_WITH(read(with(&AttentionConfig::head_size, heads)),
                       "field head_size = " + std::to_string(heads) + "; positive");
  }
}

TEST(FlagsAreZeroOrOne) {
  for (int32_t value : {-1, 2}) {
    EXPECT_THROWS_WITH(
        read(with(&AttentionConfig::enable_tree_attention, value)),
        "field enable_tree_attention = " + std::to_string(value) + "; 0 and 1 are allowed");
    EXPECT_THROWS_WITH(read(with(&AttentionConfig::alias_kv_cache, value)),
                       "field alias_kv_cache = " + std::to_string(value) + "; 0 and 1 are allowed");
  }
}

// The layout is a promise to engines on disk: a change needs a new format version.
TEST(EngineDataOfFormatOneKeepsItsBytes) {
  const unsigned char golden[] = {'E', 'L', 'L', 'M', 'A', 'T', 'T', 'N', 1, 0, 0, 0, 14, 0, 0, 0,
                                  2,   0,   0,   0,   64,  0,   0,   0,   1, 0, 0, 0, 1,  0, 0, 0};
  const std::vector<char> data = engine_data();
  EXPECT_EQ(data.size(), sizeof(golden) + 4);
  EXPECT_EQ(std::memcmp(data.data(), golden, sizeof(golden)), 0);
}

TEST(EngineDataRoundTrips) {
  const std::vector<char> data = engine_data();
  EXPECT_TRUE(equal(read_engine_data<AttentionConfig>(data.data(), data.size()), kConfig));
}

TEST(EveryFlippedBitAndEveryOtherLengthIsRefused) {
  const std::vector<char> data = engine_data();
  for (size_t bit = 0; bit < 8 * data.size(); ++bit) {
    std::vector<char> corrupted = data;
    corrupted[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_THROWS_WITH(read_engine_data<AttentionConfig>(corrupted.data(), corrupted.size()),
                       "rebuild the engine");
  }
  for (size_t size = 0; size < data.size(); ++size) {
    EXPECT_THROWS_WITH(read_engine_data<AttentionConfig>(data.data(), size), "rebuild the engine");
  }
}

// Upstream's blobs are their fields alone: four words, or five.
TEST(EngineDataOfUpstreamIsRefused) {
  const int32_t upstream[9] = {14, 2, 64, 1};
  for (size_t size : {16, 20, 36}) {
    EXPECT_THROWS_WITH(read_engine_data<AttentionConfig>(upstream, size), "rebuild the engine");
  }
}

}  // namespace edge_llm
