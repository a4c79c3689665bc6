// Reads the fields that a plugin is created from.
#pragma once

#include <cstdint>

#include "plugins/abi/types.h"

namespace edge_llm::abi {

// The value of the required INT32 field `name`. Throws an Error that names the field and what is
// wrong when it is missing, given twice, of another type or length, or without data. Fields of
// other names are not looked at.
int32_t required_int32(const PluginFieldCollection* fields, const char* name);

// The same for an optional field, which has the value `absent` where it is missing.
int32_t optional_int32(const PluginFieldCollection* fields, const char* name, int32_t absent);

}  // namespace edge_llm::abi
