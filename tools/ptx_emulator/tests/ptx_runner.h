// Runs small PTX texts on the emulator's core, without the driver around it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tools/ptx_emulator/launch.h"

namespace ptx_emulator {

// Parses a module; variables get no memory.
void parse_text(const std::string& text, Module& module);

// A kernel `test(.param .u64 out, .param .u64 in)` with the registers %h, %r, %d, %f, %p (each
// <64>) and %x, %y for use by the bodies; %out and %in hold the parameters.
std::string wrap_body(const std::string& body, const std::string& declarations = "",
                      const std::string& target = "sm_80");

struct RunOptions {
  uint32_t threads = 32;  // of one block
  uint32_t blocks = 1;
  uint32_t dynamic_shared = 0;
  uint32_t seed = 0;
  uint32_t checks = kCheckAll;
  uint64_t instruction_limit = 1u << 20;
  int host_threads = 1;
};

struct RunResult {
  std::vector<uint8_t> out;  // the bytes of the `out` allocation
  LaunchResult launch;

  template <class T>
  T at(size_t index) const {
    T value;
    __builtin_memcpy(&value, out.data() + index * sizeof(T), sizeof(T));
    return value;
  }
  // The faults as text, empty where there are none.
  std::string faults() const { return launch.faults.to_json_lines(); }
};

// Runs the module's kernel "test" with an output of `out_bytes` and the given input.
RunResult run_text(const std::string& text, size_t out_bytes, const std::vector<uint8_t>& in,
                   const RunOptions& options = {});

// Inputs of evaluate(): operands[i][lane] is put into %d<i>, its low bits into %r<i> and %h<i>.
using Operands = std::vector<std::vector<uint64_t>>;

// Runs `body` by one warp and returns %d9 ('d'), %r9 ('w'), %h9 ('h') or %p9 ('p') of every lane.
std::vector<uint64_t> evaluate(const std::string& body, char result, const Operands& operands);

// Whether a text, such as a report, has a part.
bool contains(const std::string& text, const std::string& part);

// A kernel with the first `from` replaced; throws std::invalid_argument where there is none.
std::string replaced(std::string text, const std::string& from, const std::string& to);

}  // namespace ptx_emulator
