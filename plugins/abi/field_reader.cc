#include "plugins/abi/field_reader.h"

#include <cstring>

#include "plugins/runtime/status.h"

namespace edge_llm::abi {
namespace {

const char* name_of(PluginFieldType type) {
  static constexpr const char* kNames[] = {"FLOAT16", "FLOAT32", "FLOAT64", "INT8",   "INT16",
                                           "INT32",   "CHAR",    "DIMS",    "UNKNOWN"};
  const auto index = static_cast<size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "another type";
}

// The one field of this name, or null.
const PluginField* find(const PluginFieldCollection* fields, const char* name) {
  const PluginField* found = nullptr;
  const int32_t count = fields == nullptr || fields->fields == nullptr ? 0 : fields->nbFields;
  for (int32_t i = 0; i < count; ++i) {
    const PluginField& field = fields->fields[i];
    if (field.name == nullptr || std::strcmp(field.name, name) != 0) continue;
    if (found != nullptr) fail("field ", name, " is given twice; give it once");
    found = &field;
  }
  return found;
}

int32_t int32_of(const PluginField& field) {
  if (field.type != PluginFieldType::kInt32) {
    fail("field ", field.name, " has type ", name_of(field.type), "; INT32 is required");
  }
  if (field.length != 1) {
    fail("field ", field.name, " has ", field.length, " elements; 1 is required");
  }
  if (field.data == nullptr) fail("field ", field.name, " has no data");
  int32_t value;
  std::memcpy(&value, field.data, sizeof(value));  // a host may pack fields without alignment
  return value;
}

}  // namespace

int32_t required_int32(const PluginFieldCollection* fields, const char* name) {
  const PluginField* field = find(fields, name);
  if (field == nullptr) fail("field ", name, " is missing; it is a required INT32");
  return int32_of(*field);
}

int32_t optional_int32(const PluginFieldCollection* fields, const char* name, int32_t absent) {
  const PluginField* field = find(fields, name);
  return field == nullptr ? absent : int32_of(*field);
}

}  // namespace edge_llm::abi
