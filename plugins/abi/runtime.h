// What the library calls in TensorRT: its logger and its plugin registry.
#pragma once

#include "plugins/abi/plugin_v2.h"
#include "plugins/abi/types.h"

namespace edge_llm::abi {

enum class Severity : int32_t {
  kInternalError = 0,
  kError = 1,
  kWarning = 2,
  kInfo = 3,
  kVerbose = 4,
};

// Majors 8 and 10: the function, then the destructor. From 11 on: a versioned interface.
template <typename Abi, bool kVersioned = Abi::kHasVersionedLogger>
class Logger {
 public:
  virtual void log(Severity severity, const char* message) noexcept = 0;
  virtual ~Logger() noexcept = default;
};

template <typename Abi>
class Logger<Abi, true> : public VersionedInterface {
 public:
  virtual void log(Severity severity, const char* message) noexcept = 0;
};

template <typename Abi, bool kVersioned = Abi::kHasVersionedLogger>
class LoggerFinder {
 public:
  virtual Logger<Abi>* findLogger() = 0;

 protected:
  virtual ~LoggerFinder() noexcept = default;
};

template <typename Abi>
class LoggerFinder<Abi, true> : public VersionedInterface {
 public:
  virtual Logger<Abi>* findLogger() = 0;
};

// Majors 8 and 10 alone begin with this slot; the others follow no common order.
template <typename Abi>
class PluginRegistry {
 public:
  virtual bool registerCreator(PluginCreator<Abi>& creator,
                               const char* plugin_namespace) noexcept = 0;

 protected:
  ~PluginRegistry() = default;
};

}  // namespace edge_llm::abi
