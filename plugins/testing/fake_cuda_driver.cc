// A CUDA driver for tests: it accepts every call, computes nothing and counts.
//
// Tests reach the control functions with dlsym; they are not part of the CUDA driver API.
#include <cuda.h>

#include <atomic>
#include <map>
#include <mutex>
#include <string>

#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

std::mutex mutex;
std::map<std::string, int> calls;                    // guarded by mutex
std::map<std::string, CUresult> failures;            // guarded by mutex
std::map<CUdevice_attribute, int> device_attributes  // guarded by mutex
    = {{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 8},
       {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
       {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 108}};

struct Copy {
  CUdeviceptr to, from;
  size_t bytes;
};
Copy last_copy{};  // guarded by mutex

CUresult record(const char* function) {
  std::lock_guard<std::mutex> lock(mutex);
  ++calls[function];
  const auto failure = failures.find(function);
  return failure == failures.end() ? CUDA_SUCCESS : failure->second;
}

}  // namespace

FAKE_EXPORT int fake_driver_calls(const char* function) {
  std::lock_guard<std::mutex> lock(mutex);
  return calls[function];
}

// CUDA_SUCCESS mends the function again.
FAKE_EXPORT void fake_driver_fail(const char* function, CUresult result) {
  std::lock_guard<std::mutex> lock(mutex);
  failures.erase(function);
  if (result != CUDA_SUCCESS) failures[function] = result;
}

FAKE_EXPORT void fake_driver_set_sm(int sm) {
  std::lock_guard<std::mutex> lock(mutex);
  device_attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR] = sm / 10;
  device_attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR] = sm % 10;
}

// The arguments of the latest copy on the device.
FAKE_EXPORT void fake_driver_last_copy(CUdeviceptr* to, CUdeviceptr* from, size_t* bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  *to = last_copy.to;
  *from = last_copy.from;
  *bytes = last_copy.bytes;
}

#define FAKE_CUDA(...) FAKE_EXPORT CUresult CUDAAPI __VA_ARGS__

FAKE_CUDA(cuInit(unsigned)) { return record("cuInit"); }

FAKE_CUDA(cuGetErrorName(CUresult result, const char** name)) {
  *name = result == CUDA_ERROR_INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT" : "CUDA_ERROR_FAKE";
  return record("cuGetErrorName");
}

FAKE_CUDA(cuCtxGetDevice(CUdevice* device)) {
  *device = 0;
  return record("cuCtxGetDevice");
}

FAKE_CUDA(cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice)) {
  const CUresult result = record("cuDeviceGetAttribute");
  std::lock_guard<std::mutex> lock(mutex);
  *value = device_attributes[attribute];
  return result;
}

FAKE_CUDA(cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option*, void**, unsigned,
                            CUlibraryOption*, void**, unsigned)) {
  *library = static_cast<CUlibrary>(const_cast<void*>(code));
  return record("cuLibraryLoadData");
}

FAKE_CUDA(cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char*)) {
  *kernel = reinterpret_cast<CUkernel>(library);
  return record("cuLibraryGetKernel");
}

FAKE_CUDA(cuKernelSetAttribute(CUfunction_attribute, int, CUkernel, CUdevice)) {
  return record("cuKernelSetAttribute");
}

FAKE_CUDA(cuKernelGetFunction(CUfunction* function, CUkernel kernel)) {
  *function = reinterpret_cast<CUfunction>(kernel);
  return record("cuKernelGetFunction");
}

FAKE_CUDA(cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream)) {
  const CUresult result = record("cuMemcpyDtoDAsync");
  std::lock_guard<std::mutex> lock(mutex);
  last_copy = {to, from, bytes};
  return result;
}

FAKE_CUDA(cuLaunchKernelEx(const CUlaunchConfig*, CUfunction, void**, void**)) {
  return record("cuLaunchKernelEx");
}
