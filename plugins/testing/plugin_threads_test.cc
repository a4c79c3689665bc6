// Eight threads, each with its own device of another SM, stream and plugins, compute at once on the
// emulator and get what each of them gets alone.
#include <cuda.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "plugins/testing/int4_call.h"
#include "tools/testing/testing.h"

namespace edge_llm::testing {
namespace {

constexpr char kLibrary[] = "plugins/libedge_llm_plugins_ptx.so";
constexpr char kEmulator[] = "tools/ptx_emulator/libptx_emulator_cuda.so";

constexpr int kThreads = 8;
constexpr int kN = 8, kK = 192;  // of int4_fields()

#define EDGE_LLM_STRING(text) #text
#define EDGE_LLM_EXPANDED(text) EDGE_LLM_STRING(text)
// Calls a driver function by the name that cuda.h gives it.
#define CUDA(function, ...)                                                                   \
  ASSERT_EQ(symbol<decltype(&function)>(kEmulator, EDGE_LLM_EXPANDED(function))(__VA_ARGS__), \
            CUDA_SUCCESS)

uint16_t half_of(int small_integer) {
  const uint16_t halves[] = {0x0000, 0x3c00, 0x4000};  // 0, 1, 2
  return halves[small_integer];
}

double value_of(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const double significand = 1024 + (half & 1023);
  return half == 0 ? 0 : significand * std::ldexp(1.0, exponent - 25);
}

int x_at(int row, int column) { return (row + column) % 3; }

template <typename T>
void* to_device(const std::vector<T>& values) {
  CUdeviceptr address = 0;
  CUDA(cuMemAlloc, &address, values.size() * sizeof(T));
  CUDA(cuMemcpyHtoD, address, values.data(), values.size() * sizeof(T));
  return reinterpret_cast<void*>(address);
}

// Computes y for rows of x on the current device with a plugin of one layout, where all weights are
// 1, so that each channel of y is the sum of its row of x.
void run(const Interface& layout, int rows) {
  std::vector<uint16_t> x(rows * kK), scales(2 * kN, half_of(1)), y(rows * kN);
  for (int i = 0; i < rows * kK; ++i) x[i] = half_of(x_at(i / kK, i % kK));
  const std::vector<uint8_t> weights(kN / 2 * kK, 0x99);  // two of u = 9: 9 - 8 = 1

  CUstream stream = nullptr;
  CUDA(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
  auto original = layout.create(int4_fields());
  ASSERT_TRUE(original != nullptr && original->attach());
  const auto plugin = original->clone();
  original.reset();

  const Tensors shapes = int4_tensors(1, rows);
  const std::vector<char> workspace(plugin->workspace(shapes) + 1);
  Pointers pointers = int4_pointers();
  pointers.inputs = {to_device(x), to_device(weights), to_device(scales)};
  pointers.outputs = {to_device(y)};
  pointers.workspace = to_device(workspace);
  pointers.stream = stream;
  ASSERT_EQ(plugin->enqueue(shapes, pointers), 0);
  CUDA(cuStreamSynchronize, stream);
  CUDA(cuMemcpyDtoH, y.data(), reinterpret_cast<CUdeviceptr>(pointers.outputs[0]),
       y.size() * sizeof(y[0]));
  for (int i = 0; i < rows * kN; ++i) {
    int sum = 0;
    for (int column = 0; column < kK; ++column) sum += x_at(i / kN, column);
    ASSERT_EQ(value_of(y[i]), sum);
  }
  for (const void* p : {pointers.inputs[0], pointers.inputs[1], pointers.inputs[2],
                        static_cast<const void*>(pointers.outputs[0]),
                        static_cast<const void*>(pointers.workspace)}) {
    CUDA(cuMemFree, reinterpret_cast<CUdeviceptr>(p));
  }
  CUDA(cuStreamDestroy, stream);
}

void use_device(int ordinal) {
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUDA(cuDeviceGet, &device, ordinal);
  CUDA(cuDevicePrimaryCtxRetain, &context, device);
  CUDA(cuCtxSetCurrent, context);
}

}  // namespace

TEST(EightThreadsOnEightDevicesComputeAtOnce) {
  ASSERT_EQ(symbol<int (*)(const char*)>(kLibrary, "edge_llm_plugins_set_cuda_driver")(kEmulator),
            0);
  CUDA(cuInit, 0);
  int devices = 0;
  CUDA(cuDeviceGetCount, &devices);
  ASSERT_TRUE(devices > 0);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([=] {
      try {
        use_device(thread % devices);
        for (const Interface& layout : all_interfaces(kLibrary)) run(layout, 1 + 5 * thread);
      } catch (const ::testing::TestEnded&) {
        // The failure is recorded; the other threads go on.
      } catch (const std::exception& error) {
        ::testing::fail(__FILE__, __LINE__, error.what());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace edge_llm::testing
