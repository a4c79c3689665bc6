#include "plugins/adapter/engine_data.h"

#include "plugins/runtime/status.h"

namespace edge_llm {
namespace {

constexpr uint32_t kFormatVersion = 1;
constexpr char kRemedy[] = "; rebuild the engine with this library";

constexpr size_t kVersionOffset = kEngineMagicSize;
constexpr size_t kConfigOffset = kVersionOffset + sizeof(uint32_t);

// FNV-1a: each step is a bijection of the state, so a change of any single byte changes the result.
uint32_t checksum(const char* bytes, size_t size) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < size; ++i)
    hash = (hash ^ static_cast<unsigned char>(bytes[i])) * 16777619u;
  return hash;
}

uint32_t word_at(const char* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

}  // namespace

void write_engine_data(std::string_view magic, const void* config, size_t config_size, void* data) {
  char* out = static_cast<char*>(data);
  std::memcpy(out, magic.data(), kEngineMagicSize);
  std::memcpy(out + kVersionOffset, &kFormatVersion, sizeof(kFormatVersion));
  std::memcpy(out + kConfigOffset, config, config_size);
  const size_t end = kConfigOffset + config_size;
  const uint32_t sum = checksum(out, end);
  std::memcpy(out + end, &sum, sizeof(sum));
}

void read_engine_data(std::string_view magic, const void* data, size_t size, void* config,
                      size_t config_size) {
  const char* in = static_cast<const char*>(data);
  const size_t end = kConfigOffset + config_size;
  const size_t expected = end + sizeof(uint32_t);
  if (in == nullptr || size != expected) {
    fail("engine data of ", size, " bytes, ", expected, " expected", kRemedy);
  }
  if (std::string_view(in, kEngineMagicSize) != magic) {
    fail("engine data of another plugin library", kRemedy);
  }
  if (word_at(in + kVersionOffset) != kFormatVersion) {
    fail("engine data of format ", word_at(in + kVersionOffset), ", ", kFormatVersion, " expected",
         kRemedy);
  }
  if (word_at(in + end) != checksum(in, end)) fail("engine data is corrupted", kRemedy);
  std::memcpy(config, in + kConfigOffset, config_size);
}

}  // namespace edge_llm
