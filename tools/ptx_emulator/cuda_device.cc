// CUDA driver entry points: initialisation, devices, contexts, streams and events.
#include <cuda.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "tools/ptx_emulator/driver.h"
#include "tools/ptx_emulator/export.h"

using ptx_emulator::Context;
using ptx_emulator::context_stack;
using ptx_emulator::DeviceFacts;
using ptx_emulator::devices;
using ptx_emulator::Driver;
using ptx_emulator::fail;
using ptx_emulator::guarded;

namespace {

constexpr int kDriverVersion = 13000;
constexpr size_t kDeviceMemory = size_t{16} << 30;

struct ErrorName {
  CUresult result;
  const char* name;
  const char* text;
};
constexpr ErrorName kErrors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE",
     "CUDA-capable device(s) is/are busy or unavailable"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "this machine cannot run the emulator"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const ErrorName* find_error(CUresult result) {
  for (const ErrorName& error : kErrors) {
    if (error.result == result) return &error;
  }
  return nullptr;
}

bool valid_device(CUdevice device) {
  return device >= 0 && device < static_cast<int>(devices().size());
}

CUresult push_new_context(CUcontext* context, CUdevice device) {
  return guarded([&] {
    if (context == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    if (!valid_device(device)) return fail(CUDA_ERROR_INVALID_DEVICE, "no such device");
    auto made = std::make_unique<Context>();
    made->device = device;
    Context* const raw = made.get();
    Driver& driver = Driver::instance();
    {
      const std::lock_guard<std::mutex> lock(driver.mutex);
      driver.contexts.emplace(raw, std::move(made));
    }
    context_stack().push_back(raw);
    *context = reinterpret_cast<CUcontext>(raw);
    return CUDA_SUCCESS;
  });
}

// The lane loops are built for x86-64-v3 (see BUILD); this file is not.
bool cpu_is_new_enough() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kFma = 1u << 12, kF16c = 1u << 29, kAvx2 = 1u << 5;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kFma) == 0 || (c & kF16c) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & kAvx2) != 0;
#else
  return true;
#endif
}

double now_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

}  // namespace

extern "C" {

PTX_EMULATOR_EXPORT CUresult cuInit(unsigned flags) {
  return guarded([&] {
    if (!cpu_is_new_enough()) {
      return fail(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
                  "the emulator needs a CPU with AVX2, FMA and F16C (x86-64-v3)");
    }
    return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

PTX_EMULATOR_EXPORT CUresult cuDriverGetVersion(int* version) {
  return guarded([&] {
    if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *version = kDriverVersion;
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuGetErrorName(CUresult result, const char** name) {
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorName* const error = find_error(result);
  *name = error == nullptr ? nullptr : error->name;
  return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

PTX_EMULATOR_EXPORT CUresult cuGetErrorString(CUresult result, const char** text) {
  if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const ErrorName* const error = find_error(result);
  *text = error == nullptr ? nullptr : error->text;
  return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

PTX_EMULATOR_EXPORT CUresult cuDeviceGetCount(int* count) {
  return guarded([&] {
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<int>(devices().size());
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return guarded([&] {
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!valid_device(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuDeviceGetName(char* name, int size, CUdevice device) {
  return guarded([&] {
    if (name == nullptr || size <= 0) return CUDA_ERROR_INVALID_VALUE;
    if (!valid_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    const std::string text = std::string(devices()[device].gpu) + " (emulated)";
    std::strncpy(name, text.c_str(), static_cast<size_t>(size) - 1);
    name[size - 1] = '\0';
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  return guarded([&] {
    if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!valid_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = kDeviceMemory;
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute,
                                                  CUdevice device) {
  return guarded([&] {
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!valid_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    const DeviceFacts& facts = devices()[device];
    switch (attribute) {
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = facts.sm / 10;
        break;
      case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = facts.sm % 10;
        break;
      case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = facts.sm_count;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        *value = ptx_emulator::kDefaultSharedLimit;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = facts.shared_per_block;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        *value = facts.shared_per_sm;
        break;
      case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
        *value = facts.shared_per_sm - facts.shared_per_block;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        *value = facts.threads_per_sm;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
      case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        *value = ptx_emulator::kMaxThreads;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        *value = ptx_emulator::kMaxBlockZ;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        *value = ptx_emulator::kMaxGridX;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
      case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        *value = ptx_emulator::kMaxGridYZ;
        break;
      case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        *value = ptx_emulator::kLanes;
        break;
      case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
      case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
        *value = 65536;
        break;
      case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        *value = 1;
        break;
      case CU_DEVICE_ATTRIBUTE_INTEGRATED:
      case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
      case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
        *value = 0;
        break;
      default:
        return fail(CUDA_ERROR_INVALID_VALUE, "the emulator does not know device attribute " +
                                                  std::to_string(static_cast<int>(attribute)));
    }
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return guarded([&] {
    if (context == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    if (!valid_device(device)) return fail(CUDA_ERROR_INVALID_DEVICE, "no such device");
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    Context* const primary = driver.primary_contexts[device].get();
    ++primary->references;
    *context = reinterpret_cast<CUcontext>(primary);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  return guarded([&] {
    if (!valid_device(device)) return fail(CUDA_ERROR_INVALID_DEVICE, "no such device");
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    Context* const primary = driver.primary_contexts[device].get();
    if (primary->references == 0) {
      return fail(CUDA_ERROR_INVALID_CONTEXT, "the primary context is not retained");
    }
    --primary->references;
    return CUDA_SUCCESS;
  });
}

// Declared here: the header knows only the newest version of cuCtxCreate.
CUresult cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice device);
CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams* parameters, unsigned flags,
                        CUdevice device);

PTX_EMULATOR_EXPORT CUresult cuCtxCreate_v2(CUcontext* context, unsigned, CUdevice device) {
  return push_new_context(context, device);
}

PTX_EMULATOR_EXPORT CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams*, unsigned,
                                            CUdevice device) {
  return push_new_context(context, device);
}

PTX_EMULATOR_EXPORT CUresult cuCtxDestroy(CUcontext handle) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    Context* const context = reinterpret_cast<Context*>(handle);
    const std::lock_guard<std::mutex> lock(driver.mutex);
    if (driver.contexts.erase(context) == 0) {
      return fail(CUDA_ERROR_INVALID_CONTEXT, "this context does not exist");
    }
    std::vector<Context*>& stack = context_stack();
    if (!stack.empty() && stack.back() == context) stack.pop_back();
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuCtxPushCurrent(CUcontext handle) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    Context* const context = reinterpret_cast<Context*>(handle);
    const std::lock_guard<std::mutex> lock(driver.mutex);
    if (!driver.is_live(context)) return fail(CUDA_ERROR_INVALID_CONTEXT, "no such context");
    context_stack().push_back(context);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuCtxPopCurrent(CUcontext* context) {
  return guarded([&] {
    std::vector<Context*>& stack = context_stack();
    if (stack.empty()) return fail(CUDA_ERROR_INVALID_CONTEXT, "no context is current");
    if (context != nullptr) *context = reinterpret_cast<CUcontext>(stack.back());
    stack.pop_back();
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuCtxSetCurrent(CUcontext handle) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    Context* const context = reinterpret_cast<Context*>(handle);
    std::vector<Context*>& stack = context_stack();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    if (context != nullptr && !driver.is_live(context)) {
      return fail(CUDA_ERROR_INVALID_CONTEXT, "no such context");
    }
    if (!stack.empty()) stack.pop_back();
    if (context != nullptr) stack.push_back(context);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
  return guarded([&] {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const std::vector<Context*>& stack = context_stack();
    *context = stack.empty() ? nullptr : reinterpret_cast<CUcontext>(stack.back());
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuCtxGetDevice(CUdevice* device) {
  return guarded([&] {
    if (device == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    return ptx_emulator::current_device(device);
  });
}

PTX_EMULATOR_EXPORT CUresult cuCtxSynchronize(void) {
  return guarded([&] {
    int device = 0;
    return ptx_emulator::current_device(&device);
  });
}

PTX_EMULATOR_EXPORT CUresult cuStreamCreate(CUstream* stream, unsigned) {
  return guarded([&] {
    int device = 0;
    if (stream == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    const CUresult result = ptx_emulator::current_device(&device);
    if (result != CUDA_SUCCESS) return result;
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    void* const made = new char;
    driver.streams.insert(made);
    *stream = static_cast<CUstream>(made);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuStreamDestroy(CUstream stream) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    if (driver.streams.erase(stream) == 0) {
      return fail(CUDA_ERROR_INVALID_HANDLE, "this stream does not exist");
    }
    delete reinterpret_cast<char*>(stream);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuStreamSynchronize(CUstream stream) {
  return guarded([&] { return ptx_emulator::require_stream(stream); });
}

PTX_EMULATOR_EXPORT CUresult cuEventCreate(CUevent* event, unsigned) {
  return guarded([&] {
    if (event == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    void* const made = new char;
    driver.events.emplace(made, -1.0);
    *event = static_cast<CUevent>(made);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuEventDestroy(CUevent event) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    if (driver.events.erase(event) == 0) {
      return fail(CUDA_ERROR_INVALID_HANDLE, "this event does not exist");
    }
    delete reinterpret_cast<char*>(event);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuEventRecord(CUevent event, CUstream stream) {
  return guarded([&] {
    const CUresult result = ptx_emulator::require_stream(stream);
    if (result != CUDA_SUCCESS) return result;
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    const auto found = driver.events.find(event);
    if (found == driver.events.end()) {
      return fail(CUDA_ERROR_INVALID_HANDLE, "this event does not exist");
    }
    found->second = now_ms();
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuEventSynchronize(CUevent event) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    return driver.events.count(event) != 0
               ? CUDA_SUCCESS
               : fail(CUDA_ERROR_INVALID_HANDLE, "this event does not exist");
  });
}

// The same function under the name of CUDA 12; the header maps the plain name to the newest one.
#undef cuEventElapsedTime
CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end);
CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end);

PTX_EMULATOR_EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return cuEventElapsedTime_v2(milliseconds, start, end);
}

PTX_EMULATOR_EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start,
                                                   CUevent end) {
  return guarded([&] {
    if (milliseconds == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    const auto first = driver.events.find(start);
    const auto last = driver.events.find(end);
    if (first == driver.events.end() || last == driver.events.end() || first->second < 0 ||
        last->second < 0) {
      return fail(CUDA_ERROR_INVALID_HANDLE, "an event does not exist or was not recorded");
    }
    *milliseconds = static_cast<float>(last->second - first->second);
    return CUDA_SUCCESS;
  });
}

}  // extern "C"
