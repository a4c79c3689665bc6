// A TensorRT of any version that hands a logger to the library.
#pragma once

#include <string>
#include <vector>

#include "plugins/abi/runtime.h"
#include "plugins/testing/plugin_driver.h"

namespace edge_llm::testing {

inline constexpr char kFakeTensorRt[] = "plugins/testing/libfake_tensorrt.so";

// The version that the fake TensorRT claims to be: 101601 is 10.16.1.
inline void set_tensorrt_version(int version) {
  symbol<void (*)(int)>(kFakeTensorRt, "fake_tensorrt_set_version")(version);
}

// Calls setLoggerFinder of the library as a TensorRT of this version does; null takes it back.
inline void set_logger_finder(const std::string& library, int version, void* finder) {
  set_tensorrt_version(version);
  symbol<void (*)(void*, void*)>(kFakeTensorRt, "fake_tensorrt_set_logger_finder")(
      find_symbol(library, "setLoggerFinder"), finder);
}

// Keeps what it hears: "<severity> <message>".
template <typename Abi>
struct CollectingLogger : abi::Logger<Abi> {
  void log(abi::Severity severity, const char* message) noexcept override {
    messages.push_back(std::to_string(static_cast<int>(severity)) + " " + message);
  }
  std::vector<std::string> messages;
};

template <typename Abi>
struct Finder : abi::LoggerFinder<Abi> {
  explicit Finder(abi::Logger<Abi>* found) : logger(found) {}
  abi::Logger<Abi>* findLogger() override { return logger; }
  abi::Logger<Abi>* logger;
};

}  // namespace edge_llm::testing
