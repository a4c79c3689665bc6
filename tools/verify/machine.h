// What a machine has for the plugins: driver and TensorRT. Nothing is linked; both are looked up.
#pragma once

#include <string>
#include <vector>

namespace edge_llm::verify {

struct TensorRt {
  std::string library;  // libnvinfer.so.10
  int major, minor, patch;

  std::string text() const;  // "10.3.0 (libnvinfer.so.10)"
  bool is_supported() const;
};

// Those that the loader finds.
std::vector<TensorRt> find_tensorrts();

// The library of the CUDA driver: that of EDGE_LLM_PLUGINS_CUDA_DRIVER, else libcuda.so.1.
std::string driver_path();

struct CudaVersion {
  int major, minor;

  std::string text() const;  // "12.6"
};

// Reads "12.6"; throws VerifyError.
CudaVersion cuda_version_of(const std::string& text);

// The newest CUDA release that a driver serves. Throws VerifyError where there is no driver.
CudaVersion driver_version(const std::string& path);

}  // namespace edge_llm::verify
