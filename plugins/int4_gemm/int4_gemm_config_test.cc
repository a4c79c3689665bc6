#include "plugins/int4_gemm/int4_gemm_config.h"

#include <cstring>
#include <vector>

#include "plugins/adapter/engine_data.h"
#include "tools/testing/testing.h"

namespace edge_llm {
namespace {

using abi::PluginField;
using abi::PluginFieldType;

struct Fields {
  int32_t n = 8, k = 576, group_size = 128;
  std::vector<PluginField> list{{"gemm_n", &n, PluginFieldType::kInt32, 1},
                                {"gemm_k", &k, PluginFieldType::kInt32, 1},
                                {"group_size", &group_size, PluginFieldType::kInt32, 1}};

  Int4GemmConfig config() const {
    const abi::PluginFieldCollection collection{static_cast<int32_t>(list.size()), list.data()};
    return read_fields<Int4GemmConfig>(&collection);
  }
};

std::vector<char> engine_data() {
  std::vector<char> data(kEngineDataSize<Int4GemmConfig>);
  write_engine_data(Int4GemmConfig{8, 576, 128}, data.data());
  return data;
}

}  // namespace

TEST(FieldsInAnyOrderAmongUnknownOnesAreRead) {
  Fields fields;
  std::swap(fields.list[0], fields.list[2]);
  fields.list.push_back({"plugin_version", "2", PluginFieldType::kChar, 1});
  fields.list.push_back({nullptr, nullptr, PluginFieldType::kUnknown, 0});
  const Int4GemmConfig config = fields.config();
  EXPECT_EQ(config.n, 8);
  EXPECT_EQ(config.k, 576);
  EXPECT_EQ(config.groups(), 5);
}

TEST(UnalignedFieldDataIsRead) {
  alignas(4) char bytes[8] = {};
  const int32_t n = 12;
  std::memcpy(bytes + 1, &n, sizeof(n));
  Fields fields;
  fields.list[0].data = bytes + 1;
  EXPECT_EQ(fields.config().n, 12);
}

TEST(MissingFieldIsNamed) {
  for (int missing = 0; missing < 3; ++missing) {
    Fields fields;
    const std::string name = fields.list[missing].name;
    fields.list.erase(fields.list.begin() + missing);
    EXPECT_THROWS_WITH(fields.config(), "field " + name + " is missing");
  }
  EXPECT_THROWS_WITH(read_fields<Int4GemmConfig>(nullptr), "field gemm_n is missing");
}

TEST(RepeatedFieldIsNamed) {
  for (int repeated = 0; repeated < 3; ++repeated) {
    Fields fields;
    fields.list.push_back(fields.list[repeated]);
    EXPECT_THROWS_WITH(fields.config(),
                       std::string("field ") + fields.list[repeated].name + " is given twice");
  }
}

TEST(MistypedFieldIsNamedWithItsType) {
  Fields fields;
  fields.list[1].type = PluginFieldType::kFloat32;
  EXPECT_THROWS_WITH(fields.config(), "field gemm_k has type FLOAT32; INT32 is required");
  fields.list[1].type = static_cast<PluginFieldType>(77);
  EXPECT_THROWS_WITH(fields.config(), "field gemm_k has type another type");
}

TEST(WrongLengthIsNamed) {
  for (int32_t length : {0, 2, -1}) {
    Fields fields;
    fields.list[2].length = length;
    EXPECT_THROWS_WITH(fields.config(),
                       "field group_size has " + std::to_string(length) + " elements");
  }
}

TEST(MissingDataIsNamed) {
  Fields fields;
  fields.list[0].data = nullptr;
  EXPECT_THROWS_WITH(fields.config(), "field gemm_n has no data");
}

TEST(ImpossibleValuesAreNamedWithTheAllowedOnes) {
  for (int32_t n : {0, -4, 6, 2147483647}) {
    Fields fields;
    fields.n = n;
    EXPECT_THROWS_WITH(fields.config(), "field gemm_n = " + std::to_string(n) +
                                            "; positive multiples of 4 are allowed");
  }
  for (int32_t k : {0, -64, 96, 63}) {
    Fields fields;
    fields.k = k;
    EXPECT_THROWS_WITH(fields.config(), "field gemm_k = " + std::to_string(k) +
                                            "; positive multiples of 64 are allowed");
  }
  for (int32_t group_size : {0, -128, 64, 256}) {
    Fields fields;
    fields.group_size = group_size;
    EXPECT_THROWS_WITH(fields.config(),
                       "field group_size = " + std::to_string(group_size) + "; 128 is allowed");
  }
}

TEST(EngineDataRoundTrips) {
  const std::vector<char> data = engine_data();
  const Int4GemmConfig config = read_engine_data<Int4GemmConfig>(data.data(), data.size());
  EXPECT_EQ(config.n, 8);
  EXPECT_EQ(config.k, 576);
  EXPECT_EQ(config.group_size, 128);
}

// The layout is a promise to engines on disk: a change needs a new format version.
TEST(EngineDataOfFormatOneKeepsItsBytes) {
  const unsigned char golden[] = {'E', 'L', 'L', 'M', 'I', 'N', 'T', '4', 1, 0, 0, 0, 8, 0,
                                  0,   0,   64,  2,   0,   0,   128, 0,   0, 0, 0, 0, 0, 0};
  EXPECT_EQ(std::memcmp(engine_data().data(), golden, 24), 0);
}

TEST(EveryOtherLengthIsRefused) {
  std::vector<char> data = engine_data();
  data.resize(2 * data.size());
  for (size_t size = 0; size <= data.size(); ++size) {
    if (size == kEngineDataSize<Int4GemmConfig>) continue;
    EXPECT_THROWS_WITH(read_engine_data<Int4GemmConfig>(data.data(), size), "rebuild the engine");
  }
  EXPECT_THROWS_WITH(read_engine_data<Int4GemmConfig>(nullptr, kEngineDataSize<Int4GemmConfig>),
                     "rebuild the engine");
}

TEST(EveryFlippedBitIsRefused) {
  const std::vector<char> data = engine_data();
  for (size_t bit = 0; bit < 8 * data.size(); ++bit) {
    std::vector<char> corrupted = data;
    corrupted[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_THROWS_WITH(read_engine_data<Int4GemmConfig>(corrupted.data(), corrupted.size()),
                       "rebuild the engine");
  }
}

TEST(ForeignDataAndOtherFormatsAreToldApart) {
  std::vector<char> data = engine_data();
  data[0] = 'X';
  EXPECT_THROWS_WITH(read_engine_data<Int4GemmConfig>(data.data(), data.size()),
                     "another plugin library");
  data = engine_data();
  data[8] = 2;
  EXPECT_THROWS_WITH(read_engine_data<Int4GemmConfig>(data.data(), data.size()),
                     "engine data of format 2");
  data = engine_data();
  data[12] = 12;
  EXPECT_THROWS_WITH(read_engine_data<Int4GemmConfig>(data.data(), data.size()), "corrupted");
}

}  // namespace edge_llm
