// Every driver call of the library fails in turn: the call that needed it says so in one line and
// with a status, nothing stays behind in the driver, and the next call works. The calls of a lost
// device keep failing so.
//
// Each failure has a process of its own, forked before the library met the driver.
#include <cuda.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plugins/testing/device_calls.h"
#include "plugins/testing/emulator_fixture.h"
#include "plugins/testing/tensorrt_logger.h"

namespace edge_llm::testing {
namespace {

constexpr uint64_t kForever = UINT64_MAX;

struct Failure {
  const char* name;  // as the library's message has it
  CUresult result;
  uint64_t calls;  // that fail, from the first one on
};
constexpr Failure kFailures[] = {
    {"CUDA_ERROR_OUT_OF_MEMORY (2)", CUDA_ERROR_OUT_OF_MEMORY, 1},
    {"CUDA_ERROR_LAUNCH_FAILED (719)", CUDA_ERROR_LAUNCH_FAILED, 1},
    {"CUDA_ERROR_DEVICE_UNAVAILABLE (46)", CUDA_ERROR_DEVICE_UNAVAILABLE, kForever},
};

void fail_calls(uint64_t skip, uint64_t count, CUresult result) {
  symbol<void (*)(uint64_t, uint64_t, int)>(kEmulator, "ptx_emulator_fail_calls")(skip, count,
                                                                                  result);
}

uint64_t calls() { return symbol<uint64_t (*)()>(kEmulator, "ptx_emulator_calls")(); }

std::string held() { return symbol<const char* (*)()>(kEmulator, "ptx_emulator_held")(); }

// What a forked process writes, and how it died if it did.
std::string in_a_process(const std::function<std::string()>& body) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::string text;
    try {
      text = body();
    } catch (const std::exception& error) {
      text = std::string("exception: ") + error.what();
    } catch (const ::testing::TestEnded&) {
      text = "an assertion failed";
    }
    const ssize_t written = write(ends[1], text.data(), text.size());
    _exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  ASSERT_TRUE(child > 0);
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t count; (count = read(ends[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    text += "the process ended with status " + std::to_string(status);
  }
  return text;
}

// The first device that this build serves.
int device() {
  static const int first =
      std::stoi(in_a_process([] { return std::to_string(served_devices()[0]); }));
  return first;
}

struct Step {
  std::string name;
  bool needs_device;
  std::function<bool()> run;  // false: refused
};

// The life of each plugin, from its creation to the end of its calls.
class Scenario {
 public:
  explicit Scenario(const Interface& layout) : plugins_(fields_of_device_calls().size()) {
    for (size_t i = 0; i < plugins_.size(); ++i) add_life(layout, i);
    for (const DeviceCall& call : device_calls()) add_call(layout, call);
  }

  const std::vector<Step>& steps() const { return steps_; }
  Bytes results() const {
    Bytes all;
    for (const auto& buffers : buffers_) {
      const Bytes bytes = buffers->results();
      all.insert(all.end(), bytes.begin(), bytes.end());
    }
    return all;
  }

 private:
  void add_life(const Interface& layout, size_t i) {
    const Fields& fields = fields_of_device_calls()[i];
    std::unique_ptr<Plugin>& plugin = plugins_[i];
    const auto becomes = [&plugin](std::unique_ptr<Plugin> next) {
      const bool made = next != nullptr;
      if (made) plugin = std::move(next);
      return made;
    };
    const auto add = [&](const char* what, bool needs_device, std::function<bool()> run) {
      steps_.push_back({std::string(what) + " " + fields.plugin, needs_device, std::move(run)});
    };
    add("create", false, [=] { return becomes(layout.create(fields)); });
    add("store and restore", false,
        [=, &plugin] { return becomes(plugin->stored_and_restored()); });
    add("clone", false, [=, &plugin] { return becomes(plugin->clone()); });
    add("attach", true, [&plugin] { return plugin->attach(); });
  }

  void add_call(const Interface& layout, const DeviceCall& call) {
    const auto bound = layout.create(fields_of_device_calls()[call.plugin]);
    ASSERT_TRUE(bound != nullptr);
    buffers_.push_back(std::make_unique<CallBuffers>(call, bound->workspace(call.tensors)));
    const CallBuffers& buffers = *buffers_.back();
    buffers.reset();
    std::unique_ptr<Plugin>& plugin = plugins_[call.plugin];
    steps_.push_back({"enqueue " + call.name, true, [&plugin, &call, &buffers] {
                        return plugin->enqueue(call.tensors, buffers.pointers(nullptr)) == 0;
                      }});
  }

  std::vector<std::unique_ptr<Plugin>> plugins_;
  std::vector<std::unique_ptr<CallBuffers>> buffers_;
  std::vector<Step> steps_;
};

// What a step did that it should not have done; empty for none.
std::string complaint(const Step& step, bool passed, bool must_fail, const Failure& failure,
                      const std::vector<std::string>& lines) {
  std::string text;
  if (passed == must_fail) text += must_fail ? " passed;" : " was refused;";
  if (lines.size() != (must_fail ? 1u : 0u)) {
    text += " logged " + std::to_string(lines.size()) + " lines;";
  }
  for (const std::string& line : lines) {
    if (line.find('\n') != std::string::npos) text += " logged a line break;";
    // Later calls of a lost device may not even come to the driver.
    if (failure.calls == 1 && line.find(failure.name) == std::string::npos) {
      text += " does not name the error;";
    }
    if (!text.empty()) text += " '" + line + "'";
  }
  return text.empty() ? "" : step.name + text + "\n";
}

// What one process saw.
struct Outcome {
  std::string complaints;
  uint64_t calls = 0;
  std::string rest;  // results, and what the driver holds in the end
};

// The scenario with a driver call that fails; `skip` = kForever lets all of them pass.
Outcome run(const Interface& layout, int tensorrt_version, const Failure& failure, uint64_t skip) {
  use_emulator();
  use_device(device());
  CollectingLogger<abi::v10> logger;
  Finder<abi::v10> finder(&logger);
  set_logger_finder(kLibrary, tensorrt_version, &finder);
  Outcome outcome;
  auto scenario = std::make_unique<Scenario>(layout);
  fail_calls(skip, failure.calls, failure.result);
  for (const Step& step : scenario->steps()) {
    const uint64_t before = calls();
    const bool passed = step.run();
    const bool lost = failure.calls == kForever && before > skip;
    const bool must_fail = step.needs_device && (lost || (before <= skip && skip < calls()));
    outcome.complaints += complaint(step, passed, must_fail, failure, logger.messages);
    logger.messages.clear();
    if (!must_fail || failure.calls == kForever) continue;
    outcome.complaints += complaint({step.name + " again", true, nullptr}, step.run(), false,
                                    failure, logger.messages);
    logger.messages.clear();
  }
  outcome.calls = calls();
  fail_calls(0, 0, CUDA_SUCCESS);
  if (failure.calls == kForever) {  // as a process would that finds the device back
    for (const Step& step : scenario->steps()) {
      outcome.complaints += complaint({step.name + " at last", true, nullptr}, step.run(), false,
                                      failure, logger.messages);
      logger.messages.clear();
    }
  }
  const Bytes results = scenario->results();
  outcome.rest = held();
  scenario.reset();
  outcome.rest += held() + std::string(results.begin(), results.end());
  set_logger_finder(kLibrary, tensorrt_version, nullptr);
  return outcome;
}

// FNV-1a of 64 bits.
std::string digest(const std::string& text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return std::to_string(hash);
}

// One run in its own process: "<calls> <digest of the rest> <what is held>\n<complaints>".
std::string report(const Interface& layout, int version, const Failure& failure, uint64_t skip) {
  return in_a_process([&] {
    symbol<int (*)(const char*)>(kEmulator, "ptx_emulator_set_checks")("none");
    symbol<int (*)(int)>(kEmulator, "ptx_emulator_set_threads")(1);
    const Outcome outcome = run(layout, version, failure, skip);
    return std::to_string(outcome.calls) + "\n" + digest(outcome.rest) + " " +
           outcome.rest.substr(0, outcome.rest.find('}') + 1) + "\n" + outcome.complaints;
  });
}

void fail_each_call(const Interface& layout, int version) {
  device();  // asked for before the first of the processes
  const std::string clean = report(layout, version, kFailures[0], kForever);
  const size_t end = clean.find('\n');
  const std::string expected = clean.substr(end + 1);
  const uint64_t count = std::stoull(clean);
  std::printf("%s: %llu driver calls; %s", layout.name.c_str(),
              static_cast<unsigned long long>(count), expected.c_str());
  EXPECT_EQ(expected.find('\n') + 1, expected.size());  // no complaints
  EXPECT_TRUE(count > 100);
  for (const Failure& failure : kFailures) {
    for (uint64_t skip = 0; skip < count; ++skip) {
      const std::string failed = report(layout, version, failure, skip);
      const std::string rest = failed.substr(failed.find('\n') + 1);
      if (rest == expected) continue;
      ::testing::fail(__FILE__, __LINE__,
                      layout.name + ": " + failure.name + " at call " + std::to_string(skip) +
                          "\n    without failure: " + expected + "    with it: " + rest);
    }
  }
}

}  // namespace

TEST(EachPathOfV2AndV3IsTaken) {
  for (const DeviceCall& call : device_calls()) {
    const std::string plan = plan_of(call, 90, 132);
    EXPECT_EQ(plan.substr(0, call.variant.size()), call.variant);
    const bool split = plan.find(" splits=1") == plan.size() - 9;
    EXPECT_EQ(call.name + (split ? " unsplit" : ""),
              call.name + (call.name == "prefill" ? " unsplit" : ""));
  }
}

TEST(EachFailedDriverCallOfAV2PluginIsReportedAndTheNextWorks) {
  fail_each_call(all_interfaces(kLibrary)[0], 8601);
}

TEST(EachFailedDriverCallOfAV3PluginIsReportedAndTheNextWorks) {
  fail_each_call(all_interfaces(kLibrary)[3], 101601);
}

}  // namespace edge_llm::testing
