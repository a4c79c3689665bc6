// The file of what is verified and what is right: tools/verify/make_golden.py says what is in it.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace edge_llm::verify {

// One line for the user; nothing could be verified.
struct VerifyError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Kernel {
  std::string name;
  std::vector<int> without;  // the SMs that it has no image for
};

// What a result may be wrong by.
struct Limits {
  double int4_relative_rms = 0;
  double attention = 0;  // and as much times the value
  double key = 0;        // at least: an FP16 step may be more
};

struct GoldenProblem {
  std::string family;  // "int4_gemm" or "attention"
  std::string label;
  std::map<std::string, int64_t> facts;
  std::vector<float> outputs;  // all, or a sample
  std::vector<uint16_t> keys;  // FP16; all that are written, or a sample

  int64_t fact(const std::string& name) const;
};

struct Golden {
  Limits limits;
  std::vector<Kernel> kernels;
  std::vector<GoldenProblem> problems;
};

// Throws VerifyError for a file that is missing, cut off or of another version.
Golden read_golden(const std::string& path);

}  // namespace edge_llm::verify
