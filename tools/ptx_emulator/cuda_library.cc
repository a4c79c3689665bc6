// CUDA driver entry points: libraries, kernels and launches.
#include <cuda.h>

#include <cstring>
#include <thread>

#include "tools/ptx_emulator/driver.h"
#include "tools/ptx_emulator/export.h"
#include "tools/ptx_emulator/parser.h"

using ptx_emulator::DeviceFacts;
using ptx_emulator::devices;
using ptx_emulator::Driver;
using ptx_emulator::fail;
using ptx_emulator::guarded;
using ptx_emulator::Kernel;
using ptx_emulator::Launch;
using ptx_emulator::LaunchResult;
using ptx_emulator::Library;
using ptx_emulator::LoadedKernel;
using ptx_emulator::Module;
using ptx_emulator::Variable;

namespace {

constexpr uint64_t kDefaultInstructionLimit = uint64_t{1} << 28;

// A PTX image runs on its own SM and on newer ones; "sm_90a" runs on 90 alone.
bool runs_on(const Module& module, int sm) {
  if (module.target_suffix == 'a') return module.sm == sm;
  if (module.target_suffix == 'f') return module.sm / 10 == sm / 10 && module.sm <= sm;
  return module.sm <= sm;
}

CUresult wrong_target(const Module& module, int sm) {
  return fail(CUDA_ERROR_NO_BINARY_FOR_GPU, "the image is for " +
                                                ptx_emulator::target_name(module) +
                                                ", the device is sm_" + std::to_string(sm));
}

uint64_t place_variable(const Variable& variable) {
  ptx_emulator::DeviceMemory& memory = Driver::instance().memory;
  const uint64_t address =
      memory.allocate(/*device=*/-1, variable.bytes, /*track_writes=*/false, variable.name);
  if (address == 0) return 0;
  const auto lock = memory.lock_shared();
  uint8_t* const data = memory.find(address)->data;
  std::memset(data, 0, variable.bytes);
  std::memcpy(data, variable.initial.data(), variable.initial.size());
  return address;
}

// The JIT options through which a driver hands out its error log.
void fill_error_log(unsigned count, CUjit_option* options, void** values,
                    const std::string& message) {
  char* buffer = nullptr;
  size_t size = 0;
  for (unsigned i = 0; options != nullptr && values != nullptr && i < count; ++i) {
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER) buffer = static_cast<char*>(values[i]);
    if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) {
      size = static_cast<size_t>(reinterpret_cast<uintptr_t>(values[i])) & 0xffffffffu;
    }
  }
  if (buffer == nullptr || size == 0) return;
  std::strncpy(buffer, message.c_str(), size - 1);
  buffer[size - 1] = '\0';
}

// cubins (ELF) and fat binaries are machine code, which no emulator of PTX runs.
CUresult check_image(const void* code) {
  if (code == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "the image is null");
  const unsigned char* const bytes = static_cast<const unsigned char*>(code);
  const unsigned char elf[] = {0x7f, 'E', 'L', 'F'};
  const unsigned char fat_binary[] = {0x50, 0xed, 0x55, 0xba};
  for (const unsigned char* const magic : {elf, fat_binary}) {
    size_t same = 0;
    while (same < 4 && bytes[same] == magic[same]) ++same;
    if (same == 4) {
      return fail(CUDA_ERROR_NO_BINARY_FOR_GPU,
                  "the image is machine code; the emulator runs PTX: use the PTX library");
    }
  }
  const bool text = bytes[0] == '\t' || bytes[0] == '\n' || bytes[0] == '\r' ||
                    (bytes[0] >= 0x20 && bytes[0] < 0x7f);
  return text ? CUDA_SUCCESS : fail(CUDA_ERROR_INVALID_IMAGE, "the image is no PTX text");
}

// The kernel behind a handle, kept alive by `owner`; null where the handle is none.
LoadedKernel* find_kernel(const void* handle, std::shared_ptr<Library>* owner) {
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  const auto found = driver.kernels.find(static_cast<LoadedKernel*>(const_cast<void*>(handle)));
  if (found == driver.kernels.end()) return nullptr;
  *owner = found->second.lock();
  return *owner ? found->first : nullptr;
}

CUresult no_kernel() { return fail(CUDA_ERROR_INVALID_HANDLE, "this kernel does not exist"); }

// Needs the driver's mutex.
int dynamic_limit(const LoadedKernel& kernel, int device) {
  const auto found = kernel.dynamic_shared_limit.find(device);
  const int static_bytes = static_cast<int>(kernel.kernel->static_shared_bytes);
  return found == kernel.dynamic_shared_limit.end()
             ? ptx_emulator::kDefaultSharedLimit - static_bytes
             : found->second;
}

CUresult check_shape(const Kernel& kernel, const std::array<uint32_t, 3>& grid,
                     const std::array<uint32_t, 3>& block) {
  const auto show = [](const std::array<uint32_t, 3>& v) {
    return "(" + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " + std::to_string(v[2]) +
           ")";
  };
  const uint64_t threads = static_cast<uint64_t>(block[0]) * block[1] * block[2];
  const bool grid_fits = grid[0] >= 1 && grid[0] <= ptx_emulator::kMaxGridX && grid[1] >= 1 &&
                         grid[1] <= ptx_emulator::kMaxGridYZ && grid[2] >= 1 &&
                         grid[2] <= ptx_emulator::kMaxGridYZ;
  if (!grid_fits) return fail(CUDA_ERROR_INVALID_VALUE, "grid " + show(grid) + " is not allowed");
  const bool block_fits = block[0] >= 1 && block[0] <= ptx_emulator::kMaxThreads && block[1] >= 1 &&
                          block[1] <= ptx_emulator::kMaxThreads && block[2] >= 1 &&
                          block[2] <= ptx_emulator::kMaxBlockZ &&
                          threads <= ptx_emulator::kMaxThreads;
  if (!block_fits)
    return fail(CUDA_ERROR_INVALID_VALUE, "block " + show(block) + " is not allowed");
  if (threads > kernel.max_threads) {
    return fail(CUDA_ERROR_INVALID_VALUE, "block " + show(block) + " has more threads than the " +
                                              std::to_string(kernel.max_threads) +
                                              " that the kernel was compiled for");
  }
  return CUDA_SUCCESS;
}

// Copies the parameters from an array of pointers, or from one buffer in `extra`.
CUresult copy_parameters(const Kernel& kernel, void** parameters, void** extra,
                         std::vector<uint8_t>* bytes) {
  bytes->assign(kernel.parameter_bytes, 0);
  if (parameters != nullptr) {
    if (extra != nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "both kinds of parameters given");
    for (size_t i = 0; i < kernel.parameters.size(); ++i) {
      const ptx_emulator::Parameter& parameter = kernel.parameters[i];
      if (parameters[i] == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null parameter");
      std::memcpy(bytes->data() + parameter.offset, parameters[i], parameter.bytes);
    }
    return CUDA_SUCCESS;
  }
  if (extra == nullptr) {
    return kernel.parameters.empty() ? CUDA_SUCCESS
                                     : fail(CUDA_ERROR_INVALID_VALUE, "the parameters are missing");
  }
  const void* buffer = nullptr;
  size_t size = 0;
  for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
    if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) {
      buffer = extra[1];
    } else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[1] != nullptr) {
      size = *static_cast<const size_t*>(extra[1]);
    } else {
      return fail(CUDA_ERROR_INVALID_VALUE, "unknown launch parameter");
    }
  }
  if (buffer == nullptr || size != kernel.parameter_bytes) {
    return fail(CUDA_ERROR_INVALID_VALUE, std::to_string(size) +
                                              " parameter bytes, the kernel has " +
                                              std::to_string(kernel.parameter_bytes));
  }
  std::memcpy(bytes->data(), buffer, size);
  return CUDA_SUCCESS;
}

CUresult publish(LaunchResult& result) {
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  ++driver.launches;
  driver.counters.add(result.counters);
  ptx_emulator::add_opcodes(result.opcodes, &driver.opcodes);
  if (result.faults.empty()) return CUDA_SUCCESS;
  driver.faults.merge(result.faults);
  return fail(CUDA_ERROR_LAUNCH_FAILED, result.faults.to_json_lines());
}

CUresult launch(CUfunction function, const std::array<uint32_t, 3>& grid,
                const std::array<uint32_t, 3>& block, uint32_t dynamic_shared, CUstream stream,
                void** parameters, void** extra) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    std::shared_ptr<Library> owner;
    LoadedKernel* const loaded = find_kernel(function, &owner);
    if (loaded == nullptr) return no_kernel();
    Launch launch;
    if (const CUresult result = ptx_emulator::current_device(&launch.device)) return result;
    if (const CUresult result = ptx_emulator::require_stream(stream)) return result;
    const Kernel& kernel = *loaded->kernel;
    const DeviceFacts& facts = devices()[launch.device];
    if (!runs_on(owner->module, facts.sm)) return wrong_target(owner->module, facts.sm);
    if (const CUresult result = check_shape(kernel, grid, block)) return result;
    int limit = 0;
    {
      const std::lock_guard<std::mutex> lock(driver.mutex);
      limit = dynamic_limit(*loaded, launch.device);
    }
    const uint64_t shared = uint64_t{kernel.static_shared_bytes} + dynamic_shared;
    if (static_cast<int64_t>(dynamic_shared) > limit ||
        shared > static_cast<uint64_t>(facts.shared_per_block)) {
      return fail(CUDA_ERROR_INVALID_VALUE,
                  std::to_string(dynamic_shared) + " bytes of dynamic shared memory, allowed are " +
                      std::to_string(limit) + " (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)");
    }
    if (const CUresult result = copy_parameters(kernel, parameters, extra, &launch.parameters)) {
      return result;
    }
    launch.kernel = &kernel;
    launch.memory = &driver.memory;
    launch.grid = grid;
    launch.block = block;
    launch.shared_bytes = static_cast<uint32_t>(shared);
    launch.checks = driver.settings.checks;
    launch.seed = driver.settings.seed;
    const uint64_t instruction_limit = driver.settings.instruction_limit;
    launch.instruction_limit =
        instruction_limit == 0 ? kDefaultInstructionLimit : instruction_limit;
    int threads = driver.settings.threads;
    if (threads == 0) threads = static_cast<int>(std::thread::hardware_concurrency());
    const auto lock = driver.memory.lock_shared();  // nothing is freed while the kernel runs
    LaunchResult result = run_launch(launch, threads);
    return publish(result);
  });
}

}  // namespace

extern "C" {

PTX_EMULATOR_EXPORT CUresult cuLibraryLoadData(CUlibrary* library, const void* code,
                                               CUjit_option* jit_options, void** jit_values,
                                               unsigned jit_count, CUlibraryOption*, void**,
                                               unsigned) {
  return guarded([&] {
    if (library == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    if (const CUresult result = check_image(code)) return result;
    auto loaded = std::make_shared<Library>();
    try {
      ptx_emulator::parse_module(static_cast<const char*>(code), place_variable, loaded->module);
    } catch (const ptx_emulator::PtxError& error) {
      fill_error_log(jit_count, jit_options, jit_values, error.what());
      return fail(CUDA_ERROR_INVALID_PTX, error.what());
    }
    // Without a context the image is taken as it is, and its target checked at the launch.
    int device = 0;
    if (!ptx_emulator::context_stack().empty() &&
        ptx_emulator::current_device(&device) == CUDA_SUCCESS &&
        !runs_on(loaded->module, devices()[device].sm)) {
      return wrong_target(loaded->module, devices()[device].sm);
    }
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    for (const auto& [name, kernel] : loaded->module.kernels) {
      auto handle = std::make_unique<LoadedKernel>();
      handle->kernel = &kernel;
      driver.kernels.emplace(handle.get(), loaded);
      loaded->kernels.emplace(name, std::move(handle));
    }
    *library = reinterpret_cast<CUlibrary>(loaded.get());
    driver.libraries.emplace(loaded.get(), std::move(loaded));
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuLibraryUnload(CUlibrary handle) {
  return guarded([&] {
    Driver& driver = Driver::instance();
    std::shared_ptr<Library> unloaded;  // destroyed after the lock: a launch may still hold it
    const std::lock_guard<std::mutex> lock(driver.mutex);
    const auto found = driver.libraries.find(reinterpret_cast<Library*>(handle));
    if (found == driver.libraries.end()) {
      return fail(CUDA_ERROR_INVALID_HANDLE, "this library does not exist");
    }
    unloaded = std::move(found->second);
    driver.libraries.erase(found);
    for (const auto& [name, kernel] : unloaded->kernels) driver.kernels.erase(kernel.get());
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary handle,
                                                const char* name) {
  return guarded([&] {
    if (kernel == nullptr || name == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    const auto library = driver.libraries.find(reinterpret_cast<Library*>(handle));
    if (library == driver.libraries.end()) {
      return fail(CUDA_ERROR_INVALID_HANDLE, "this library does not exist");
    }
    const auto found = library->second->kernels.find(name);
    if (found == library->second->kernels.end()) {
      return fail(CUDA_ERROR_NOT_FOUND, "the library has no kernel " + std::string(name));
    }
    *kernel = reinterpret_cast<CUkernel>(found->second.get());
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  return guarded([&] {
    if (function == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    std::shared_ptr<Library> owner;
    if (find_kernel(kernel, &owner) == nullptr) return no_kernel();
    int device = 0;
    if (const CUresult result = ptx_emulator::current_device(&device)) return result;
    const int sm = devices()[device].sm;
    if (!runs_on(owner->module, sm)) return wrong_target(owner->module, sm);
    *function = reinterpret_cast<CUfunction>(kernel);
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value,
                                                  CUkernel kernel, CUdevice device) {
  return guarded([&] {
    std::shared_ptr<Library> owner;
    LoadedKernel* const loaded = find_kernel(kernel, &owner);
    if (loaded == nullptr) return no_kernel();
    if (device < 0 || device >= static_cast<int>(devices().size())) {
      return fail(CUDA_ERROR_INVALID_DEVICE, "no such device");
    }
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
      return fail(CUDA_ERROR_INVALID_VALUE, "this attribute cannot be set");
    }
    const int most =
        devices()[device].shared_per_block - static_cast<int>(loaded->kernel->static_shared_bytes);
    if (value < 0 || value > most) {
      return fail(CUDA_ERROR_INVALID_VALUE, std::to_string(value) +
                                                " bytes of dynamic shared memory, the device has " +
                                                std::to_string(most) + " for this kernel");
    }
    Driver& driver = Driver::instance();
    const std::lock_guard<std::mutex> lock(driver.mutex);
    loaded->dynamic_shared_limit[device] = value;
    return CUDA_SUCCESS;
  });
}

PTX_EMULATOR_EXPORT CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute,
                                                  CUkernel kernel, CUdevice device) {
  return guarded([&] {
    if (value == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
    std::shared_ptr<Library> owner;
    LoadedKernel* const loaded = find_kernel(kernel, &owner);
    if (loaded == nullptr) return no_kernel();
    if (device < 0 || device >= static_cast<int>(devices().size())) {
      return fail(CUDA_ERROR_INVALID_DEVICE, "no such device");
    }
    switch (attribute) {
      case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = static_cast<int>(loaded->kernel->max_threads);
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = static_cast<int>(loaded->kernel->static_shared_bytes);
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = static_cast<int>(loaded->kernel->local_bytes);
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_PTX_VERSION:
      case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = owner->module.sm;
        return CUDA_SUCCESS;
      case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: {
        Driver& driver = Driver::instance();
        const std::lock_guard<std::mutex> lock(driver.mutex);
        *value = dynamic_limit(*loaded, device);
        return CUDA_SUCCESS;
      }
      default:
        return fail(CUDA_ERROR_INVALID_VALUE, "the emulator does not know this attribute");
    }
  });
}

PTX_EMULATOR_EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                            unsigned grid_z, unsigned block_x, unsigned block_y,
                                            unsigned block_z, unsigned shared_bytes,
                                            CUstream stream, void** parameters, void** extra) {
  return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes,
                stream, parameters, extra);
}

// Attributes (programmatic launch, priorities) change the order of a real GPU, not results:
// ignored, but clusters, which the emulator does not have, are refused.
PTX_EMULATOR_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function,
                                              void** parameters, void** extra) {
  if (config == nullptr) return fail(CUDA_ERROR_INVALID_VALUE, "null pointer");
  for (unsigned i = 0; config->attrs != nullptr && i < config->numAttrs; ++i) {
    if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
      return fail(CUDA_ERROR_NOT_SUPPORTED, "the emulator has no clusters");
    }
  }
  return launch(function, {config->gridDimX, config->gridDimY, config->gridDimZ},
                {config->blockDimX, config->blockDimY, config->blockDimZ}, config->sharedMemBytes,
                config->hStream, parameters, extra);
}

}  // extern "C"
