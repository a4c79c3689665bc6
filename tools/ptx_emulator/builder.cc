#include "tools/ptx_emulator/builder.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/memory.h"
#include "tools/ptx_emulator/wgmma.h"

namespace ptx_emulator {
namespace {

// More than any real kernel; it keeps malformed text from exhausting the memory of this process.
constexpr uint64_t kMaxVariableBytes = uint64_t{1} << 24;
constexpr size_t kMaxOpcodes = 0xfffe;

uint64_t align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

bool parse_unsigned(std::string_view text, int base, uint64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// "12", "0x1f", "017", "0b11", with a trailing U.
bool parse_integer(std::string_view text, uint64_t* value) {
  if (!text.empty() && text.back() == 'U') text.remove_suffix(1);
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    return parse_unsigned(text.substr(2), 16, value);
  }
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'b' || text[1] == 'B')) {
    return parse_unsigned(text.substr(2), 2, value);
  }
  if (text.size() > 1 && text[0] == '0') return parse_unsigned(text.substr(1), 8, value);
  return parse_unsigned(text, 10, value);
}

// The bits of a literal for a register of some width.
uint64_t literal_bits(const Operand& operand, Width width, int line) {
  const std::string_view text = operand.number;
  const auto bad = [&] { return PtxError(line, "bad number '" + std::string(text) + "'"); };
  uint64_t bits = 0;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'f' || text[1] == 'F')) {
    if (text.size() != 10 || !parse_unsigned(text.substr(2), 16, &bits)) throw bad();
    if (operand.negative) bits ^= 0x80000000u;
    if (width == Width::k64)
      bits = bit_cast<uint64_t>(static_cast<double>(bit_cast<float>(static_cast<uint32_t>(bits))));
  } else if (text.size() > 2 && text[0] == '0' && (text[1] == 'd' || text[1] == 'D')) {
    if (text.size() != 18 || !parse_unsigned(text.substr(2), 16, &bits)) throw bad();
    if (operand.negative) bits ^= uint64_t{1} << 63;
    if (width == Width::k32) {
      bits = bit_cast<uint32_t>(static_cast<float>(bit_cast<double>(bits)));
    }
  } else if (parse_integer(text, &bits)) {
    if (operand.negative) bits = 0 - bits;
  } else if (text.find('.') != std::string_view::npos) {  // a decimal floating point number
    const std::string copy(text);
    char* end = nullptr;
    const double value = std::strtod(copy.c_str(), &end) * (operand.negative ? -1.0 : 1.0);
    if (end != copy.c_str() + copy.size()) throw bad();
    bits = width == Width::k64 ? bit_cast<uint64_t>(value)
                               : bit_cast<uint32_t>(static_cast<float>(value));
  } else {
    throw bad();
  }
  switch (width) {
    case Width::kPredicate:
      return bits != 0 ? ~uint32_t{0} : 0;
    case Width::k16:
      return bits & 0xffff;
    case Width::k32:
      return bits & 0xffffffff;
    case Width::k64:
      return bits;
  }
  return bits;
}

}  // namespace

std::string target_name(const Module& module) {
  std::string name = "sm_" + std::to_string(module.sm);
  if (module.target_suffix != '\0') name += module.target_suffix;
  return name;
}

void Builder::open_scope() {
  scopes_.emplace_back();
  scopes_.back().parent = scope_;
  scope_ = static_cast<int>(scopes_.size()) - 1;
}

int Builder::scope_depth() const {
  int depth = 0;
  for (int scope = scope_; scope >= 0; scope = scopes_[scope].parent) ++depth;
  return depth;
}

int Builder::new_register(Width width) {
  registers_.push_back(VirtualRegister{});
  registers_.back().width = width;
  return static_cast<int>(registers_.size()) - 1;
}

void Builder::declare_register(std::string_view name, Width width, int line) {
  if (!scopes_[scope_].registers.emplace(name, new_register(width)).second) {
    throw PtxError(line, "register " + std::string(name) + " is declared twice");
  }
}

void Builder::declare_registers(std::string_view prefix, uint32_t count, Width width) {
  scopes_[scope_].ranges.push_back(Range{prefix, count, width});
}

void Builder::declare_label(std::string_view name, int line) {
  if (!scopes_[scope_].labels.emplace(name, static_cast<int>(drafts_.size())).second) {
    throw PtxError(line, "label " + std::string(name) + " is declared twice");
  }
}

void Builder::declare_variable(std::string_view name, const Place& wanted, int line) {
  Place place = wanted;
  if (place.bytes > kMaxVariableBytes) {
    throw PtxError(line, "variable " + std::string(name) + " is too large");
  }
  const auto append = [&](uint32_t* total) {
    place.offset = align_up(*total, place.alignment);
    if (place.offset + place.bytes > kMaxVariableBytes) {
      throw PtxError(line, "variables of the kernel are too large");
    }
    *total = static_cast<uint32_t>(place.offset + place.bytes);
  };
  switch (place.kind) {
    case Place::Kind::kShared:
      append(&kernel_.static_shared_bytes);
      break;
    case Place::Kind::kLocal:
      append(&kernel_.local_bytes);
      break;
    case Place::Kind::kParameter:
      append(&kernel_.parameter_bytes);
      kernel_.parameters.push_back(
          Parameter{static_cast<uint32_t>(place.offset), static_cast<uint32_t>(place.bytes)});
      break;
    case Place::Kind::kDynamicShared:
      dynamic_alignment_ = std::max(dynamic_alignment_, place.alignment);
      break;
    case Place::Kind::kDevice:
      break;
  }
  if (!scopes_[scope_].places.emplace(name, place).second) {
    throw PtxError(line, "variable " + std::string(name) + " is declared twice");
  }
}

const Place* Builder::find_place(std::string_view name) {
  for (int scope = scope_; scope >= 0; scope = scopes_[scope].parent) {
    const auto found = scopes_[scope].places.find(name);
    if (found != scopes_[scope].places.end()) return &found->second;
  }
  if (module_places_ == nullptr) return nullptr;
  const auto of_module = module_places_->find(name);
  if (of_module == module_places_->end()) return nullptr;
  // First use in this kernel: give it room, in the outermost scope.
  const int scope = scope_;
  scope_ = 0;
  declare_variable(of_module->first, of_module->second, 0);
  scope_ = scope;
  return &scopes_[0].places.find(name)->second;
}

uint64_t Builder::place_address(const Place& place) const {
  switch (place.kind) {
    case Place::Kind::kShared:
      return kSharedBase + place.offset;
    default:
      return place.offset;
  }
}

int Builder::find_register(std::string_view name) {
  for (int scope = scope_; scope >= 0; scope = scopes_[scope].parent) {
    Scope& candidates = scopes_[scope];
    const auto found = candidates.registers.find(name);
    if (found != candidates.registers.end()) return found->second;
    for (const Range& range : candidates.ranges) {
      if (name.size() <= range.prefix.size() ||
          name.compare(0, range.prefix.size(), range.prefix)) {
        continue;
      }
      uint64_t number = 0;
      if (!parse_unsigned(name.substr(range.prefix.size()), 10, &number)) continue;
      if (number >= range.count) continue;
      const int made = new_register(range.width);
      candidates.registers.emplace(name, made);
      return made;
    }
  }
  return -1;
}

int Builder::constant(uint64_t value, Width width, bool of_dynamic_shared) {
  const auto [found, inserted] = constants_.try_emplace({value, width, of_dynamic_shared}, 0);
  if (inserted) {
    found->second = new_register(width);
    VirtualRegister& made = registers_.back();
    made.constant = true;
    made.value = value;
    made.of_dynamic_shared = of_dynamic_shared;
  }
  return found->second;
}

int Builder::sink(Width width) { return new_register(width); }

int Builder::use_register(const Operand& operand, Width width, int line) {
  switch (operand.kind) {
    case Operand::Kind::kSink:
      return sink(width);
    case Operand::Kind::kNumber:
      return constant(literal_bits(operand, width, line), width);
    case Operand::Kind::kName:
      break;
    default:
      throw PtxError(line, "expected a register or a number");
  }
  const int found = find_register(operand.name);
  if (found >= 0) return found;
  if (const Place* place = find_place(operand.name)) {
    const bool dynamic = place->kind == Place::Kind::kDynamicShared;
    return constant(place_address(*place) + static_cast<uint64_t>(operand.offset), width, dynamic);
  }
  const bool looks_like_register = !operand.name.empty() && operand.name[0] == '%';
  throw PtxError(line, std::string(looks_like_register ? "unknown register " : "unknown name ") +
                           std::string(operand.name));
}

Draft& Builder::add(std::string_view opcode, int line) {
  const auto [found, inserted] =
      opcodes_.try_emplace(std::string(opcode), static_cast<uint16_t>(module_.opcodes.size()));
  if (inserted) {
    const auto known = std::find(module_.opcodes.begin(), module_.opcodes.end(), opcode);
    found->second = static_cast<uint16_t>(known - module_.opcodes.begin());
    if (known == module_.opcodes.end()) {
      if (module_.opcodes.size() >= kMaxOpcodes) throw PtxError(line, "too many opcodes");
      module_.opcodes.emplace_back(opcode);
    }
  }
  drafts_.emplace_back();
  Draft& draft = drafts_.back();
  draft.instruction.opcode = found->second;
  draft.instruction.ptx_line = line;
  draft.instruction.place = place_;
  draft.scope = scope_;
  return draft;
}

void Builder::set_place(const SourcePlace& place) {
  const auto [found, inserted] =
      places_.try_emplace(place, static_cast<int>(module_.places.size()));
  if (inserted) module_.places.push_back(place);
  place_ = found->second;
}

void Builder::resolve_labels() {
  for (Draft& draft : drafts_) {
    if (draft.label.empty()) continue;
    int scope = draft.scope;
    for (; scope >= 0; scope = scopes_[scope].parent) {
      const auto found = scopes_[scope].labels.find(draft.label);
      if (found == scopes_[scope].labels.end()) continue;
      draft.instruction.target = found->second;
      break;
    }
    if (scope < 0) {
      throw PtxError(draft.instruction.ptx_line, "unknown label " + std::string(draft.label));
    }
  }
}

void Builder::finish(int line) {
  add("exit", line).instruction.control = Control::kExit;
  resolve_labels();
  const uint64_t dynamic_base =
      kSharedBase + align_up(kernel_.static_shared_bytes, dynamic_alignment_);
  kernel_.static_shared_bytes = static_cast<uint32_t>(dynamic_base - kSharedBase);
  for (VirtualRegister& reg : registers_) {
    if (reg.of_dynamic_shared) reg.value += dynamic_base;
  }
  allocate_slots(drafts_, registers_, kernel_, line);
  size_t operands = 0;
  for (const Draft& draft : drafts_) operands += draft.operands.size();
  kernel_.slots_of_operands.reserve(operands);  // instructions point into it
  kernel_.code.reserve(drafts_.size());
  for (Draft& draft : drafts_) {
    Instruction& instruction = draft.instruction;
    instruction.operand = kernel_.slots_of_operands.data() + kernel_.slots_of_operands.size();
    for (const DraftOperand& operand : draft.operands) {
      kernel_.slots_of_operands.push_back(static_cast<uint16_t>(registers_[operand.reg].slot));
    }
    if (draft.guard >= 0) instruction.guard = static_cast<uint16_t>(registers_[draft.guard].slot);
    kernel_.code.push_back(instruction);
  }
  find_product_accesses();
}

// Registers, not their slots: a slot is free for others as soon as the wgmma that reads it stands
// behind in the text, but a register is not before its wait.
void Builder::find_product_accesses() {
  std::unordered_map<int32_t, uint32_t> indices;
  for (const Draft& draft : drafts_) {
    for (int32_t i = 0; i < draft.product_registers; ++i) {
      indices.emplace(draft.operands[i].reg, static_cast<uint32_t>(indices.size()));
    }
  }
  if (indices.empty()) return;
  kernel_.product_registers = static_cast<uint32_t>(indices.size());
  kernel_.product_accesses.resize(drafts_.size());
  for (size_t pc = 0; pc < drafts_.size(); ++pc) {
    ProductAccesses& accesses = kernel_.product_accesses[pc];
    for (const DraftOperand& operand : drafts_[pc].operands) {
      const auto found = indices.find(operand.reg);
      if (found == indices.end()) continue;
      accesses.registers.push_back(ProductRegister{found->second, operand.written});
    }
    if (accesses.registers.empty() || drafts_[pc].product_registers != 0) continue;
    accesses.handler = std::exchange(kernel_.code[pc].handler, check_product_registers);
  }
}

}  // namespace ptx_emulator
