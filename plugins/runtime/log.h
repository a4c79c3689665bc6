// One-line messages to stderr, or to the logger that the host handed over.
#pragma once

namespace edge_llm {

enum class LogLevel { kOff, kError, kInfo };

// Receives a message of level kError or kInfo; must not throw. False sends it to stderr instead.
using LogSink = bool (*)(void* context, LogLevel level, const char* message);

// Replaces stderr; a null sink restores it. `context` must outlive the process's last message.
void set_log_sink(LogSink sink, void* context) noexcept;

// Writes the message when EDGE_LLM_PLUGINS_LOG (off, error or info; default error) admits its
// level. The variable is read at each message: an embedder may change it after loading the library.
void log(LogLevel level, const char* message) noexcept;

}  // namespace edge_llm
