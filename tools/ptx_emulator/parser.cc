#include "tools/ptx_emulator/parser.h"

#include <algorithm>
#include <charconv>

#include "tools/ptx_emulator/builder.h"
#include "tools/ptx_emulator/decode.h"
#include "tools/ptx_emulator/memory.h"

namespace ptx_emulator {
namespace {

constexpr uint64_t kMaxAlignment = 4096;
constexpr uint64_t kMaxModuleVariableBytes = uint64_t{1} << 28;
constexpr int kMaxScopeDepth = 64;

bool is_number(std::string_view text) { return !text.empty() && text[0] >= '0' && text[0] <= '9'; }

class ModuleParser {
 public:
  ModuleParser(std::string_view text, const PlaceVariable& place, Module& module)
      : lexer_(text), place_(place), module_(module) {}

  void run() {
    while (lexer_.peek().kind != TokenKind::kEnd) parse_top_level();
    if (module_.sm == 0) throw PtxError(1, "no .target: this is no PTX");
    for (auto& [name, kernel] : module_.kernels) kernel.module = &module_;
  }

 private:
  struct Declaration {
    std::string_view name;
    uint64_t bytes = 0;
    uint64_t element_bytes = 0;
    uint64_t alignment = 1;
    bool open_ended = false;  // "name[]"
  };

  int line() const { return lexer_.peek().line; }

  uint64_t expect_number(const char* what) {
    const Token token = lexer_.next();
    uint64_t value = 0;
    const std::string_view text = token.text;
    const bool hex = text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char* const begin = text.data() + (hex ? 2 : 0);
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(begin, end, value, hex ? 16 : 10);
    if (!token.is_word() || error != std::errc() || stop != end) {
      throw PtxError(token.line,
                     std::string("expected ") + what + ", found '" + std::string(text) + "'");
    }
    return value;
  }

  void parse_top_level() {
    const Token token = lexer_.peek();
    if (token.is(".version") || token.is(".address_size")) {
      lexer_.skip_line();
    } else if (token.is(".target")) {
      parse_target();
    } else if (token.is(".file")) {
      parse_file();
    } else if (token.is(".section")) {
      while (!lexer_.peek().is("{")) {
        if (lexer_.next().kind == TokenKind::kEnd) throw PtxError(token.line, "bad .section");
      }
      lexer_.skip_braces();
    } else if (token.is(".entry")) {
      parse_kernel();
    } else if (token.is(".func")) {
      throw PtxError(token.line,
                     "functions are not supported: the emulator runs kernels without calls");
    } else if (token.is(".shared") || token.is(".global") || token.is(".const")) {
      parse_module_variable();
    } else if (token.is(".visible") || token.is(".weak") || token.is(".common")) {
      lexer_.next();
    } else if (token.is(".extern")) {
      parse_extern();
    } else if (!lexer_.accept(";")) {
      throw PtxError(token.line, "expected a PTX directive, found '" +
                                     std::string(token.text.substr(0, 40)) + "'");
    }
  }

  void parse_target() {
    const int at = line();
    lexer_.next();
    const std::string_view name = lexer_.expect_word("a target");
    std::string_view digits = name.substr(0, 3) == "sm_" ? name.substr(3) : std::string_view();
    if (!digits.empty() && (digits.back() == 'a' || digits.back() == 'f')) {
      module_.target_suffix = digits.back();
      digits.remove_suffix(1);
    }
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), module_.sm);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() ||
        module_.sm <= 0) {
      throw PtxError(at, "unknown target '" + std::string(name) + "', expected sm_<number>");
    }
    while (lexer_.accept(",")) lexer_.expect_word("a target option");
  }

  void parse_file() {
    const int at = line();
    lexer_.next();
    const uint64_t index = expect_number("a file number");
    const Token name = lexer_.next();
    if (name.kind != TokenKind::kString) throw PtxError(at, "expected a file name in quotes");
    module_.files[static_cast<int>(index & 0x7fffffff)] = std::string(name.text);
    while (lexer_.accept(",")) expect_number("a number");  // time stamp and size
  }

  void parse_extern() {
    const int at = line();
    lexer_.next();
    if (lexer_.peek().is(".shared")) {
      parse_module_variable();
    } else if (lexer_.peek().is(".func")) {
      // A declaration alone does no harm; a call of it is refused where it stands.
      while (!lexer_.peek().is(";")) {
        if (lexer_.next().kind == TokenKind::kEnd) throw PtxError(at, "declaration without ';'");
      }
      lexer_.next();
    } else {
      throw PtxError(at, "unsupported .extern declaration");
    }
  }

  // ".align 16 .b8 name[64]", behind the state space.
  Declaration parse_declaration() {
    Declaration declaration;
    const int at = line();
    while (lexer_.peek().is_word() && lexer_.peek().text[0] == '.') {
      const std::string_view word = lexer_.next().text;
      if (word == ".align") {
        declaration.alignment = expect_number("an alignment");
        const bool power = declaration.alignment != 0 &&
                           (declaration.alignment & (declaration.alignment - 1)) == 0;
        if (!power || declaration.alignment > kMaxAlignment) throw PtxError(at, "bad alignment");
      } else if (type_bytes(word.substr(1)) != 0) {
        declaration.element_bytes = type_bytes(word.substr(1));
      } else if (word != ".ptr" && word != ".global" && word != ".shared" && word != ".const" &&
                 word != ".local" && word != ".grid_constant") {
        throw PtxError(at, "unsupported type " + std::string(word));
      }
    }
    declaration.name = lexer_.expect_word("a name");
    if (declaration.element_bytes == 0) throw PtxError(at, "the variable has no type");
    declaration.alignment = std::max(declaration.alignment, declaration.element_bytes);
    declaration.bytes = declaration.element_bytes;
    while (lexer_.accept("[")) {
      if (lexer_.accept("]")) {
        declaration.open_ended = true;
        continue;
      }
      const uint64_t count = expect_number("a length");
      if (count > kMaxModuleVariableBytes || declaration.bytes * count > kMaxModuleVariableBytes) {
        throw PtxError(at, "variable " + std::string(declaration.name) + " is too large");
      }
      declaration.bytes *= count;
      lexer_.expect("]");
    }
    return declaration;
  }

  void parse_module_variable() {
    const int at = line();
    const bool shared = lexer_.next().is(".shared");
    const Declaration declaration = parse_declaration();
    Place place;
    place.bytes = declaration.bytes;
    place.alignment = declaration.alignment;
    if (shared) {
      place.kind = declaration.open_ended ? Place::Kind::kDynamicShared : Place::Kind::kShared;
    } else {
      Variable variable;
      variable.name = std::string(declaration.name);
      variable.bytes = declaration.bytes;
      if (lexer_.accept("=")) variable.initial = parse_initializer(declaration);
      if (variable.bytes == 0 || declaration.open_ended) throw PtxError(at, "variable of no size");
      place.kind = Place::Kind::kDevice;
      place.offset = place_(variable);
      module_.variables.push_back(place.offset);
      if (place.offset == 0) throw PtxError(at, "no memory for " + variable.name);
    }
    lexer_.expect(";");
    if (!places_.emplace(std::string(declaration.name), place).second) {
      throw PtxError(at, "variable " + std::string(declaration.name) + " is declared twice");
    }
  }

  std::vector<uint8_t> parse_initializer(const Declaration& declaration) {
    std::vector<uint8_t> bytes;
    int depth = 0;
    do {
      if (lexer_.accept("{")) {
        ++depth;
      } else if (lexer_.accept("}")) {
        --depth;
      } else if (!lexer_.accept(",")) {
        const bool negative = lexer_.accept("-");
        const Token token = lexer_.peek();
        uint64_t value = 0;
        if (token.is_word() && token.text.size() > 2 &&
            (token.text[1] == 'f' || token.text[1] == 'd')) {
          const char* const end = token.text.data() + token.text.size();
          const auto [stop, error] = std::from_chars(token.text.data() + 2, end, value, 16);
          if (error != std::errc() || stop != end) throw PtxError(token.line, "bad number");
          lexer_.next();
        } else {
          value = expect_number("a number");
        }
        if (negative) value = 0 - value;
        for (uint64_t i = 0; i < declaration.element_bytes; ++i) {
          bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
        }
        if (bytes.size() > declaration.bytes) throw PtxError(token.line, "too many initial values");
      }
    } while (depth > 0);
    return bytes;
  }

  void parse_kernel() {
    lexer_.next();
    const int at = line();
    const std::string name(lexer_.expect_word("the name of a kernel"));
    if (module_.kernels.count(name) != 0)
      throw PtxError(at, "kernel " + name + " is defined twice");
    Kernel kernel;
    kernel.name = name;
    Builder builder(module_, kernel);
    builder.set_module_places(&places_);
    if (lexer_.accept("(")) {
      while (!lexer_.accept(")")) {
        lexer_.expect(".param");
        const Declaration declaration = parse_declaration();
        Place place;
        place.kind = Place::Kind::kParameter;
        place.bytes = declaration.bytes;
        place.alignment = declaration.alignment;
        builder.declare_variable(declaration.name, place, line());
        if (!lexer_.peek().is(")")) lexer_.expect(",");
      }
    }
    while (lexer_.peek().is_word()) parse_tuning_directive(kernel);
    if (lexer_.accept(";")) return;  // a declaration
    parse_body(builder);
    module_.kernels.emplace(name, std::move(kernel));
  }

  void parse_tuning_directive(Kernel& kernel) {
    const Token directive = lexer_.next();
    if (directive.is(".pragma")) {
      while (!lexer_.accept(";")) {
        if (lexer_.next().kind == TokenKind::kEnd) throw PtxError(directive.line, "bad .pragma");
      }
      return;
    }
    if (directive.text.substr(0, 1) != ".") {
      throw PtxError(directive.line, "expected '{', found '" + std::string(directive.text) + "'");
    }
    uint64_t product = 1;
    while (is_number(lexer_.peek().text)) {
      product *= std::min<uint64_t>(expect_number("a number"), 1u << 20);
      if (product > 1u << 20) product = 1u << 20;
      lexer_.accept(",");
    }
    if (directive.is(".maxntid") || directive.is(".reqntid")) {
      kernel.max_threads = static_cast<uint32_t>(std::min<uint64_t>(product, 1024));
    }
  }

  void parse_body(Builder& builder) {
    const int base_depth = builder.scope_depth();
    lexer_.expect("{");
    builder.open_scope();
    while (true) {
      const Token token = lexer_.peek();
      if (token.kind == TokenKind::kEnd) throw PtxError(token.line, "the kernel has no end");
      if (lexer_.accept("{")) {
        builder.open_scope();
        if (builder.scope_depth() > kMaxScopeDepth) throw PtxError(token.line, "too many braces");
      } else if (lexer_.accept("}")) {
        builder.close_scope();
        if (builder.scope_depth() == base_depth) break;
      } else if (token.is(".loc")) {
        parse_location(builder);
      } else if (token.is(".reg")) {
        parse_registers(builder);
      } else if (token.is(".shared") || token.is(".local")) {
        parse_local_variable(builder);
      } else if (token.is(".pragma")) {
        while (!lexer_.accept(";")) {
          if (lexer_.next().kind == TokenKind::kEnd) throw PtxError(token.line, "bad .pragma");
        }
      } else if (token.is_word() && token.text[0] == '.') {
        throw PtxError(token.line, "unsupported directive " + std::string(token.text));
      } else if (!lexer_.accept(";")) {
        parse_statement(builder);
      }
    }
    builder.finish(line());
  }

  void parse_location(Builder& builder) {
    const int at = line();
    lexer_.next();
    const auto number = [&] { return static_cast<int>(expect_number("a number") & 0x7fffffff); };
    SourcePlace place;
    place.file = number();
    place.line = number();
    number();  // column
    while (lexer_.peek().line == at && lexer_.peek().kind != TokenKind::kEnd) {
      if (lexer_.next().is("inlined_at")) {
        place.inlined_file = number();
        place.inlined_line = number();
        number();
      }
    }
    // Line 0 stands for code that belongs to no line: it stays with the line before.
    if (place.line != 0) builder.set_place(place);
  }

  void parse_registers(Builder& builder) {
    lexer_.next();
    const int at = line();
    const std::string_view type = lexer_.expect_word("a register type");
    if (type != ".pred" && type_bytes(type.substr(type.empty() ? 0 : 1)) == 0) {
      throw PtxError(at, "unsupported register type " + std::string(type));
    }
    const Width width = type == ".pred" ? Width::kPredicate : width_of_type(type.substr(1));
    do {
      const std::string_view name = lexer_.expect_word("a register name");
      if (lexer_.accept("<")) {
        const uint64_t count = expect_number("a register count");
        lexer_.expect(">");
        builder.declare_registers(
            name, static_cast<uint32_t>(std::min<uint64_t>(count, UINT32_MAX)), width);
      } else {
        builder.declare_register(name, width, at);
      }
    } while (lexer_.accept(","));
    lexer_.expect(";");
  }

  void parse_local_variable(Builder& builder) {
    const int at = line();
    const bool shared = lexer_.next().is(".shared");
    const Declaration declaration = parse_declaration();
    if (declaration.open_ended) throw PtxError(at, "variable of no size");
    Place place;
    place.kind = shared ? Place::Kind::kShared : Place::Kind::kLocal;
    place.bytes = declaration.bytes;
    place.alignment = declaration.alignment;
    builder.declare_variable(declaration.name, place, at);
    lexer_.expect(";");
  }

  // A label, or one instruction up to its semicolon.
  void parse_statement(Builder& builder) {
    const Token first = lexer_.next();
    Operand guard;
    if (first.is("@")) {
      guard.negated = lexer_.accept("!");
      guard.name = lexer_.expect_word("a predicate");
    } else if (!first.is_word()) {
      throw PtxError(first.line,
                     "expected an instruction, found '" + std::string(first.text) + "'");
    } else if (lexer_.accept(":")) {
      builder.declare_label(first.text, first.line);
      return;
    }
    const Token opcode = first.is("@") ? lexer_.next() : first;
    if (!opcode.is_word()) throw PtxError(opcode.line, "expected an instruction");
    statement_.opcode = opcode.text;
    statement_.line = opcode.line;
    split_opcode();
    statement_.operands.clear();
    while (!lexer_.accept(";")) {
      if (!statement_.operands.empty()) lexer_.expect(",");
      statement_.operands.push_back(parse_operand(0));
    }
    int guard_register = -1;
    if (!guard.name.empty()) {
      guard_register = builder.find_register(guard.name);
      if (guard_register < 0 || builder.width(guard_register) != Width::kPredicate) {
        throw PtxError(first.line, "unknown predicate " + std::string(guard.name));
      }
    }
    Draft& draft = decode_statement(builder, statement_);
    draft.guard = guard_register;
    draft.instruction.guard_negated = guard.negated;
  }

  void split_opcode() {
    statement_.parts.clear();
    std::string_view rest = statement_.opcode;
    while (true) {
      const size_t dot = rest.find('.');
      statement_.parts.push_back(rest.substr(0, dot));
      if (dot == std::string_view::npos) return;
      rest.remove_prefix(dot + 1);
    }
  }

  int64_t parse_offset(bool negative) {
    if (lexer_.accept("-")) negative = !negative;
    const uint64_t value = expect_number("an offset");
    return static_cast<int64_t>(negative ? 0 - value : value);
  }

  Operand parse_operand(int depth) {
    Operand operand;
    const int at = line();
    if (depth > 2) throw PtxError(at, "operands are nested too deeply");
    if (lexer_.accept("{")) {
      operand.kind = Operand::Kind::kVector;
      do {
        operand.elements.push_back(parse_operand(depth + 1));
      } while (lexer_.accept(","));
      lexer_.expect("}");
      return operand;
    }
    if (lexer_.accept("[")) {
      operand.kind = Operand::Kind::kAddress;
      if (is_number(lexer_.peek().text)) {
        operand.offset = parse_offset(false);
      } else {
        operand.name = lexer_.expect_word("an address");
        if (lexer_.accept("+")) {
          operand.offset = parse_offset(false);
        } else if (lexer_.accept("-")) {
          operand.offset = parse_offset(true);
        }
      }
      lexer_.expect("]");
      return operand;
    }
    operand.negated = lexer_.accept("!");
    operand.negative = lexer_.accept("-");
    const std::string_view word = lexer_.expect_word("an operand");
    if (is_number(word)) {
      operand.kind = Operand::Kind::kNumber;
      operand.number = word;
    } else if (operand.negative) {
      throw PtxError(at, "'-' needs a number");
    } else if (word == "_") {
      operand.kind = Operand::Kind::kSink;
    } else {
      operand.name = word;
      if (lexer_.accept("|")) operand.second_name = lexer_.expect_word("a register");
      if (lexer_.accept("+")) operand.offset = parse_offset(false);
    }
    return operand;
  }

  Lexer lexer_;
  const PlaceVariable& place_;
  Module& module_;
  std::map<std::string, Place, std::less<>> places_;
  Statement statement_;
};

}  // namespace

void parse_module(std::string_view text, const PlaceVariable& place, Module& module) {
  ModuleParser(text, place, module).run();
}

}  // namespace ptx_emulator
