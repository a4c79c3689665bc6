// PTX text -> Module.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/ptx_emulator/instruction.h"
#include "tools/ptx_emulator/lexer.h"

namespace ptx_emulator {

// A .global or .const variable of a module.
struct Variable {
  std::string name;
  uint64_t bytes = 0;
  std::vector<uint8_t> initial;  // what the initialiser gives; zeros follow
};

// Gives a variable its device address.
using PlaceVariable = std::function<uint64_t(const Variable& variable)>;

// Throws PtxError at the first defect or unsupported instruction.
void parse_module(std::string_view text, const PlaceVariable& place, Module& module);

}  // namespace ptx_emulator
