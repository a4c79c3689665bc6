#include "plugins/runtime/kernel_registry.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "plugins/runtime/log.h"

namespace edge_llm {
namespace {

// Each is null until the driver gave it. A library without its kernel stays for the next try: to
// unload it may fail too, as on a device that is lost.
struct LoadedImage {
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
};

struct LoadedImages {
  std::mutex mutex;
  std::map<const KernelImage*, LoadedImage> images;  // guarded by mutex
};

// Never destroyed: another thread may launch while the process exits.
LoadedImages& loaded_images() {
  static auto* images = new LoadedImages;
  return *images;
}

int device_attribute(const CudaDriver& driver, CUdevice_attribute attribute, CUdevice device) {
  int value = 0;
  check_cuda(driver, driver.cuDeviceGetAttribute(&value, attribute, device),
             "cuDeviceGetAttribute");
  return value;
}

CUdevice current_device(const CudaDriver& driver) {
  CUdevice device = 0;
  check_cuda(driver, driver.cuCtxGetDevice(&device),
             "cuCtxGetDevice: the calling thread needs a current CUDA context");
  return device;
}

DeviceFacts device_facts(const CudaDriver& driver, CUdevice device) {
  const int major = device_attribute(driver, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
  const int minor = device_attribute(driver, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
  return {major * 10 + minor,
          device_attribute(driver, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device)};
}

bool is_image_of(const KernelImage& image, std::string_view name) {
  return image.symbol == concat(name, "_sm", image.sm);
}

std::string sm_list(const std::vector<const KernelImage*>& images) {
  std::set<int64_t> sms;
  for (const KernelImage* image : images) sms.insert(image->sm);
  std::string list;
  for (int64_t sm : sms) list += concat(list.empty() ? "" : ", ", sm);
  return list;
}

CUlibrary load_library(const CudaDriver& driver, const KernelImage& image, int sm) {
  if (image.sm != sm) {
    log(LogLevel::kInfo, concat("SM", sm, " is newer than this build: the driver compiles ",
                                image.symbol, " from its PTX")
                             .c_str());
  }
  CUlibrary library = nullptr;
  check_cuda(
      driver,
      driver.cuLibraryLoadData(&library, image.data, nullptr, nullptr, 0, nullptr, nullptr, 0),
      concat("cannot load the image of ", image.symbol, " with ", driver.path));
  return library;
}

CUkernel kernel_of(const CudaDriver& driver, CUlibrary library, const char* symbol) {
  CUkernel kernel = nullptr;
  check_cuda(driver, driver.cuLibraryGetKernel(&kernel, library, symbol),
             concat("the image of ", symbol, " lacks its kernel"));
  return kernel;
}

CUkernel load_image_once(const CudaDriver& driver, const KernelImage& image, int sm) {
  LoadedImages& loaded = loaded_images();
  std::lock_guard<std::mutex> lock(loaded.mutex);
  auto& [library, kernel] = loaded.images[&image];
  if (library == nullptr) library = load_library(driver, image, sm);
  if (kernel == nullptr) kernel = kernel_of(driver, library, image.symbol);
  return kernel;
}

}  // namespace

DeviceFacts current_device_facts(const CudaDriver& driver) {
  return device_facts(driver, current_device(driver));
}

CUkernel KernelSet::kernel(std::string_view name) const {
  for (const auto& [known, kernel] : kernels_) {
    if (known == name) return kernel;
  }
  fail("kernel ", name, " was not loaded with this operation");
}

const KernelImage& select_image(const KernelImage* images, std::string_view name, int sm) {
  std::vector<const KernelImage*> candidates;
  for (const KernelImage* image = images; image->symbol != nullptr; ++image) {
    if (is_image_of(*image, name)) candidates.push_back(image);
  }
  if (candidates.empty()) fail("this library carries no kernel ", name);

  // Cubins before PTX, and the newest first.
  std::sort(candidates.begin(), candidates.end(), [](const auto* a, const auto* b) {
    return std::pair(a->format, -a->sm) < std::pair(b->format, -b->sm);
  });
  for (const KernelImage* image : candidates) {
    if (image->sm == sm) return *image;
  }
  const bool newer_than_all = std::all_of(candidates.begin(), candidates.end(),
                                          [&](const auto* image) { return image->sm < sm; });
  for (const KernelImage* image : candidates) {
    if (newer_than_all && image->format == kPtx) return *image;
  }
  fail("SM", sm, " is not supported by this build of ", name, ": it has SM ", sm_list(candidates),
       "; build the library with SM", sm, " in its list");
}

KernelSet load_kernels(const CudaDriver& driver, const std::vector<KernelRequest>& requests) {
  const CUdevice device = current_device(driver);
  const DeviceFacts facts = device_facts(driver, device);
  KernelSet set;
  for (const KernelRequest& request : requests) {
    const KernelImage& image = select_image(edge_llm_kernel_images, request.name, facts.sm);
    const CUkernel kernel = load_image_once(driver, image, facts.sm);
    check_cuda(driver,
               driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                           static_cast<int>(request.shared_bytes), kernel, device),
               concat(image.symbol, ": ", request.shared_bytes,
                      " bytes of dynamic shared memory on SM", facts.sm));
    // The driver puts off copying code to the device until it is asked for; enqueue must not load.
    CUfunction function = nullptr;
    check_cuda(driver, driver.cuKernelGetFunction(&function, kernel), image.symbol);
    set.add(request.name, kernel);
  }
  return set;
}

}  // namespace edge_llm
