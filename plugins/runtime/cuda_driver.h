// The CUDA driver, resolved at run time: the library links no CUDA, and a machine without a GPU can
// load it, build plugins and plan.
#pragma once

#include <cuda.h>

#include <string>

#include "plugins/runtime/status.h"

namespace edge_llm {

// Every driver function that the library calls. cuda.h may rename one (cuMemAlloc is
// cuMemAlloc_v2); member and symbol follow, because both are made from the expanded name.
#define EDGE_LLM_CUDA_DRIVER_FUNCTIONS(X) \
  X(cuInit)                               \
  X(cuGetErrorName)                       \
  X(cuCtxGetDevice)                       \
  X(cuDeviceGetAttribute)                 \
  X(cuLibraryLoadData)                    \
  X(cuLibraryGetKernel)                   \
  X(cuKernelSetAttribute)                 \
  X(cuKernelGetFunction)                  \
  X(cuMemcpyDtoDAsync)                    \
  X(cuLaunchKernelEx)

// Function table: driver.cuLaunchKernelEx(...). All members are set.
struct CudaDriver {
#define EDGE_LLM_DECLARE(function) decltype(&::function) function;
  EDGE_LLM_CUDA_DRIVER_FUNCTIONS(EDGE_LLM_DECLARE)
#undef EDGE_LLM_DECLARE
  std::string path;  // of the library that the functions come from
};

// The driver of this process: the path given to set_cuda_driver(), else the one in
// EDGE_LLM_PLUGINS_CUDA_DRIVER, else libcuda.so.1. Resolved and initialised by the first call that
// succeeds and kept for good; a failed call throws and leaves nothing behind. Thread-safe.
const CudaDriver& cuda_driver();

// Names the driver library of this process. Throws when another one is already in use.
void set_cuda_driver(const std::string& path);

// Throws "<action>: <CUDA error name>" unless result is CUDA_SUCCESS.
void check_cuda(const CudaDriver& driver, CUresult result, const std::string& action);

}  // namespace edge_llm
