// The TensorRT that called, or that this process has loaded. Nothing is linked: it is found at run
// time, and there may be several, or none.
#pragma once

namespace edge_llm {

// A TensorRT library of this process.
struct TensorRtHost {
  int major = 0;  // 0: unknown, or no TensorRT at all
  void* library =
      nullptr;  // handle for dlsym, never closed, so that the library stays; may be null
};

// The library that contains the code at `return_address`. TensorRT-RTX counts its own majors.
TensorRtHost tensorrt_at(const void* return_address);

// The first libnvinfer (or its lean and dispatch variants) that the process has loaded.
TensorRtHost loaded_tensorrt();

}  // namespace edge_llm
