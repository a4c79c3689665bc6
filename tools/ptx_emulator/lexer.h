// Splits PTX text into tokens that point into the text; comments are dropped.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ptx_emulator {

// A defect of the PTX text. `what()` is one line that begins with the PTX line number.
class PtxError : public std::runtime_error {
 public:
  PtxError(int line, const std::string& message)
      : std::runtime_error("line " + std::to_string(line) + ": " + message) {}
};

enum class TokenKind : uint8_t { kEnd, kWord, kString, kPunctuation };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string_view text;  // a word keeps its dots, percent signs and "::"; a string its content
  int line = 1;

  bool is(std::string_view expected) const {
    return kind != TokenKind::kString && text == expected;
  }
  bool is_word() const { return kind == TokenKind::kWord; }
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) { current_ = scan(); }

  const Token& peek() const { return current_; }
  Token next();
  bool accept(std::string_view expected);
  void expect(std::string_view expected);
  std::string_view expect_word(const char* what);

  // Drops the current token and everything behind it on its line.
  void skip_line();
  // Drops everything up to and including the matching closing brace; current token is "{".
  void skip_braces();

 private:
  Token scan();
  void skip_blanks();

  std::string_view text_;
  size_t position_ = 0;
  int line_ = 1;
  Token current_;
};

}  // namespace ptx_emulator
