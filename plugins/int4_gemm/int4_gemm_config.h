// What an Int4GroupwiseGemmPlugin is created from, and its form inside an engine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "plugins/abi/types.h"

namespace edge_llm {

inline constexpr char kInt4GemmPluginName[] = "Int4GroupwiseGemmPlugin";

struct Int4GemmConfig {
  int32_t n = 0;           // field gemm_n: output channels, a positive multiple of 4
  int32_t k = 0;           // field gemm_k: input channels, a positive multiple of 64
  int32_t group_size = 0;  // field group_size: input channels that share a scale, 128

  int64_t groups() const { return (int64_t{k} + group_size - 1) / group_size; }
};

// Reads and checks the fields; throws an Error that names the offending one.
Int4GemmConfig int4_gemm_config(const abi::PluginFieldCollection* fields);

// The fields, pointing into `config`, which must outlive them.
std::array<abi::PluginField, 3> int4_gemm_fields(const Int4GemmConfig& config);

// Name and type of every field, without data; lives as long as the process.
const abi::PluginFieldCollection* int4_gemm_field_names();

// Engine data of a version "1" plugin: magic, format version, fields, checksum.
inline constexpr size_t kInt4GemmEngineDataSize = 28;  // bytes
void write_engine_data(const Int4GemmConfig& config, void* data);

// Throws an Error that asks to rebuild the engine unless `data` is what write_engine_data() wrote.
Int4GemmConfig read_engine_data(const void* data, size_t size);

}  // namespace edge_llm
