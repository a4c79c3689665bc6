// Calls of both plugins that take every path to the device, with random tensors: tests run them on
// several threads, and with driver calls that fail.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plugins/testing/emulator_fixture.h"
#include "plugins/testing/plugin_driver.h"

namespace edge_llm::testing {

using Bytes = std::vector<char>;

struct DeviceCall {
  std::string name;
  size_t plugin;                 // index into fields_of_device_calls()
  Tensors tensors;               // inputs, then outputs
  std::vector<Bytes> inputs;     // what each input holds before the call
  bool in_place = false;         // attention: the output cache is the input cache
  std::string variant;           // kernel that the plan takes, as its name begins
  std::vector<int64_t> problem;  // arguments of the library's ..._variant function before sm
};

// The plugins of the calls: INT4 GEMM, attention without and with the tree flag.
const std::vector<Fields>& fields_of_device_calls();

// GEMV and GEMM with split k, prefill, chunked prefill with a split KV range, decode in place and
// on a copy of the cache, tree decode.
const std::vector<DeviceCall>& device_calls();

// The plan of a call on a device, "<variant> splits=<count>".
std::string plan_of(const DeviceCall& call, int sm, int sm_count);

// The emulator's devices whose SM the library has kernels for. Leaves one of them current.
std::vector<int> served_devices();

// The device memory of one call.
class CallBuffers {
 public:
  CallBuffers(const DeviceCall& call, size_t workspace_bytes);

  // Writes the inputs, and a pattern to everything else.
  void reset() const;
  Pointers pointers(CUstream stream) const;
  // The bits of all outputs.
  Bytes results() const;

 private:
  const DeviceCall& call_;
  std::vector<std::unique_ptr<DeviceArray<char>>> tensors_;  // of call_.tensors; null: in place
  DeviceArray<char> workspace_;
};

}  // namespace edge_llm::testing
