// What tests on the emulator share: driver calls, device memory, and f16 values as bits.
#pragma once

#include <cuda.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "plugins/testing/plugin_driver.h"
#include "tools/testing/testing.h"

namespace edge_llm::testing {

inline constexpr char kLibrary[] = "plugins/libedge_llm_plugins_ptx.so";
inline constexpr char kEmulator[] = "tools/ptx_emulator/libptx_emulator_cuda.so";

#define EDGE_LLM_STRING(text) #text
#define EDGE_LLM_EXPANDED(text) EDGE_LLM_STRING(text)
// Calls a driver function by the name that cuda.h gives it.
#define CUDA(function, ...)                                                                   \
  ASSERT_EQ(symbol<decltype(&function)>(kEmulator, EDGE_LLM_EXPANDED(function))(__VA_ARGS__), \
            CUDA_SUCCESS)

// Has the library use the emulator. Returns the number of its devices, one per SM.
inline int use_emulator() {
  const auto set = symbol<int (*)(const char*)>(kLibrary, "edge_llm_plugins_set_cuda_driver");
  ASSERT_EQ(set(kEmulator), 0);
  CUDA(cuInit, 0);
  int devices = 0;
  CUDA(cuDeviceGetCount, &devices);
  ASSERT_TRUE(devices > 0);
  return devices;
}

// Makes the context of a device current in this thread.
inline void use_device(int ordinal) {
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUDA(cuDeviceGet, &device, ordinal);
  CUDA(cuDevicePrimaryCtxRetain, &context, device);
  CUDA(cuCtxSetCurrent, context);
}

// Device memory that holds `count` values; freed with the object.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : count_(values.size()) {
    if (count_ == 0) return;
    CUDA(cuMemAlloc, &address_, count_ * sizeof(T));
    CUDA(cuMemcpyHtoD, address_, values.data(), count_ * sizeof(T));
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() {
    if (address_ != 0)
      symbol<decltype(&cuMemFree)>(kEmulator, EDGE_LLM_EXPANDED(cuMemFree))(address_);
  }

  void* pointer() const { return reinterpret_cast<void*>(address_); }
  size_t size() const { return count_; }
  void write(const std::vector<T>& values) const {
    ASSERT_EQ(values.size(), count_);
    if (count_ > 0) CUDA(cuMemcpyHtoD, address_, values.data(), count_ * sizeof(T));
  }
  std::vector<T> values() const {
    std::vector<T> values(count_);
    if (count_ > 0) CUDA(cuMemcpyDtoH, values.data(), address_, count_ * sizeof(T));
    return values;
  }

 private:
  size_t count_;
  CUdeviceptr address_ = 0;
};

// The f16 of a whole number up to 2048, as bits.
inline uint16_t half_of(int number) {
  if (number == 0) return 0;
  int exponent = 0;
  while (number >> (exponent + 1) != 0) ++exponent;
  const int significand = number * (1 << 10) >> exponent;
  return static_cast<uint16_t>((exponent + 15) << 10 | (significand & 1023));
}

// The number that a finite f16 stands for.
inline double value_of(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int significand = (half & 1023) | (exponent == 0 ? 0 : 1024);
  const double magnitude = std::ldexp(significand, (exponent == 0 ? 1 : exponent) - 25);
  return half >> 15 ? -magnitude : magnitude;
}

}  // namespace edge_llm::testing
