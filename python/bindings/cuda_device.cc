#include "python/bindings/cuda_device.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <utility>

namespace edge_llm::host {

// cuda.h may rename a function (cuMemAlloc is cuMemAlloc_v2); member and symbol follow, because
// both are made from the expanded name.
#define EDGE_LLM_HOST_DRIVER_FUNCTIONS(X) \
  X(cuInit)                               \
  X(cuGetErrorName)                       \
  X(cuDeviceGetCount)                     \
  X(cuDeviceGet)                          \
  X(cuDeviceGetName)                      \
  X(cuDeviceGetAttribute)                 \
  X(cuDevicePrimaryCtxRetain)             \
  X(cuDevicePrimaryCtxRelease)            \
  X(cuCtxPushCurrent)                     \
  X(cuCtxPopCurrent)                      \
  X(cuMemAlloc)                           \
  X(cuMemFree)                            \
  X(cuMemcpyHtoD)                         \
  X(cuMemcpyDtoH)                         \
  X(cuMemcpyDtoD)                         \
  X(cuMemsetD8)                           \
  X(cuStreamCreate)                       \
  X(cuStreamDestroy)                      \
  X(cuStreamSynchronize)

struct DriverFunctions {
#define EDGE_LLM_DECLARE(function) decltype(&::function) function;
  EDGE_LLM_HOST_DRIVER_FUNCTIONS(EDGE_LLM_DECLARE)
#undef EDGE_LLM_DECLARE
};

namespace {

DriverFunctions load_driver(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw CudaError(std::string("no CUDA driver: ") + dlerror() +
                    "; install the NVIDIA driver, or use device=\"emulator\"");
  }
  DriverFunctions driver;
#define EDGE_LLM_NAME(function) #function
#define EDGE_LLM_RESOLVE(function)                                                          \
  driver.function =                                                                         \
      reinterpret_cast<decltype(driver.function)>(dlsym(library, EDGE_LLM_NAME(function))); \
  if (driver.function == nullptr) throw CudaError(path + " has no " EDGE_LLM_NAME(function));
  EDGE_LLM_HOST_DRIVER_FUNCTIONS(EDGE_LLM_RESOLVE)
#undef EDGE_LLM_RESOLVE
#undef EDGE_LLM_NAME
  return driver;
}

void check_cuda(const DriverFunctions& driver, CUresult result, const char* action) {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  if (driver.cuGetErrorName(result, &name) != CUDA_SUCCESS) name = nullptr;
  throw CudaError(std::string(action) + ": " +
                  (name != nullptr ? name : "CUDA error " + std::to_string(result)));
}

const DriverFunctions& driver_at(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, DriverFunctions> drivers;
  const std::lock_guard<std::mutex> lock(mutex);
  auto found = drivers.find(path);
  if (found == drivers.end()) {
    const DriverFunctions driver = load_driver(path);
    check_cuda(driver, driver.cuInit(0), ("cuInit of " + path).c_str());
    found = drivers.emplace(path, driver).first;
  }
  return found->second;
}

}  // namespace

int device_count(const std::string& driver_path) {
  const DriverFunctions& driver = driver_at(driver_path);
  int count = 0;
  check_cuda(driver, driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
  return count;
}

CudaDevice::CudaDevice(const std::string& driver_path, int ordinal)
    : driver_(driver_at(driver_path)) {
  check(driver_.cuDeviceGet(&device_, ordinal), "cuDeviceGet");
  char name[256] = {};
  check(driver_.cuDeviceGetName(name, sizeof(name) - 1, device_), "cuDeviceGetName");
  name_ = name;
  const auto attribute = [this](CUdevice_attribute which) {
    int value = 0;
    check(driver_.cuDeviceGetAttribute(&value, which, device_), "cuDeviceGetAttribute");
    return value;
  };
  sm_ = 10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) +
        attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  sm_count_ = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  check(driver_.cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain");
}

// Destructors ignore results: nothing can be done about a failure, and at the end of the process
// the driver may already be gone.
CudaDevice::~CudaDevice() { driver_.cuDevicePrimaryCtxRelease(device_); }

void CudaDevice::check(CUresult result, const char* action) const {
  check_cuda(driver_, result, action);
}

CurrentDevice::CurrentDevice(const CudaDevice& device) : device_(device) {
  device.check(device.driver_.cuCtxPushCurrent(device.context_), "cuCtxPushCurrent");
}

CurrentDevice::~CurrentDevice() {
  CUcontext popped = nullptr;
  device_.driver_.cuCtxPopCurrent(&popped);
}

DeviceBuffer::DeviceBuffer(std::shared_ptr<CudaDevice> device, size_t size)
    : device_(std::move(device)), size_(size) {
  const CurrentDevice current(*device_);
  // The driver refuses empty allocations, and an empty tensor still needs an address.
  device_->check(device_->driver_.cuMemAlloc(&address_, size > 0 ? size : 1), "cuMemAlloc");
}

DeviceBuffer::~DeviceBuffer() {
  try {
    const CurrentDevice current(*device_);
    device_->driver_.cuMemFree(address_);
  } catch (const CudaError&) {
  }
}

void DeviceBuffer::check_range(size_t offset, size_t size) const {
  if (offset > size_ || size > size_ - offset) {
    throw std::out_of_range("bytes " + std::to_string(offset) + " to " +
                            std::to_string(offset + size) + " of a device buffer of " +
                            std::to_string(size_));
  }
}

void DeviceBuffer::fill(unsigned char value) {
  if (size_ == 0) return;
  const CurrentDevice current(*device_);
  device_->check(device_->driver_.cuMemsetD8(address_, value, size_), "cuMemsetD8");
}

void DeviceBuffer::write(size_t offset, const void* bytes, size_t size) {
  check_range(offset, size);
  if (size == 0) return;
  const CurrentDevice current(*device_);
  device_->check(device_->driver_.cuMemcpyHtoD(address_ + offset, bytes, size), "cuMemcpyHtoD");
}

void DeviceBuffer::read(size_t offset, void* bytes, size_t size) const {
  check_range(offset, size);
  if (size == 0) return;
  const CurrentDevice current(*device_);
  device_->check(device_->driver_.cuMemcpyDtoH(bytes, address_ + offset, size), "cuMemcpyDtoH");
}

void DeviceBuffer::copy_pieces(size_t destination, size_t source, size_t size, size_t pitch,
                               size_t rows) {
  if (size == 0 || rows == 0) return;
  check_range((rows - 1) * pitch + destination, size);
  check_range((rows - 1) * pitch + source, size);
  const CurrentDevice current(*device_);
  for (size_t row = 0; row < rows; ++row) {
    const CUdeviceptr start = address_ + row * pitch;
    device_->check(device_->driver_.cuMemcpyDtoD(start + destination, start + source, size),
                   "cuMemcpyDtoD");
  }
}

Stream::Stream(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {
  const CurrentDevice current(*device_);
  device_->check(device_->driver_.cuStreamCreate(&stream_, CU_STREAM_DEFAULT), "cuStreamCreate");
}

Stream::~Stream() {
  try {
    const CurrentDevice current(*device_);
    device_->driver_.cuStreamDestroy(stream_);
  } catch (const CudaError&) {
  }
}

void Stream::synchronize() {
  const CurrentDevice current(*device_);
  device_->check(device_->driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize");
}

}  // namespace edge_llm::host
