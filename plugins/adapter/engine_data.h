// What a version "1" plugin stores in an engine: magic, format version, its configuration,
// checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace edge_llm {

inline constexpr size_t kEngineMagicSize = 8;  // bytes; Config::kEngineMagic tells plugins apart

// Not a struct: the layout on disk is these offsets, whatever a compiler pads.
template <typename Config>
inline constexpr size_t kEngineDataSize = kEngineMagicSize + 4 + sizeof(Config) + 4;  // bytes

// Writes a header and the `config_size` bytes at `config`, and their checksum.
void write_engine_data(std::string_view magic, const void* config, size_t config_size, void* data);

// The reverse; throws an Error that asks to rebuild the engine unless `data` was written so.
void read_engine_data(std::string_view magic, const void* data, size_t size, void* config,
                      size_t config_size);

template <typename Config>
void write_engine_data(const Config& config, void* data) {
  static_assert(std::has_unique_object_representations_v<Config>, "padding would reach the engine");
  write_engine_data(Config::kEngineMagic, &config, sizeof(config), data);
}

template <typename Config>
Config read_engine_data(const void* data, size_t size) {
  Config config;
  read_engine_data(Config::kEngineMagic, data, size, &config, sizeof(config));
  config.check();
  return config;
}

}  // namespace edge_llm
