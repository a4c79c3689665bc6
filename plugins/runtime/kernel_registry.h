// Finds and loads the embedded kernel images of an operation.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/runtime/cuda_driver.h"
#include "plugins/runtime/kernel_image.h"

namespace edge_llm {

// What a launch plan may depend on, apart from shapes.
struct DeviceFacts {
  int sm = 0;        // compute capability, major * 10 + minor
  int sm_count = 0;  // multiprocessors
};

// Facts of the device of the calling thread's current CUDA context; throws when there is none.
DeviceFacts current_device_facts(const CudaDriver& driver);

// One kernel that an operation needs.
struct KernelRequest {
  std::string name;      // variant name, without "_sm<NN>"
  int64_t shared_bytes;  // dynamic shared memory of its launches, bytes
};

// Loaded kernels of one operation: plain handles, valid in every context of the process until it
// ends, so copies are free to make and safe to use from several threads.
class KernelSet {
 public:
  // The kernel of a variant; throws when the operation did not request it.
  CUkernel kernel(std::string_view name) const;

  void add(std::string name, CUkernel kernel) { kernels_.emplace_back(std::move(name), kernel); }

 private:
  std::vector<std::pair<std::string, CUkernel>> kernels_;
};

// Picks the image of variant `name` for a device of `sm`: a cubin of exactly that SM, else PTX of
// exactly that SM, else, for an SM newer than every image, the newest PTX. Otherwise throws,
// naming the SM and those of the build. `images` ends with a null symbol. Pure.
const KernelImage& select_image(const KernelImage* images, std::string_view name, int sm);

// Loads the requested kernels from edge_llm_kernel_images for the current device. An image is
// loaded once per process, whoever asks. Thread-safe. Throws and logs as select_image does.
KernelSet load_kernels(const CudaDriver& driver, const std::vector<KernelRequest>& requests);

}  // namespace edge_llm
