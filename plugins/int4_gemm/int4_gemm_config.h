// What an Int4GroupwiseGemmPlugin is created from.
#pragma once

#include <cstdint>
#include <string_view>

#include "plugins/adapter/config_fields.h"

namespace edge_llm {

struct Int4GemmConfig {
  static const ConfigField<Int4GemmConfig> kFields[3];
  static constexpr std::string_view kEngineMagic = "ELLMINT4";

  int32_t n = 0;           // output channels, a positive multiple of 4
  int32_t k = 0;           // input channels, a positive multiple of 64
  int32_t group_size = 0;  // input channels that share a scale, 128

  int64_t groups() const { return (int64_t{k} + group_size - 1) / group_size; }

  // Throws an Error that names the field with an impossible value.
  void check() const;
};

inline constexpr ConfigField<Int4GemmConfig> Int4GemmConfig::kFields[] = {
    {"gemm_n", &Int4GemmConfig::n},
    {"gemm_k", &Int4GemmConfig::k},
    {"group_size", &Int4GemmConfig::group_size},
};

}  // namespace edge_llm
