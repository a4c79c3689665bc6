// One-line messages to stderr, or to the logger that the host handed over.
#ifndef EDGE_LLM_PLUGINS_RUNTIME_LOG_H_
#define EDGE_LLM_PLUGINS_RUNTIME_LOG_H_

namespace edge_llm {

enum class LogLevel { kOff, kError, kInfo };

// Receives a message of level kError or kInfo; must not throw.
using LogSink = void (*)(void* context, LogLevel level, const char* message);

// Replaces stderr; a null sink restores it. `context` must outlive the process's last message.
void set_log_sink(LogSink sink, void* context) noexcept;

// Writes the message when EDGE_LLM_PLUGINS_LOG (off, error or info; default error) admits its
// level. The variable is read at each message: an embedder may change it after loading the library.
void log(LogLevel level, const char* message) noexcept;

}  // namespace edge_llm

#endif  // EDGE_LLM_PLUGINS_RUNTIME_LOG_H_
