// Eight threads, each with its own stream and plugins, compute at once on the emulator's devices of
// all SMs of the build and get what each of them gets alone.
#include <cuda.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "plugins/testing/emulator_fixture.h"
#include "plugins/testing/int4_call.h"

namespace edge_llm::testing {
namespace {

constexpr int kThreads = 8;
constexpr int kN = 8, kK = 192;  // of int4_fields()

int x_at(int row, int column) { return (row + column) % 3; }

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
  const DeviceArray device_x(x), device_scales(scales), device_y(y);
  const DeviceArray device_weights(weights);
  const DeviceArray device_workspace(workspace);
  Pointers pointers = int4_pointers();
  pointers.inputs = {device_x.pointer(), device_weights.pointer(), device_scales.pointer()};
  pointers.outputs = {device_y.pointer()};
  pointers.workspace = device_workspace.pointer();
  pointers.stream = stream;
  ASSERT_EQ(plugin->enqueue(shapes, pointers), 0);
  CUDA(cuStreamSynchronize, stream);
  y = device_y.values();
  for (int i = 0; i < rows * kN; ++i) {
    int sum = 0;
    for (int column = 0; column < kK; ++column) sum += x_at(i / kN, column);
    ASSERT_EQ(value_of(y[i]), sum);
  }
  CUDA(cuStreamDestroy, stream);
}

// The devices whose SM this build has kernels for.
std::vector<int> served_devices() {
  std::vector<int> served;
  const int devices = use_emulator();
  for (int device = 0; device < devices; ++device) {
    use_device(device);
    if (all_interfaces(kLibrary)[0].create(int4_fields())->attach()) served.push_back(device);
  }
  ASSERT_TRUE(!served.empty());
  return served;
}

}  // namespace

TEST(EightThreadsOnAllDevicesComputeAtOnce) {
  const std::vector<int> devices = served_devices();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([=] {
      try {
        use_device(devices[thread % devices.size()]);
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
