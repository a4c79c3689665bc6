#include "tools/ptx_emulator/driver.h"

#include <algorithm>
#include <cstdlib>

#include "tools/ptx_emulator/sm_table.h"

namespace ptx_emulator {

const std::vector<DeviceFacts>& devices() {
  static const auto* const table = new std::vector<DeviceFacts>{PTX_EMULATOR_DEVICES};
  return *table;
}

Library::~Library() {
  for (const uint64_t address : module.variables) Driver::instance().memory.free(address);
}

Driver::Driver() {
  for (size_t i = 0; i < devices().size(); ++i) {
    primary_contexts.push_back(std::make_unique<Context>());
    primary_contexts.back()->device = static_cast<int>(i);
    primary_contexts.back()->primary = true;
  }
  const char* const list = std::getenv("PTX_EMULATOR_CHECKS");
  uint32_t checks = kCheckAll;
  if (list != nullptr && parse_checks(list, &checks)) settings.checks = checks;
}

Driver& Driver::instance() {
  // Never destroyed: other static objects may still free memory at exit.
  static Driver* const driver = new Driver;
  return *driver;
}

bool Driver::is_live(const Context* context) {
  for (const std::unique_ptr<Context>& primary : primary_contexts) {
    if (primary.get() == context) return primary->references > 0;
  }
  return contexts.count(const_cast<Context*>(context)) != 0;
}

size_t Driver::context_references() const {
  size_t references = contexts.size();
  for (const std::unique_ptr<Context>& primary : primary_contexts) {
    references += static_cast<size_t>(primary->references);
  }
  return references;
}

void PlannedFailures::plan(uint64_t skip, uint64_t count, CUresult result) {
  const std::lock_guard<std::mutex> lock(mutex_);
  calls_ = 0;
  skip_ = skip;
  count_ = count;
  result_ = result;
}

CUresult PlannedFailures::next() {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t index = calls_++;
  return index >= skip_ && index - skip_ < count_ ? result_ : CUDA_SUCCESS;
}

uint64_t PlannedFailures::calls() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return calls_;
}

std::vector<Context*>& context_stack() {
  thread_local std::vector<Context*> stack;
  return stack;
}

CUresult current_device(int* device) {
  const std::vector<Context*>& stack = context_stack();
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  if (stack.empty() || !driver.is_live(stack.back())) {
    return fail(CUDA_ERROR_INVALID_CONTEXT, "no context is current on this thread");
  }
  *device = stack.back()->device;
  return CUDA_SUCCESS;
}

CUresult require_stream(CUstream stream) {
  if (stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD) {
    return CUDA_SUCCESS;
  }
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  if (driver.streams.count(stream) != 0) return CUDA_SUCCESS;
  return fail(CUDA_ERROR_INVALID_HANDLE, "this stream does not exist");
}

bool parse_checks(const std::string& list, uint32_t* checks) {
  static const std::map<std::string, uint32_t> names = {
      {"all", kCheckAll},           {"none", 0},
      {"races", kCheckRaces},       {"bounds", kCheckBounds},
      {"init", kCheckInit},         {"async", kCheckAsync},
      {"barriers", kCheckBarriers}, {"counters", kCheckCounters}};
  *checks = 0;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const auto found = names.find(list.substr(begin, end - begin));
    if (found == names.end()) {
      last_error() = "unknown check '" + list.substr(begin, end - begin) +
                     "': allowed are all, none, races, bounds, init, async, barriers, counters";
      return false;
    }
    *checks |= found->second;
    begin = end + 1;
  }
  return true;
}

std::string& last_error() {
  thread_local std::string error;
  return error;
}

CUresult fail(CUresult result, const std::string& message) {
  last_error() = message;
  return result;
}

}  // namespace ptx_emulator
