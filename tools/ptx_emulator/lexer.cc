#include "tools/ptx_emulator/lexer.h"

#include <cctype>

namespace ptx_emulator {
namespace {

bool is_word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' ||
         c == '.';
}

}  // namespace

void Lexer::skip_blanks() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == '\n') {
      ++line_;
      ++position_;
    } else if (std::isspace(static_cast<unsigned char>(c))) {
      ++position_;
    } else if (text_.compare(position_, 2, "//") == 0) {
      while (position_ < text_.size() && text_[position_] != '\n') ++position_;
    } else if (text_.compare(position_, 2, "/*") == 0) {
      const int opened = line_;
      const size_t end = text_.find("*/", position_ + 2);
      if (end == std::string_view::npos) throw PtxError(opened, "comment without an end");
      for (; position_ < end; ++position_) line_ += text_[position_] == '\n';
      position_ = end + 2;
    } else {
      return;
    }
  }
}

Token Lexer::scan() {
  skip_blanks();
  Token token;
  token.line = line_;
  if (position_ >= text_.size()) return token;
  const size_t start = position_;
  const char first = text_[start];
  if (is_word_character(first)) {
    token.kind = TokenKind::kWord;
    while (position_ < text_.size()) {
      const bool scope = text_.compare(position_, 2, "::") == 0;  // as in shared::cta
      if (!scope && !is_word_character(text_[position_])) break;
      position_ += scope ? 2 : 1;
    }
    token.text = text_.substr(start, position_ - start);
  } else if (first == '"') {
    const size_t end = text_.find('"', start + 1);
    if (end == std::string_view::npos) throw PtxError(line_, "string without an end");
    token.kind = TokenKind::kString;
    token.text = text_.substr(start + 1, end - start - 1);
    for (char c : token.text) line_ += c == '\n';
    position_ = end + 1;
  } else {
    token.kind = TokenKind::kPunctuation;
    token.text = text_.substr(start, 1);
    ++position_;
  }
  return token;
}

Token Lexer::next() {
  const Token token = current_;
  current_ = scan();
  return token;
}

bool Lexer::accept(std::string_view expected) {
  if (!current_.is(expected) || current_.kind == TokenKind::kEnd) return false;
  next();
  return true;
}

void Lexer::expect(std::string_view expected) {
  if (accept(expected)) return;
  const std::string found = current_.kind == TokenKind::kEnd
                                ? "the end of the text"
                                : "'" + std::string(current_.text) + "'";
  throw PtxError(current_.line, "expected '" + std::string(expected) + "', found " + found);
}

std::string_view Lexer::expect_word(const char* what) {
  if (!current_.is_word()) {
    throw PtxError(current_.line, std::string("expected ") + what + ", found '" +
                                      std::string(current_.text) + "'");
  }
  return next().text;
}

void Lexer::skip_line() {
  const int line = current_.line;
  while (current_.kind != TokenKind::kEnd && current_.line == line) next();
}

void Lexer::skip_braces() {
  int depth = 0;
  do {
    if (current_.kind == TokenKind::kEnd) throw PtxError(current_.line, "'{' without a '}'");
    if (current_.is("{")) ++depth;
    if (current_.is("}")) --depth;
    next();
  } while (depth > 0);
}

}  // namespace ptx_emulator
