// The problems of a golden file, as python/edge_llm_plugins/verify/problems.py has them: inputs,
// the kernels that they reach, and the errors of results.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugins/abi/types.h"
#include "python/bindings/cuda_device.h"
#include "python/bindings/hosted_plugin.h"
#include "python/bindings/plugin_library.h"
#include "tools/verify/golden.h"
#include "tools/verify/inputs.h"

namespace edge_llm::verify {

// A result that is wrong beyond numbers.
struct WrongResult : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct HostTensor {
  abi::DataType type;
  host::Shape shape;
  Bytes bytes;  // empty for an output
};

// One call of a plugin.
struct Call {
  std::string plugin;
  std::vector<std::pair<std::string, int32_t>> fields;
  std::vector<HostTensor> inputs;
  std::vector<HostTensor> outputs;
  // The input whose memory the last output is, where it is one; else -1.
  int written_input = -1;
};

class Problem {
 public:
  // The golden problem must outlive this object. Throws VerifyError for one that lacks a fact.
  static std::unique_ptr<Problem> of(const GoldenProblem& golden, const Limits& limits);

  virtual ~Problem() = default;
  const std::string& label() const { return golden_.label; }
  bool always() const { return golden_.fact("always") != 0; }

  // The kernels that a device launches for it.
  virtual std::vector<std::string> kernels(const host::PluginLibrary& library, int sm,
                                           int sm_count) const = 0;

  // Throws VerifyError where the inputs are not those that the expected results were made of.
  Call call() const;

  // The error of what the outputs hold after the call, as a share of the allowed one, so that up
  // to 1 is right. Throws WrongResult.
  virtual double error(const Call& call, const std::vector<Bytes>& outputs) const = 0;

 protected:
  Problem(const GoldenProblem& golden, const Limits& limits) : golden_(golden), limits_(limits) {}

  int64_t fact(const char* name) const { return golden_.fact(name); }
  uint64_t seed() const { return golden_.fact("seed"); }
  virtual Call seeded_call() const = 0;

  const GoldenProblem& golden_;
  const Limits& limits_;
};

}  // namespace edge_llm::verify
