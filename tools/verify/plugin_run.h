// Runs one call of a plugin on a device, as TensorRT does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "python/bindings/cuda_device.h"
#include "python/bindings/plugin_library.h"
#include "tools/verify/problem.h"

namespace edge_llm::verify {

// The bytes of the outputs. Throws CudaError or PluginError.
std::vector<Bytes> run_plugin(const Call& call, const host::PluginLibrary& library,
                              const std::string& plugin_version,
                              const std::shared_ptr<host::CudaDevice>& device);

}  // namespace edge_llm::verify
