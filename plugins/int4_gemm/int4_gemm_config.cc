#include "plugins/int4_gemm/int4_gemm_config.h"

#include <cstring>

#include "plugins/abi/field_reader.h"
#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

constexpr char kN[] = "gemm_n";
constexpr char kK[] = "gemm_k";
constexpr char kGroupSize[] = "group_size";

void check(const Int4GemmConfig& config) {
  if (config.n <= 0 || config.n % 4 != 0) {
    fail("field ", kN, " = ", config.n, "; positive multiples of 4 are allowed");
  }
  if (config.k <= 0 || config.k % 64 != 0) {
    fail("field ", kK, " = ", config.k, "; positive multiples of 64 are allowed");
  }
  if (config.group_size != 128) {
    fail("field ", kGroupSize, " = ", config.group_size, "; 128 is allowed");
  }
}

struct EngineData {
  char magic[8];
  uint32_t format_version;
  Int4GemmConfig config;
  uint32_t checksum;
};
static_assert(sizeof(EngineData) == kInt4GemmEngineDataSize, "engine data has no padding");

constexpr char kMagic[8] = {'E', 'L', 'L', 'M', 'I', 'N', 'T', '4'};
constexpr uint32_t kFormatVersion = 1;

// FNV-1a: each step is a bijection of the state, so a change of any single byte changes the result.
uint32_t checksum(const EngineData& data) {
  uint32_t hash = 2166136261u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(&data);
  for (size_t i = 0; i < offsetof(EngineData, checksum); ++i) hash = (hash ^ bytes[i]) * 16777619u;
  return hash;
}

}  // namespace

Int4GemmConfig int4_gemm_config(const abi::PluginFieldCollection* fields) {
  Int4GemmConfig config;
  config.n = abi::required_int32(fields, kN);
  config.k = abi::required_int32(fields, kK);
  config.group_size = abi::required_int32(fields, kGroupSize);
  check(config);
  return config;
}

std::array<abi::PluginField, 3> int4_gemm_fields(const Int4GemmConfig& config) {
  constexpr auto kType = abi::PluginFieldType::kInt32;
  return {{{kN, &config.n, kType, 1},
           {kK, &config.k, kType, 1},
           {kGroupSize, &config.group_size, kType, 1}}};
}

const abi::PluginFieldCollection* int4_gemm_field_names() {
  constexpr auto kType = abi::PluginFieldType::kInt32;
  static constexpr abi::PluginField kFields[] = {
      {kN, nullptr, kType, 1}, {kK, nullptr, kType, 1}, {kGroupSize, nullptr, kType, 1}};
  static constexpr abi::PluginFieldCollection kNames{std::size(kFields), kFields};
  return &kNames;
}

void write_engine_data(const Int4GemmConfig& config, void* data) {
  EngineData out;
  std::memcpy(out.magic, kMagic, sizeof(kMagic));
  out.format_version = kFormatVersion;
  out.config = config;
  out.checksum = checksum(out);
  std::memcpy(data, &out, sizeof(out));
}

Int4GemmConfig read_engine_data(const void* data, size_t size) {
  constexpr char kRemedy[] = "; rebuild the engine with this library";
  if (data == nullptr || size != sizeof(EngineData)) {
    fail("engine data of ", size, " bytes, ", sizeof(EngineData), " expected", kRemedy);
  }
  EngineData in;
  std::memcpy(&in, data, sizeof(in));
  if (std::memcmp(in.magic, kMagic, sizeof(kMagic)) != 0) {
    fail("engine data of another plugin library", kRemedy);
  }
  if (in.format_version != kFormatVersion) {
    fail("engine data of format ", in.format_version, ", ", kFormatVersion, " expected", kRemedy);
  }
  if (in.checksum != checksum(in)) fail("engine data is corrupted", kRemedy);
  check(in.config);
  return in.config;
}

}  // namespace edge_llm
