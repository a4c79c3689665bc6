// Eight threads, each with plugins of its own as TensorRT's execution contexts have them, compute
// at once on the emulator and get the bits that one thread gets alone.
#include <cuda.h>

#include <memory>
#include <thread>
#include <vector>

#include "plugins/testing/device_calls.h"

namespace edge_llm::testing {
namespace {

constexpr int kThreads = 8;
constexpr int kStreams = 4;
constexpr int kEngines = 2;

using Plugins = std::vector<std::unique_ptr<Plugin>>;

// The plugins of an engine that was stored and loaded. They are never attached themselves.
Plugins engine(const Interface& layout) {
  Plugins plugins;
  for (const Fields& fields : fields_of_device_calls()) {
    plugins.push_back(layout.create(fields)->stored_and_restored());
    ASSERT_TRUE(plugins.back() != nullptr);
  }
  return plugins;
}

// An execution context of the engine makes all calls on the current device. What each gave.
std::vector<Bytes> run(const Plugins& engine, CUstream stream) {
  Plugins context;
  for (const auto& plugin : engine) {
    context.push_back(plugin->clone());
    ASSERT_TRUE(context.back() != nullptr && context.back()->attach());
  }
  std::vector<Bytes> results;
  for (const DeviceCall& call : device_calls()) {
    Plugin& plugin = *context[call.plugin];
    const CallBuffers buffers(call, plugin.workspace(call.tensors));
    buffers.reset();
    ASSERT_EQ(plugin.enqueue(call.tensors, buffers.pointers(stream)), 0);
    CUDA(cuStreamSynchronize, stream);
    results.push_back(buffers.results());
  }
  return results;
}

void expect_same(const std::vector<Bytes>& results, const std::vector<Bytes>& alone) {
  ASSERT_EQ(results.size(), alone.size());
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(device_calls()[i].name + (results[i] == alone[i] ? "" : " differs"),
              device_calls()[i].name);
  }
}

// Runs body(0) to body(kThreads - 1) at once.
template <typename Body>
void at_once(Body body) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([thread, &body] {
      try {
        body(thread);
      } catch (const ::testing::TestEnded&) {
        // The failure is recorded; the other threads go on.
      } catch (const std::exception& error) {
        ::testing::fail(__FILE__, __LINE__, error.what());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// The blocks of each launch in its own thread, unchecked: kernels are tested elsewhere.
std::vector<int> devices() {
  symbol<int (*)(int)>(kEmulator, "ptx_emulator_set_threads")(1);
  symbol<int (*)(const char*)>(kEmulator, "ptx_emulator_set_checks")("none");
  return served_devices();
}

}  // namespace

// Alone comes last: so the threads load the kernels, at once as well.
TEST(TwoEnginesOnFourStreamsComputeAtOnce) {
  const int device = devices()[0];
  use_device(device);
  const std::vector<Interface> layouts = all_interfaces(kLibrary);
  const Plugins engines[kEngines] = {engine(layouts[0]), engine(layouts[3])};  // V2 and V3
  CUstream streams[kStreams];
  for (CUstream& stream : streams) CUDA(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
  std::vector<Bytes> results[kThreads];
  at_once([&](int thread) {
    use_device(device);
    results[thread] = run(engines[thread % kEngines], streams[thread / kEngines % kStreams]);
  });
  for (CUstream stream : streams) CUDA(cuStreamDestroy, stream);
  const std::vector<Bytes> alone = run(engines[0], nullptr);
  for (const std::vector<Bytes>& of_thread : results) expect_same(of_thread, alone);
}

TEST(EightThreadsOnAllDevicesAndInAllLayoutsComputeAtOnce) {
  const std::vector<int> served = devices();
  const std::vector<Interface> layouts = all_interfaces(kLibrary);
  std::vector<Bytes> results[kThreads];
  at_once([&](int thread) {
    use_device(served[thread % served.size()]);
    results[thread] = run(engine(layouts[thread % layouts.size()]), nullptr);
  });
  for (size_t thread = 0; thread < kThreads; ++thread) {
    use_device(served[thread % served.size()]);
    expect_same(results[thread], run(engine(layouts[0]), nullptr));
  }
}

}  // namespace edge_llm::testing
