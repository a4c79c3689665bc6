#include "tools/ptx_emulator/decode.h"

#include <algorithm>
#include <unordered_map>

#include "tools/ptx_emulator/compare.h"
#include "tools/ptx_emulator/op_table.h"

namespace ptx_emulator {
namespace {

using Family = void (*)(Decoder&);

Width width_of_letter(char letter) {
  switch (letter) {
    case 'h':
      return Width::k16;
    case 'w':
      return Width::k32;
    case 'd':
      return Width::k64;
    default:
      return Width::kPredicate;
  }
}

char letter_of_width(Width width) { return "phwd"[static_cast<int>(width)]; }

void apply(Decoder& decoder, const OpSpec& spec, bool wide_sources) {
  const size_t count = spec.signature.size();
  decoder.require_operands(count);
  decoder.instruction().handler = spec.handler;
  decoder.instruction().mode = spec.mode;
  decoder.define(decoder.operand(0), width_of_letter(spec.signature[0]));
  for (size_t i = 1; i < count; ++i) {
    const Width width = width_of_letter(spec.signature[i]);
    if (wide_sources) {
      decoder.use_wide(decoder.operand(i), width);
    } else {
      decoder.use(decoder.operand(i), width);
    }
  }
}

void decode_arithmetic(Decoder& decoder) {
  const OpSpec* const spec = OpTable::instance().find(decoder.statement().opcode);
  if (spec == nullptr) decoder.unsupported();
  apply(decoder, *spec, false);
}

void decode_convert(Decoder& decoder) {
  decoder.require_operands(2, 3);
  const std::string opcode(decoder.statement().opcode);
  const OpSpec* spec = OpTable::instance().find(opcode);
  if (spec == nullptr) {
    // An integer result: its handler depends on the width of the register.
    const Width width = decoder.register_width(decoder.operand(0));
    const std::string entry = opcode + "/" + letter_of_width(width);
    if (decoder.is_register(decoder.operand(1), Width::k64)) {
      spec = OpTable::instance().find(entry + "d");
    }
    if (spec == nullptr) spec = OpTable::instance().find(entry);
  }
  if (spec == nullptr) decoder.unsupported();
  apply(decoder, *spec, true);
}

// setp.<compare>[.<combine>][.ftz].<type> p[|q], a, b[, c]
void decode_set_predicate(Decoder& decoder) {
  const std::vector<std::string_view>& parts = decoder.statement().parts;
  if (parts.size() < 3) decoder.unsupported();
  Combine combine = Combine::kNone;
  if (parts[2] == "and") combine = Combine::kAnd;
  if (parts[2] == "or") combine = Combine::kOr;
  if (parts[2] == "xor") combine = Combine::kXor;
  std::string opcode = "setp";
  for (size_t i = 1; i < parts.size(); ++i) {
    if (i == 2 && combine != Combine::kNone) continue;
    opcode += "." + std::string(parts[i]);
  }
  const OpSpec* const spec = OpTable::instance().find(opcode);
  if (spec == nullptr) decoder.unsupported();
  decoder.require_operands(combine == Combine::kNone ? 3 : 4);
  decoder.instruction().handler = spec->handler;
  decoder.instruction().mode = static_cast<uint8_t>(combine);
  Operand first = decoder.operand(0);
  decoder.define(first, Width::kPredicate);
  if (first.second_name.empty()) {
    decoder.define_sink(Width::kPredicate);
  } else {
    first.name = first.second_name;
    decoder.define(first, Width::kPredicate);
  }
  decoder.use(decoder.operand(1), width_of_letter(spec->signature[2]));
  decoder.use(decoder.operand(2), width_of_letter(spec->signature[3]));
  if (combine != Combine::kNone) decoder.use(decoder.operand(3), Width::kPredicate);
}

void decode_branch(Decoder& decoder) {
  decoder.require_operands(1);
  if (decoder.operand(0).kind != Operand::Kind::kName) decoder.fail("expected a label");
  decoder.instruction().control = Control::kBranch;
  decoder.draft().label = decoder.operand(0).name;
}

void decode_exit(Decoder& decoder) {
  decoder.require_operands(0);
  decoder.instruction().control = Control::kExit;
}

void decode_trap(Decoder& decoder) {
  decoder.require_operands(0);
  decoder.instruction().control = Control::kTrap;
}

// Memory is sequentially consistent here, and time does not exist: fences and hints do nothing.
void decode_nothing(Decoder& decoder) {
  decoder.instruction().handler = [](Warp&, const Instruction&) {};
}

void decode_grid_control(Decoder& decoder) {
  if (!decoder.statement().has("launch_dependents") && !decoder.statement().has("wait")) {
    decoder.unsupported();
  }
  decoder.require_sm(90);  // PTX ISA, griddepcontrol: Target ISA Notes
  decode_nothing(decoder);
}

void decode_fence(Decoder& decoder) {
  if (decoder.statement().has("proxy")) {
    decode_proxy_fence(decoder);
  } else {
    decode_nothing(decoder);
  }
}

void decode_call(Decoder& decoder) {
  decoder.fail("'call' is not supported: the emulator runs kernels without function calls");
}

void decode_copy(Decoder& decoder) {
  if (decoder.statement().parts.size() < 3 || decoder.statement().parts[1] != "async" ||
      decoder.statement().has("bulk") || decoder.statement().has("mbarrier")) {
    decoder.unsupported();
  }
  decode_async_copy(decoder);
}

Family find_family(std::string_view word) {
  static const auto* const families = new std::unordered_map<std::string_view, Family>{
      {"ld", decode_load},
      {"ldu", decode_load},
      {"st", decode_store},
      {"prefetch", decode_prefetch},
      {"prefetchu", decode_prefetch},
      {"atom", decode_atomic},
      {"red", decode_atomic},
      {"cvta", decode_address_conversion},
      {"cp", decode_copy},
      {"ldmatrix", decode_ldmatrix},
      {"mma", decode_mma},
      {"shfl", decode_shuffle},
      {"vote", decode_vote},
      {"match", decode_match},
      {"redux", decode_reduction},
      {"activemask", decode_active_mask},
      {"mov", decode_move},
      {"bar", decode_barrier},
      {"barrier", decode_barrier},
      {"cvt", decode_convert},
      {"setp", decode_set_predicate},
      {"bra", decode_branch},
      {"ret", decode_exit},
      {"exit", decode_exit},
      {"trap", decode_trap},
      {"call", decode_call},
      {"membar", decode_nothing},
      {"fence", decode_fence},
      {"nanosleep", decode_nothing},
      {"pmevent", decode_nothing},
      {"griddepcontrol", decode_grid_control},
      {"wgmma", decode_wgmma},
      {"mbarrier", decode_mbarrier},
      {"setmaxnreg", decode_set_max_registers},
  };
  const auto found = families->find(word);
  return found == families->end() ? decode_arithmetic : found->second;
}

}  // namespace

bool Statement::has(std::string_view part) const {
  return std::find(parts.begin() + 1, parts.end(), part) != parts.end();
}

uint32_t type_bytes(std::string_view type) {
  static const auto* const sizes = new std::unordered_map<std::string_view, uint32_t>{
      {"b8", 1},    {"u8", 1},     {"s8", 1},  {"b16", 2}, {"u16", 2}, {"s16", 2},
      {"f16", 2},   {"bf16", 2},   {"b32", 4}, {"u32", 4}, {"s32", 4}, {"f32", 4},
      {"f16x2", 4}, {"bf16x2", 4}, {"b64", 8}, {"u64", 8}, {"s64", 8}, {"f64", 8}};
  const auto found = sizes->find(type);
  return found == sizes->end() ? 0 : found->second;
}

Width width_of_type(std::string_view type) {
  const uint32_t bytes = type_bytes(type);
  return bytes <= 2 ? Width::k16 : bytes == 4 ? Width::k32 : Width::k64;
}

void Decoder::fail(const std::string& message) const { throw PtxError(statement_.line, message); }

void Decoder::unsupported() const {
  fail("unsupported instruction " + std::string(statement_.opcode));
}

void Decoder::require_operands(size_t least, size_t most) const {
  const size_t count = statement_.operands.size();
  if (count >= least && count <= most) return;
  const std::string wanted =
      least == most ? std::to_string(least) : std::to_string(least) + " to " + std::to_string(most);
  fail(std::string(statement_.opcode) + " has " + std::to_string(count) + " operands, needs " +
       wanted);
}

void Decoder::require_sm(int least) const {
  if (builder_.sm() >= least) return;
  fail(std::string(statement_.opcode) + " needs sm_" + std::to_string(least) +
       " or higher, the target is " + builder_.target());
}

void Decoder::require_only_sm(int sm) const {
  if (builder_.sm() == sm && builder_.target_suffix() == 'a') return;
  fail(std::string(statement_.opcode) + " needs sm_" + std::to_string(sm) + "a, the target is " +
       builder_.target());
}

void Decoder::require_suffixed_sm(int least) const {
  if (builder_.sm() >= least && builder_.target_suffix() != '\0') return;
  fail(std::string(statement_.opcode) + " needs sm_" + std::to_string(least) +
       "a, or a higher target with such a suffix; the target is " + builder_.target());
}

void Decoder::append_register(int reg, bool definition) {
  if (draft_.operands.size() >= kMaxOperands) fail("too many operands");
  draft_.operands.push_back(DraftOperand{reg, !definition, definition});
}

void Decoder::update(const Operand& operand, Width width) {
  define(operand, width);
  draft_.operands.back().read = true;
}

void Decoder::append(const Operand& operand, Width width, bool definition, bool wider) {
  if (definition && operand.kind != Operand::Kind::kSink &&
      (operand.kind != Operand::Kind::kName || builder_.find_register(operand.name) < 0)) {
    if (operand.kind == Operand::Kind::kName) {
      fail("unknown register " + std::string(operand.name));
    }
    fail("the destination must be a register");
  }
  const int reg = builder_.use_register(operand, width, statement_.line);
  const Width found = builder_.width(reg);
  const bool fits = found == width || (wider && found != Width::kPredicate &&
                                       width != Width::kPredicate && (definition || found > width));
  if (!fits) {
    static const char* const names[] = {"a predicate", "16 bits", "32 bits", "64 bits"};
    fail("operand '" + std::string(operand.name) + "' of " + std::string(statement_.opcode) +
         " has " + names[static_cast<int>(found)] + ", needs " + names[static_cast<int>(width)]);
  }
  // A narrow value in a 64-bit register is not laid out as the handler reads it.
  if (!definition && wider && found == Width::k64 && width != Width::k64) unsupported();
  if (operand.negated) {
    if (width != Width::kPredicate || definition) fail("'!' needs a predicate that is read");
    constexpr size_t kNegatable = 32;
    if (draft_.operands.size() >= kNegatable) fail("'!' is not supported here");
    instruction().negated |= 1u << draft_.operands.size();
  }
  append_register(reg, definition);
}

void Decoder::use_address(const Operand& operand, Space space) {
  if (operand.kind != Operand::Kind::kAddress) fail("expected an address in brackets");
  instruction().immediate = operand.offset;
  if (operand.name.empty()) {  // an absolute address
    append_register(builder_.constant(0, Width::k64), false);
    instruction().wide_address = true;
    return;
  }
  Operand base;
  base.name = operand.name;
  const int known = builder_.find_register(base.name);
  const Width natural = space == Space::kShared ? Width::k32 : Width::k64;
  const int reg = known >= 0 ? known : builder_.use_register(base, natural, statement_.line);
  const Width width = builder_.width(reg);
  if (width != Width::k32 && width != Width::k64) fail("an address needs 32 or 64 bits");
  instruction().wide_address = width == Width::k64;
  append_register(reg, false);
}

std::vector<Operand> Decoder::elements(const Operand& operand) const {
  if (operand.kind == Operand::Kind::kVector) return operand.elements;
  return {operand};
}

std::vector<Operand> Decoder::vector(size_t index, int count) const {
  std::vector<Operand> found = elements(operand(index));
  if (static_cast<int>(found.size()) != count) {
    fail("operand " + std::to_string(index) + " has " + std::to_string(found.size()) +
         " registers, needs " + std::to_string(count));
  }
  return found;
}

bool Decoder::is_register(const Operand& operand, Width width) const {
  const int reg = operand.kind == Operand::Kind::kName ? builder_.find_register(operand.name) : -1;
  return reg >= 0 && builder_.width(reg) == width;
}

Width Decoder::register_width(const Operand& operand) const {
  const int reg = operand.kind == Operand::Kind::kName ? builder_.find_register(operand.name) : -1;
  if (reg < 0) {
    if (operand.kind == Operand::Kind::kName) fail("unknown register " + std::string(operand.name));
    fail("the destination must be a register");
  }
  return builder_.width(reg);
}

uint64_t Decoder::number(const Operand& operand) const {
  if (operand.kind != Operand::Kind::kNumber) fail("expected a number");
  const int reg = builder_.use_register(operand, Width::k64, statement_.line);
  return builder_.constant_value(reg);
}

Draft& decode_statement(Builder& builder, const Statement& statement) {
  Decoder decoder(builder, statement);
  find_family(statement.parts[0])(decoder);
  return decoder.draft();
}

}  // namespace ptx_emulator
