// Collects one kernel while its body is parsed: scopes, virtual registers, constants, variables and
// drafts of instructions whose operands are still virtual registers.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tools/ptx_emulator/instruction.h"
#include "tools/ptx_emulator/lexer.h"

namespace ptx_emulator {

struct VirtualRegister {
  Width width = Width::k32;
  bool constant = false;
  bool of_dynamic_shared = false;  // a constant: the address of dynamic shared memory, plus value
  uint64_t value = 0;
  int slot = -1;
};

struct DraftOperand {
  int32_t reg = -1;
  bool read = false;
  bool written = false;
};

struct Draft {
  Instruction instruction;
  std::vector<DraftOperand> operands;  // destinations first
  int32_t guard = -1;
  int32_t product_registers = 0;  // of a wgmma: so many operands are accumulators or in A
  std::string_view label;         // of a branch, resolved from `scope`
  int32_t scope = 0;
};

// One operand as it is written.
struct Operand {
  enum class Kind : uint8_t { kName, kNumber, kVector, kAddress, kSink };
  Kind kind = Kind::kName;
  std::string_view name;         // a register, variable or label; base of an address (or empty)
  std::string_view second_name;  // of "p|q"
  std::string_view number;
  bool negative = false;  // the number
  bool negated = false;   // "!p"
  int64_t offset = 0;     // of an address or "variable+offset"
  std::vector<Operand> elements;
};

// A .shared, .local or .param variable.
struct Place {
  enum class Kind : uint8_t { kShared, kDynamicShared, kLocal, kParameter, kDevice };
  Kind kind = Kind::kShared;
  uint64_t offset = 0;  // or the address of a device variable
  uint64_t bytes = 0;
  uint64_t alignment = 1;
};

class Builder {
 public:
  Builder(Module& module, Kernel& kernel) : module_(module), kernel_(kernel) { open_scope(); }

  // Scopes.
  void open_scope();
  void close_scope() { scope_ = scopes_[scope_].parent; }
  int scope_depth() const;
  void declare_register(std::string_view name, Width width, int line);
  void declare_registers(std::string_view prefix, uint32_t count, Width width);
  void declare_label(std::string_view name, int line);
  void declare_variable(std::string_view name, const Place& place, int line);
  // Shared variables of the module take room in a kernel that names them only.
  void set_module_places(const std::map<std::string, Place, std::less<>>* places) {
    module_places_ = places;
  }

  // Operands -> virtual registers. `line` is for messages.
  int find_register(std::string_view name);  // -1: no such register
  int use_register(const Operand& operand, Width width, int line);
  int constant(uint64_t value, Width width, bool of_dynamic_shared = false);
  int sink(Width width);
  Width width(int reg) const { return registers_[reg].width; }
  uint64_t constant_value(int reg) const { return registers_[reg].value; }
  const Place* find_place(std::string_view name);
  uint64_t place_address(const Place& place) const;  // in its own space

  Draft& add(std::string_view opcode, int line);
  void set_place(const SourcePlace& place);
  // Resolves labels, allocates slots and moves everything into the kernel.
  void finish(int line);

  const Kernel& kernel() const { return kernel_; }
  int sm() const { return module_.sm; }
  char target_suffix() const { return module_.target_suffix; }
  std::string target() const { return target_name(module_); }

 private:
  struct Range {
    std::string_view prefix;
    uint32_t count;
    Width width;
  };
  struct Scope {
    int parent = -1;
    std::unordered_map<std::string_view, int> registers;
    std::vector<Range> ranges;
    std::unordered_map<std::string_view, int> labels;
    std::unordered_map<std::string_view, Place> places;
  };

  int new_register(Width width);
  void resolve_labels();
  void find_product_accesses();

  Module& module_;
  Kernel& kernel_;
  std::deque<Scope> scopes_;
  int scope_ = -1;
  std::vector<VirtualRegister> registers_;
  std::map<std::tuple<uint64_t, Width, bool>, int> constants_;
  std::vector<Draft> drafts_;
  std::unordered_map<std::string, uint16_t> opcodes_;
  std::map<SourcePlace, int> places_;
  int place_ = 0;
  const std::map<std::string, Place, std::less<>>* module_places_ = nullptr;
  std::map<std::string, Place, std::less<>> used_module_places_;
  uint64_t dynamic_alignment_ = 16;
};

// Gives every virtual register a slot (and the kernel its number of slots) from its live interval.
// Throws PtxError where the kernel needs more than the emulator has.
void allocate_slots(const std::vector<Draft>& drafts, std::vector<VirtualRegister>& registers,
                    Kernel& kernel, int line);

}  // namespace ptx_emulator
