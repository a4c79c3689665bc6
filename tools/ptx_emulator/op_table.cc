#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {

const OpTable& OpTable::instance() {
  static const OpTable* const table = [] {
    auto* made = new OpTable;
    add_integer_ops(*made);
    add_bit_ops(*made);
    add_float_ops(*made);
    add_half_ops(*made);
    add_convert_ops(*made);
    add_compare_ops(*made);
    return made;
  }();
  return *table;
}

const OpSpec* OpTable::find(std::string_view opcode) const {
  const auto found = table_.find(std::string(opcode));
  return found == table_.end() ? nullptr : &found->second;
}

}  // namespace ptx_emulator
