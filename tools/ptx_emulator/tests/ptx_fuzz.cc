// Any PTX text gives an error with its line, or a module; a kernel of such a module runs to an end.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "tools/ptx_emulator/lexer.h"
#include "tools/ptx_emulator/parser.h"
#include "tools/ptx_emulator/tests/ptx_runner.h"
#include "tools/testing/fuzz.h"

namespace {

using ptx_emulator::Module;
using ptx_emulator::PtxError;
using ptx_emulator::RunOptions;

constexpr char kText = 't', kBody = 'b';

constexpr char kImages[] = "tools/ptx_emulator/tests/planted_images";
constexpr char kOpcodes[] = "tools/ptx_emulator/testdata/opcodes.txt";
constexpr size_t kHead = 3000;  // bytes of a kernel's text

// A statement of a compiled kernel with the registers of wrap_body().
std::string renamed(std::string statement) {
  statement = std::regex_replace(statement, std::regex("%rd"), "%d");
  statement = std::regex_replace(statement, std::regex("%rs"), "%h");
  return std::regex_replace(statement, std::regex("(%[a-z])[0-9]*([0-9])"), "$1$2");
}

// What is wrong, where the text is refused.
void require_line(const PtxError& error) {
  const std::string what = error.what();
  fuzzing::require(what.rfind("line ", 0) == 0, "no line in: " + what);
}

void parse(const std::string& text) {
  Module module;
  ptx_emulator::parse_text(text, module);
}

void run(const std::string& body) {
  RunOptions options;
  options.instruction_limit = 500;
  const std::vector<uint8_t> in(256, 3);
  // The target with most instructions.
  ptx_emulator::run_text(ptx_emulator::wrap_body(body, "", "sm_90a"), 256, in, options);
}

}  // namespace

void fuzzing::fuzz(std::string_view input) {
  Choices choices(input);
  const char kind = choices.value<char>();
  const std::string text(choices.rest());
  try {
    if (kind == kBody) {
      run(text);
    } else {
      parse(text);
    }
  } catch (const PtxError& error) {
    require_line(error);
  }
}

// The head of a compiled kernel, one statement of each of its opcodes, and all opcodes of ours.
std::vector<std::string> fuzzing::seeds() {
  std::vector<std::string> seeds;
  std::set<std::string> seen;
  for (const auto& file : std::filesystem::directory_iterator(kImages)) {
    if (file.path().extension() != ".ptx") continue;
    std::ifstream text(file.path());
    std::string head = {kText};
    for (std::string line; std::getline(text, line);) {
      if (head.size() < kHead) head += line + "\n";
      std::istringstream words(line);
      std::string opcode;
      words >> opcode;
      if (!line.empty() && line.back() == ';' && seen.insert(opcode).second)
        seeds.push_back(kBody + renamed(line));
    }
    seeds.push_back(head);
  }
  std::ifstream opcodes(kOpcodes);
  for (std::string opcode; opcodes >> opcode;) {
    const std::string r = opcode.find("64") == std::string::npos ? "%r" : "%d";
    seeds.push_back(kBody + opcode + " " + r + "1, " + r + "2, " + r + "3;");
    seeds.push_back(kBody + opcode + " " + r + "1, [%in];");
  }
  return seeds;
}
