// edge_llm_plugins_verify: whether a machine computes what the plugins promise, without Python.
//
// Runs the table of `edge-llm-plugins verify` and compares with what NumPy computed when the
// release was built. verify.sh of the release calls it.

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "python/bindings/cuda_device.h"
#include "python/bindings/plugin_library.h"
#include "tools/verify/golden.h"
#include "tools/verify/machine.h"
#include "tools/verify/plugin_run.h"
#include "tools/verify/problem.h"

namespace edge_llm::verify {
namespace {

constexpr char kUsage[] =
    R"(edge_llm_plugins_verify --library=PATH --golden=PATH --cuda=RELEASE --sms=SM,SM [options]

  --library   libedge_llm_plugins.so
  --golden    verify.golden of the same release
  --cuda      the CUDA release that its kernels were compiled with, such as 12.6
  --sms       the SMs that it has kernels for
  --device    ordinal of the GPU; 0 by default
  --only      run only configurations whose name has this text, such as decode
  --machine   tell what the machine has, and run nothing
)";

// --name=value and --name.
class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      const size_t equals = argument.find('=');
      const std::string name = argument.substr(0, equals);
      if (allowed_.count(name) == 0) {
        throw VerifyError("unknown option " + name + "; --help lists them");
      }
      values_[name] = equals == std::string::npos ? "" : argument.substr(equals + 1);
    }
  }

  bool has(const std::string& name) const { return values_.count(name) > 0; }

  std::string value(const std::string& name, const std::string& otherwise) const {
    return has(name) ? values_.at(name) : otherwise;
  }

  std::string required(const std::string& name) const {
    if (value(name, "").empty()) throw VerifyError(name + " is missing; --help tells more");
    return values_.at(name);
  }

 private:
  const std::set<std::string> allowed_ = {"--help", "--library", "--golden", "--cuda",
                                          "--sms",  "--device",  "--only",   "--machine"};
  std::map<std::string, std::string> values_;
};

int number_of(const std::string& text) {
  std::istringstream stream(text);
  int number = -1;
  if (!(stream >> number) || !stream.eof() || number < 0) {
    throw VerifyError("'" + text + "' is no number");
  }
  return number;
}

std::vector<int> numbers_of(const std::string& text) {
  std::vector<int> numbers;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) numbers.push_back(number_of(word));
  return numbers;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

void tell(const char* what, const std::string& text) {
  std::printf("%-10s %s\n", what, text.c_str());
}

void check_tensorrt() {
  const std::vector<TensorRt> found = find_tensorrts();
  for (const TensorRt& tensorrt : found) tell("TensorRT", tensorrt.text());
  if (found.empty()) tell("TensorRT", "none found by the loader; what follows needs none");
  const bool any = std::any_of(found.begin(), found.end(),
                               [](const TensorRt& tensorrt) { return tensorrt.is_supported(); });
  if (!found.empty() && !any) throw VerifyError("TensorRT is too old; 8.6 or newer is needed");
}

void check_driver(const CudaVersion& release) {
  const CudaVersion driver = driver_version(driver_path());
  tell("driver", "CUDA " + driver.text() + " (" + driver_path() + ")");
  if (driver.major < release.major) {
    throw VerifyError("the driver serves CUDA " + driver.text() + ", and this release needs CUDA " +
                      std::to_string(release.major) + ".0 or newer; update the driver");
  }
}

std::shared_ptr<host::CudaDevice> open_device(int ordinal) {
  const int count = host::device_count(driver_path());
  if (ordinal >= count) {
    throw VerifyError(driver_path() + " finds " + std::to_string(count) +
                      " GPUs, and none with ordinal " + std::to_string(ordinal));
  }
  auto device = std::make_shared<host::CudaDevice>(driver_path(), ordinal);
  tell("GPU", device->name() + ", SM " + std::to_string(device->sm()) + ", " +
                  std::to_string(device->sm_count()) + " multiprocessors");
  return device;
}

void check_sm(int sm, const std::string& list) {
  const std::vector<int> sms = numbers_of(list);
  if (std::find(sms.begin(), sms.end(), sm) != sms.end()) return;
  const std::string own = "SM " + std::to_string(sm);
  const int newest = *std::max_element(sms.begin(), sms.end());
  if (sm < newest) {
    throw VerifyError(own + " is not among SM " + list +
                      " of this release; build one with --sms=" + std::to_string(sm));
  }
  tell("kernels", own + " is newer than this release: the driver compiles the PTX of SM " +
                      std::to_string(newest));
}

std::vector<std::string> kernels_of(const Golden& golden, int sm) {
  std::vector<std::string> names;
  for (const Kernel& kernel : golden.kernels) {
    const auto& without = kernel.without;
    if (std::find(without.begin(), without.end(), sm) == without.end()) {
      names.push_back(kernel.name);
    }
  }
  return names;
}

struct Configuration {
  std::unique_ptr<Problem> problem;
  std::vector<std::string> kernels;
};

// Those that are always run, and behind them the first for each kernel that they do not reach, as
// coverage.py chooses; `missing` loses what is reached.
std::vector<Configuration> chosen(const Golden& golden, const host::PluginLibrary& library,
                                  const host::CudaDevice& device, const std::string& only,
                                  std::set<std::string>& missing) {
  std::vector<Configuration> all;
  for (const GoldenProblem& row : golden.problems) {
    auto problem = Problem::of(row, golden.limits);
    auto kernels = problem->kernels(library, device.sm(), device.sm_count());
    const bool reaches = std::any_of(kernels.begin(), kernels.end(), [&](const std::string& name) {
      return missing.count(name) > 0;
    });
    if (row.label.find(only) == std::string::npos || (!problem->always() && !reaches)) continue;
    for (const std::string& name : kernels) missing.erase(name);
    all.push_back({std::move(problem), std::move(kernels)});
  }
  if (all.empty()) throw VerifyError("no configuration has '" + only + "' in its name");
  return all;
}

struct Verdict {
  double error = -1;   // the worse of both versions; negative where a run ended without numbers
  std::string reason;  // why it is wrong; empty where it is right
};

Verdict verify(const Problem& problem, const host::PluginLibrary& library,
               const std::shared_ptr<host::CudaDevice>& device) {
  Verdict verdict;
  const Call call = problem.call();
  for (const char* version : {"1", "2"}) {
    const std::string plugin = std::string("plugin \"") + version + "\": ";
    double error = 0;
    try {
      error = problem.error(call, run_plugin(call, library, version, device));
    } catch (const VerifyError&) {
      throw;
    } catch (const std::exception& failure) {
      return {-1, plugin + failure.what()};
    }
    verdict.error = std::max(verdict.error, error);
    if (!(error <= 1)) {
      std::ostringstream times;
      times.precision(3);
      times << error;
      return {error, plugin + times.str() + " times the allowed error"};
    }
  }
  return verdict;
}

// The number of configurations that are wrong.
int run_table(const std::vector<Configuration>& table, const host::PluginLibrary& library,
              const std::shared_ptr<host::CudaDevice>& device) {
  int width = 0;
  for (const Configuration& row : table) {
    width = std::max(width, static_cast<int>(row.problem->label().size()));
  }
  std::printf("\nerror is the largest of both plugin versions, in percent of what is allowed\n\n");
  std::printf("%-*s  error  verdict  kernels\n", width, "configuration");
  int failed = 0;
  for (const Configuration& row : table) {
    const Verdict verdict = verify(*row.problem, library, device);
    const bool works = verdict.reason.empty();
    char error[16] = "    -";
    if (verdict.error >= 0) std::snprintf(error, sizeof(error), "%4.0f%%", 100 * verdict.error);
    std::printf("%-*s  %s  %s    %s\n", width, row.problem->label().c_str(), error,
                works ? "works" : "WRONG", joined(row.kernels).c_str());
    if (!works) std::printf("  %s\n", verdict.reason.c_str());
    std::fflush(stdout);
    failed += works ? 0 : 1;
  }
  return failed;
}

int run(const Options& options) {
  if (options.has("--help")) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  check_tensorrt();
  check_driver(cuda_version_of(options.required("--cuda")));
  const auto device = open_device(number_of(options.value("--device", "0")));
  check_sm(device->sm(), options.required("--sms"));
  if (options.has("--machine")) return 0;

  const Golden golden = read_golden(options.required("--golden"));
  const host::PluginLibrary library(options.required("--library"));
  library.set_cuda_driver(driver_path());
  const std::vector<std::string> kernels = kernels_of(golden, device->sm());
  std::set<std::string> missing(kernels.begin(), kernels.end());
  const auto table = chosen(golden, library, *device, options.value("--only", ""), missing);
  const int failed = run_table(table, library, device);

  std::printf("\n%zu of %zu kernels were run\n", kernels.size() - missing.size(), kernels.size());
  if (!missing.empty()) {
    std::vector<std::string> left;
    std::copy_if(kernels.begin(), kernels.end(), std::back_inserter(left),
                 [&](const std::string& name) { return missing.count(name) > 0; });
    std::printf("not chosen for any of these on this device: %s\n", joined(left).c_str());
  }
  if (failed > 0) {
    throw VerifyError(std::to_string(failed) + " of " + std::to_string(table.size()) +
                      " configurations are WRONG on this machine");
  }
  std::printf("all %zu configurations work on this machine\n", table.size());
  return 0;
}

}  // namespace
}  // namespace edge_llm::verify

int main(int argc, char** argv) {
  try {
    return edge_llm::verify::run(edge_llm::verify::Options(argc, argv));
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "edge_llm_plugins_verify: %s\n", error.what());
    return 1;
  }
}
