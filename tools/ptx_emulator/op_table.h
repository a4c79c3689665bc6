// Instructions whose operands are plain registers: full opcode -> handler and operand widths.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "tools/ptx_emulator/lanes.h"

namespace ptx_emulator {

struct OpSpec {
  Handler handler = nullptr;
  // One letter per operand, destination first: 'h' 16, 'w' 32, 'd' 64 bits, 'p' predicate.
  std::string signature;
  uint8_t mode = 0;
};

class OpTable {
 public:
  // The table of all arithmetic of the sm_80 class, made at first use.
  static const OpTable& instance();

  const OpSpec* find(std::string_view opcode) const;

  void add(std::string opcode, std::string signature, Handler handler, uint8_t mode = 0) {
    table_[std::move(opcode)] = OpSpec{handler, std::move(signature), mode};
  }
  // Adds a lane-wise function; the operand widths follow from its types.
  template <auto F>
  void add(std::string opcode) {
    add(std::move(opcode), signature(F), map<F>);
  }

 private:
  template <class D, class... S>
  static std::string signature(D (*)(S...)) {
    return std::string{signature_of<D>(), signature_of<S>()...};
  }

  std::unordered_map<std::string, OpSpec> table_;
};

void add_integer_ops(OpTable& table);
void add_bit_ops(OpTable& table);
void add_float_ops(OpTable& table);
void add_half_ops(OpTable& table);
void add_convert_ops(OpTable& table);
void add_compare_ops(OpTable& table);

}  // namespace ptx_emulator
