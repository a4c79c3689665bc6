#include "plugins/runtime/log.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace edge_llm {
namespace {

struct Sink {
  LogSink write;
  void* context;
};

void write_to_stderr(LogLevel level, const char* message) {
  std::fprintf(stderr, "[edge-llm-plugins] %s: %s\n", level == LogLevel::kError ? "error" : "info",
               message);
}

// One word, so that a message never meets the function of one sink and the context of another.
std::atomic<const Sink*> current_sink{nullptr};

LogLevel admitted_level() {
  const char* value = std::getenv("EDGE_LLM_PLUGINS_LOG");
  if (value != nullptr && std::strcmp(value, "off") == 0) return LogLevel::kOff;
  if (value != nullptr && std::strcmp(value, "info") == 0) return LogLevel::kInfo;
  return LogLevel::kError;
}

}  // namespace

void set_log_sink(LogSink sink, void* context) noexcept {
  // The old one is never freed: another thread may be writing to it. Hosts set a sink once.
  current_sink = sink == nullptr ? nullptr : new (std::nothrow) Sink{sink, context};
}

void log(LogLevel level, const char* message) noexcept {
  if (level > admitted_level()) return;
  const Sink* sink = current_sink;
  if (sink != nullptr && sink->write(sink->context, level, message)) return;
  write_to_stderr(level, message);
}

}  // namespace edge_llm
