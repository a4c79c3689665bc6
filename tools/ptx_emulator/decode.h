// One PTX statement -> one Draft. Each family of instructions has its own decoder beside its
// handlers; arithmetic comes from the OpTable.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/ptx_emulator/builder.h"

namespace ptx_emulator {

struct Statement {
  std::string_view opcode;
  std::vector<std::string_view> parts;  // of the opcode, between its dots
  std::vector<Operand> operands;
  int line = 0;

  bool has(std::string_view part) const;
  std::string_view type() const { return parts.back(); }
};

// Fills the draft of one statement.
class Decoder {
 public:
  Decoder(Builder& builder, const Statement& statement)
      : builder_(builder),
        statement_(statement),
        draft_(builder.add(statement.opcode, statement.line)) {}

  const Statement& statement() const { return statement_; }
  Draft& draft() { return draft_; }
  Instruction& instruction() { return draft_.instruction; }
  Builder& builder() { return builder_; }

  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void unsupported() const;
  void require_operands(size_t least, size_t most) const;
  void require_operands(size_t count) const { require_operands(count, count); }
  // Fails where the target is older.
  void require_sm(int least) const;
  // Fails where the target is not that of one SM alone, such as sm_90a.
  void require_only_sm(int sm) const;
  // Fails where the target is older, or has no suffix.
  void require_suffixed_sm(int least) const;
  const Operand& operand(size_t index) const { return statement_.operands[index]; }

  // Append an operand to the instruction.
  void define(const Operand& operand, Width width) { append(operand, width, true, false); }
  void define_any(const Operand& operand, Width literal) { append(operand, literal, true, true); }
  // A register that is read and written.
  void update(const Operand& operand, Width width);
  void use(const Operand& operand, Width width) { append(operand, width, false, false); }
  // A register at least as wide as `width`.
  void use_wide(const Operand& operand, Width width) { append(operand, width, false, true); }
  void use_constant(uint64_t value, Width width) {
    append_register(builder_.constant(value, width), false);
  }
  void define_sink(Width width) { append_register(builder_.sink(width), true); }
  // "[base + offset]": the base register is appended, the offset becomes `immediate`.
  void use_address(const Operand& operand, Space space);
  // The elements of "{a, b}", or the operand itself.
  std::vector<Operand> elements(const Operand& operand) const;
  // The elements of "{a, b}" at an index, which must be so many.
  std::vector<Operand> vector(size_t index, int count) const;
  Width register_width(const Operand& operand) const;
  bool is_register(const Operand& operand, Width width) const;
  uint64_t number(const Operand& operand) const;

 private:
  void append(const Operand& operand, Width width, bool definition, bool wider);
  void append_register(int reg, bool definition);

  Builder& builder_;
  const Statement& statement_;
  Draft& draft_;
};

// Bytes of a type name such as "f16x2"; 0 where it is none.
uint32_t type_bytes(std::string_view type);
Width width_of_type(std::string_view type);

// Decodes by the first word of the opcode; throws PtxError for what the emulator does not know.
Draft& decode_statement(Builder& builder, const Statement& statement);

// The families. Each is called for opcodes that begin with its words.
void decode_load(Decoder& decoder);
void decode_store(Decoder& decoder);
void decode_prefetch(Decoder& decoder);
void decode_atomic(Decoder& decoder);
void decode_address_conversion(Decoder& decoder);
void decode_async_copy(Decoder& decoder);
void decode_ldmatrix(Decoder& decoder);
void decode_mma(Decoder& decoder);
void decode_shuffle(Decoder& decoder);
void decode_vote(Decoder& decoder);
void decode_match(Decoder& decoder);
void decode_reduction(Decoder& decoder);
void decode_active_mask(Decoder& decoder);
void decode_move(Decoder& decoder);
void decode_barrier(Decoder& decoder);
void decode_wgmma(Decoder& decoder);
void decode_proxy_fence(Decoder& decoder);
void decode_mbarrier(Decoder& decoder);
void decode_set_max_registers(Decoder& decoder);

}  // namespace ptx_emulator
