// The fields that a plugin is created from, read from and written to a struct of int32 members.
//
// A `Config` lists them in a static array Config::kFields, knows its allowed values in
// Config::check(), which throws, and has its default values as member initialisers.
#pragma once

#include <array>
#include <cstdint>
#include <iterator>

#include "plugins/abi/field_reader.h"
#include "plugins/abi/types.h"

namespace edge_llm {

template <typename Config>
struct ConfigField {
  const char* name;
  int32_t Config::* value;
  bool required = true;  // else its absence means the member's initial value
};

template <typename Config>
using FieldArray = std::array<abi::PluginField, std::size(Config::kFields)>;

// Reads and checks the fields; throws an Error that names the offending one.
template <typename Config>
Config read_fields(const abi::PluginFieldCollection* fields) {
  Config config;
  for (const auto& [name, value, required] : Config::kFields) {
    config.*value = required ? abi::required_int32(fields, name)
                             : abi::optional_int32(fields, name, config.*value);
  }
  config.check();
  return config;
}

// The fields, pointing into `config`, which must outlive them.
template <typename Config>
FieldArray<Config> fields_of(const Config& config) {
  FieldArray<Config> fields;
  for (size_t i = 0; i < fields.size(); ++i) {
    const auto& [name, value, required] = Config::kFields[i];
    fields[i] = {name, &(config.*value), abi::PluginFieldType::kInt32, 1};
  }
  return fields;
}

// Name and type of every field, without data; lives as long as the process.
template <typename Config>
const abi::PluginFieldCollection* field_names() {
  static const auto fields = [] {
    FieldArray<Config> names;
    for (size_t i = 0; i < names.size(); ++i) {
      names[i] = {Config::kFields[i].name, nullptr, abi::PluginFieldType::kInt32, 1};
    }
    return names;
  }();
  static const abi::PluginFieldCollection collection{static_cast<int32_t>(fields.size()),
                                                     fields.data()};
  return &collection;
}

}  // namespace edge_llm
