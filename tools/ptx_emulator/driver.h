// The state behind the CUDA entry points: devices, contexts, libraries, handles, settings.
#pragma once

#include <cuda.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "tools/ptx_emulator/launch.h"
#include "tools/ptx_emulator/memory.h"

namespace ptx_emulator {

// One row of the SM table (kernels/variants.bzl), by way of the generated sm_table.h.
struct DeviceFacts {
  int sm;
  const char* gpu;
  int sm_count;
  int shared_per_block;
  int shared_per_sm;
  int threads_per_sm;
};

const std::vector<DeviceFacts>& devices();

// The objects that handles point to. A handle is only followed after it was found to be live.
struct Context {
  int device = 0;
  bool primary = false;
  int references = 0;
};

struct LoadedKernel {
  const Kernel* kernel = nullptr;
  // Limit of dynamic shared memory that was asked for, by device; the default without an entry.
  std::map<int, int> dynamic_shared_limit;
};

struct Library {
  Module module;
  std::map<std::string, std::unique_ptr<LoadedKernel>> kernels;
  ~Library();
};

struct Settings {
  std::atomic<uint32_t> checks{kCheckAll};
  std::atomic<int> threads{0};
  std::atomic<uint32_t> seed{0};
  std::atomic<uint64_t> instruction_limit{0};
};

// Calls that a test wants to fail; thread-safe.
class PlannedFailures {
 public:
  // After `skip` further calls, `count` calls give `result`.
  void plan(uint64_t skip, uint64_t count, CUresult result);
  // Counts a call; what it must fail with, or CUDA_SUCCESS.
  CUresult next();
  // Calls since plan().
  uint64_t calls();

 private:
  std::mutex mutex_;
  uint64_t calls_ = 0;
  uint64_t skip_ = 0;
  uint64_t count_ = 0;
  CUresult result_ = CUDA_SUCCESS;
};

class Driver {
 public:
  static Driver& instance();

  DeviceMemory memory;
  Settings settings;
  PlannedFailures planned_failures;
  std::mutex mutex;                                        // guards everything below
  std::vector<std::unique_ptr<Context>> primary_contexts;  // by device
  std::map<Context*, std::unique_ptr<Context>> contexts;
  std::map<Library*, std::shared_ptr<Library>> libraries;
  std::map<LoadedKernel*, std::weak_ptr<Library>> kernels;
  std::map<void*, double> events;  // time in ms, negative until recorded
  std::set<void*> streams;
  FaultLog faults;
  Counters counters;
  uint64_t launches = 0;
  OpcodeTable opcodes;

  bool is_live(const Context* context);  // needs the mutex
  // References to contexts; the caller holds the mutex.
  size_t context_references() const;

 private:
  Driver();
};

// Limits of the architecture, equal for all devices.
inline constexpr int kDefaultSharedLimit = 48 * 1024;  // without a raised kernel attribute
inline constexpr int kMaxThreads = 1024;               // of a block
inline constexpr int kMaxBlockZ = 64;
inline constexpr int kMaxGridX = 0x7fffffff;
inline constexpr int kMaxGridYZ = 65535;

// The device of this thread's current context, or an error.
CUresult current_device(int* device);
// Null and the two built-in streams are always valid.
CUresult require_stream(CUstream stream);

// The stack of current contexts of this thread.
std::vector<Context*>& context_stack();

// Parses "all", "none" or a list of checks; false for an unknown name.
bool parse_checks(const std::string& list, uint32_t* checks);

// One line about why the last call on this thread failed.
std::string& last_error();
CUresult fail(CUresult result, const std::string& message);

// What an entry point runs its body under, once: counts the call, fails it where that was asked
// for (ptx_emulator_fail_calls), and turns exceptions into error codes.
template <class Body>
CUresult guarded(Body&& body) {
  try {
    if (const CUresult planned = Driver::instance().planned_failures.next()) {
      return fail(planned, "ptx_emulator_fail_calls asked for this failure");
    }
    return body();
  } catch (const std::bad_alloc&) {
    return fail(CUDA_ERROR_OUT_OF_MEMORY, "the host has no memory left");
  } catch (const std::exception& error) {
    return fail(CUDA_ERROR_UNKNOWN, error.what());
  }
}

}  // namespace ptx_emulator
