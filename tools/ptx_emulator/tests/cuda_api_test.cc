// The CUDA entry points: what they accept, what they refuse and that no argument crashes them.
#include <cuda.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tools/ptx_emulator/ptx_emulator.h"
#include "tools/testing/testing.h"

namespace {

// y[i] = x[i] + 1 for 32-bit integers; thread i of block 0 handles i.
const char* const kIncrement = R"(.version 7.0
.target sm_80
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.visible .entry increment(.param .u64 x, .param .u64 y, .param .u32 n)
.maxntid 256, 1, 1
{
.reg .pred %p;
.reg .b32 %r<5>;
.reg .b64 %d<5>;
ld.param.u64 %d0, [x];
ld.param.u64 %d1, [y];
ld.param.u32 %r0, [n];
mov.u32 %r1, %tid.x;
setp.ge.u32 %p, %r1, %r0;
@%p bra done;
mad.wide.u32 %d0, %r1, 4, %d0;
mad.wide.u32 %d1, %r1, 4, %d1;
ld.global.u32 %r2, [%d0];
add.u32 %r2, %r2, 1;
st.global.u32 [%d1], %r2;
done:
ret;
}
)";

std::string for_target(const std::string& target) {
  std::string text = kIncrement;
  return text.replace(text.find("sm_80"), 5, target);
}

int ordinal_of(int sm) {
  int count = 0;
  cuDeviceGetCount(&count);
  for (int i = 0; i < count; ++i) {
    int major = 0, minor = 0;
    cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, i);
    cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, i);
    if (major * 10 + minor == sm) return i;
  }
  return -1;
}

// The primary context of a device, current while this lives.
class Current {
 public:
  explicit Current(int ordinal) : ordinal_(ordinal) {
    CUcontext context = nullptr;
    ASSERT_EQ(cuDevicePrimaryCtxRetain(&context, ordinal), CUDA_SUCCESS);
    ASSERT_EQ(cuCtxPushCurrent(context), CUDA_SUCCESS);
  }
  ~Current() {
    CUcontext context = nullptr;
    cuCtxPopCurrent(&context);
    cuDevicePrimaryCtxRelease(ordinal_);
  }

 private:
  int ordinal_;
};

CUresult load(const std::string& text, CUkernel* kernel) {
  CUlibrary library = nullptr;
  const CUresult result =
      cuLibraryLoadData(&library, text.c_str(), nullptr, nullptr, 0, nullptr, nullptr, 0);
  return result != CUDA_SUCCESS ? result : cuLibraryGetKernel(kernel, library, "increment");
}

CUresult launch(CUkernel kernel, unsigned threads, unsigned shared = 0, unsigned grid_y = 1) {
  CUdeviceptr none = 0;
  unsigned n = 0;
  void* parameters[] = {&none, &none, &n};
  return cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, grid_y, 1, threads, 1, 1, shared,
                        nullptr, parameters, nullptr);
}

}  // namespace

TEST(EveryRowOfTheTableIsADevice) {
  EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
  for (const int sm : {80, 86, 87, 89, 90, 100, 101, 110, 120, 121}) EXPECT_GE(ordinal_of(sm), 0);
  int shared = 0;
  cuDeviceGetAttribute(&shared, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
                       ordinal_of(86));
  EXPECT_EQ(shared, 101376);
  char name[64];
  EXPECT_EQ(cuDeviceGetName(name, sizeof(name), ordinal_of(87)), CUDA_SUCCESS);
  EXPECT_EQ(std::string(name), "Jetson AGX Orin (emulated)");
  char tiny[4];
  EXPECT_EQ(cuDeviceGetName(tiny, sizeof(tiny), 0), CUDA_SUCCESS);
  EXPECT_EQ(std::strlen(tiny), size_t{3});
}

TEST(ALaunchComputesAndStreamsAndEventsWork) {
  const Current current(0);
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(kIncrement, &kernel), CUDA_SUCCESS);
  std::vector<uint32_t> host = {1, 2, 0xffffffff};
  CUdeviceptr x = 0, y = 0;
  ASSERT_EQ(cuMemAlloc(&x, 12), CUDA_SUCCESS);
  ASSERT_EQ(cuMemAlloc(&y, 12), CUDA_SUCCESS);
  CUstream stream = nullptr;
  CUevent start = nullptr, end = nullptr;
  ASSERT_EQ(cuStreamCreate(&stream, 0), CUDA_SUCCESS);
  ASSERT_EQ(cuEventCreate(&start, 0), CUDA_SUCCESS);
  ASSERT_EQ(cuEventCreate(&end, 0), CUDA_SUCCESS);
  ASSERT_EQ(cuEventRecord(start, stream), CUDA_SUCCESS);
  ASSERT_EQ(cuMemcpyHtoDAsync(x, host.data(), 12, stream), CUDA_SUCCESS);
  unsigned n = 3;
  void* parameters[] = {&x, &y, &n};
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = 64;
  config.blockDimY = config.blockDimZ = 1;
  config.hStream = stream;
  CUfunction function = nullptr;
  ASSERT_EQ(cuKernelGetFunction(&function, kernel), CUDA_SUCCESS);
  ASSERT_EQ(cuLaunchKernelEx(&config, function, parameters, nullptr), CUDA_SUCCESS);
  ASSERT_EQ(cuMemcpyDtoHAsync(host.data(), y, 12, stream), CUDA_SUCCESS);
  ASSERT_EQ(cuEventRecord(end, stream), CUDA_SUCCESS);
  EXPECT_EQ(host[0], 2u);
  EXPECT_EQ(host[2], 0u);
  float milliseconds = -1;
  EXPECT_EQ(cuEventElapsedTime(&milliseconds, start, end), CUDA_SUCCESS);
  EXPECT_GE(milliseconds, 0.0f);
  EXPECT_EQ(cuMemsetD32(y, 7, 3), CUDA_SUCCESS);
  EXPECT_EQ(cuMemcpyDtoD(x, y, 12), CUDA_SUCCESS);
  EXPECT_EQ(cuMemcpyDtoH(host.data(), x, 12), CUDA_SUCCESS);
  EXPECT_EQ(host[1], 7u);
  EXPECT_EQ(cuMemFree(x), CUDA_SUCCESS);
  EXPECT_EQ(cuMemFree(x), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemFree(y + 4), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemFree(y), CUDA_SUCCESS);
  EXPECT_EQ(cuStreamDestroy(stream), CUDA_SUCCESS);
  EXPECT_EQ(cuStreamDestroy(stream), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuEventDestroy(start), CUDA_SUCCESS);
  EXPECT_EQ(cuEventRecord(start, nullptr), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(ptx_emulator_fault_count(), int64_t{0});
}

TEST(UseAfterFreeIsAFaultNotACrash) {
  const Current current(0);
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(kIncrement, &kernel), CUDA_SUCCESS);
  CUdeviceptr x = 0, y = 0;
  cuMemAlloc(&x, 4);
  cuMemAlloc(&y, 4);
  cuMemsetD8(x, 1, 4);
  cuMemFree(y);
  unsigned n = 1;
  void* parameters[] = {&x, &y, &n};
  EXPECT_EQ(cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 1, 1, 1, 0, nullptr,
                           parameters, nullptr),
            CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_EQ(ptx_emulator_fault_count(), int64_t{1});
  EXPECT_TRUE(std::string(ptx_emulator_take_faults()).find("nothing is allocated") !=
              std::string::npos);
  EXPECT_EQ(ptx_emulator_fault_count(), int64_t{0});
  // Not sticky: the next launch works.
  EXPECT_EQ(launch(kernel, 32), CUDA_SUCCESS);
}

TEST(MemoryOfAnotherDeviceIsOutOfBounds) {
  CUdeviceptr x = 0;
  {
    const Current current(1);
    cuMemAlloc(&x, 4);
  }
  const Current current(0);
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(kIncrement, &kernel), CUDA_SUCCESS);
  unsigned n = 1;
  void* parameters[] = {&x, &x, &n};
  EXPECT_EQ(cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 1, 1, 1, 0, nullptr,
                           parameters, nullptr),
            CUDA_ERROR_LAUNCH_FAILED);
  EXPECT_TRUE(std::string(ptx_emulator_take_faults()).find("belongs to device 1") !=
              std::string::npos);
}

TEST(SharedMemoryLimitsAreThoseOfADriver) {
  const int device = ordinal_of(86);
  const Current current(device);
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(kIncrement, &kernel), CUDA_SUCCESS);
  constexpr auto kLimit = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
  EXPECT_EQ(launch(kernel, 32, 49152), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, 32, 49153), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuKernelSetAttribute(kLimit, 101377, kernel, device), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuKernelSetAttribute(kLimit, 101376, kernel, device), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, 32, 101376), CUDA_SUCCESS);
  int value = 0;
  EXPECT_EQ(cuKernelGetAttribute(&value, kLimit, kernel, device), CUDA_SUCCESS);
  EXPECT_EQ(value, 101376);
  const Current other(ordinal_of(80));  // the attribute belongs to one device
  EXPECT_EQ(launch(kernel, 32, 49153), CUDA_ERROR_INVALID_VALUE);
}

TEST(ShapesOfLaunchesAreChecked) {
  const Current current(0);
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(kIncrement, &kernel), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(launch(kernel, 256), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, 257), CUDA_ERROR_INVALID_VALUE);  // .maxntid
  EXPECT_EQ(launch(kernel, 32, 0, 65536), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(launch(kernel, 32, 0, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST(ParametersInOneBufferMustHaveTheRightSize) {
  const Current current(0);
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(kIncrement, &kernel), CUDA_SUCCESS);
  char buffer[20] = {};
  size_t size = sizeof(buffer);
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                   CU_LAUNCH_PARAM_END};
  const auto go = [&](void** with) {
    return cuLaunchKernel(reinterpret_cast<CUfunction>(kernel), 1, 1, 1, 32, 1, 1, 0, nullptr,
                          nullptr, with);
  };
  EXPECT_EQ(go(extra), CUDA_SUCCESS);
  size = 19;
  EXPECT_EQ(go(extra), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(go(nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST(ImagesForOtherTargetsAreRefused) {
  CUkernel kernel = nullptr;
  const Current current(ordinal_of(90));
  EXPECT_EQ(load(for_target("sm_90"), &kernel), CUDA_SUCCESS);
  EXPECT_EQ(load(for_target("sm_90a"), &kernel), CUDA_SUCCESS);
  EXPECT_EQ(load(for_target("sm_100"), &kernel), CUDA_ERROR_NO_BINARY_FOR_GPU);
  const Current newer(ordinal_of(100));
  EXPECT_EQ(load(for_target("sm_90"), &kernel), CUDA_SUCCESS);
  EXPECT_EQ(load(for_target("sm_90a"), &kernel), CUDA_ERROR_NO_BINARY_FOR_GPU);
}

TEST(WithoutAContextImagesLoadAndTheirTargetIsCheckedAtTheLaunch) {
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(for_target("sm_120"), &kernel), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, 32), CUDA_ERROR_INVALID_CONTEXT);
  const Current current(ordinal_of(89));
  EXPECT_EQ(launch(kernel, 32), CUDA_ERROR_NO_BINARY_FOR_GPU);
}

TEST(ImagesThatAreNoPtx) {
  CUkernel kernel = nullptr;
  EXPECT_EQ(load("\x7f"
                 "ELF and so on",
                 &kernel),
            CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(load("\x50\xed\x55\xba", &kernel), CUDA_ERROR_NO_BINARY_FOR_GPU);
  EXPECT_EQ(load("\x01\x02", &kernel), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_EQ(load("", &kernel), CUDA_ERROR_INVALID_IMAGE);
  EXPECT_EQ(load("nonsense", &kernel), CUDA_ERROR_INVALID_PTX);
  char log[64] = {};
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof(log))};
  CUlibrary library = nullptr;
  EXPECT_EQ(cuLibraryLoadData(&library, "nonsense", options, values, 2, nullptr, nullptr, 0),
            CUDA_ERROR_INVALID_PTX);
  EXPECT_EQ(std::string(log).substr(0, 7), "line 1:");
  EXPECT_EQ(cuLibraryLoadData(&library, nullptr, nullptr, nullptr, 0, nullptr, nullptr, 0),
            CUDA_ERROR_INVALID_VALUE);
}

TEST(HandlesThatDoNotExist) {
  const Current current(0);
  int on_stack = 0;
  const auto wild = reinterpret_cast<void*>(uintptr_t{0x1234});
  for (void* handle : {static_cast<void*>(&on_stack), wild}) {
    const auto kernel = static_cast<CUkernel>(handle);
    const auto context = static_cast<CUcontext>(handle);
    CUfunction function = nullptr;
    CUkernel found = nullptr;
    int value = 0;
    EXPECT_EQ(launch(kernel, 32), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cuKernelGetFunction(&function, kernel), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, kernel, 0),
              CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cuLibraryGetKernel(&found, static_cast<CUlibrary>(handle), "x"),
              CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cuLibraryUnload(static_cast<CUlibrary>(handle)), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cuCtxPushCurrent(context), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuCtxSetCurrent(context), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuCtxDestroy(context), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuStreamSynchronize(static_cast<CUstream>(handle)), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cuEventSynchronize(static_cast<CUevent>(handle)), CUDA_ERROR_INVALID_HANDLE);
  }
  EXPECT_EQ(launch(nullptr, 32), CUDA_ERROR_INVALID_HANDLE);
  CUdevice device = 0;
  EXPECT_EQ(cuDeviceGet(&device, 99), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(cuDeviceGet(nullptr, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST(KernelsOfAnUnloadedLibraryAreGone) {
  const Current current(0);
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  ASSERT_EQ(cuLibraryLoadData(&library, kIncrement, nullptr, nullptr, 0, nullptr, nullptr, 0),
            CUDA_SUCCESS);
  ASSERT_EQ(cuLibraryGetKernel(&kernel, library, "increment"), CUDA_SUCCESS);
  EXPECT_EQ(cuLibraryGetKernel(&kernel, library, "decrement"), CUDA_ERROR_NOT_FOUND);
  EXPECT_EQ(cuLibraryUnload(library), CUDA_SUCCESS);
  EXPECT_EQ(launch(kernel, 32), CUDA_ERROR_INVALID_HANDLE);
  EXPECT_EQ(cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
}

TEST(CopiesStayWithinTheirAllocation) {
  const Current current(0);
  CUdeviceptr x = 0;
  char host[64] = {};
  EXPECT_EQ(cuMemAlloc(&x, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemAlloc(&x, size_t{1} << 60), CUDA_ERROR_OUT_OF_MEMORY);
  ASSERT_EQ(cuMemAlloc(&x, 16), CUDA_SUCCESS);
  EXPECT_EQ(cuMemcpyHtoD(x, host, 17), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyDtoH(host, x + 15, 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyDtoH(host, x, ~size_t{0}), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemcpyHtoD(0x1000, host, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemsetD32(x, 1, 5), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemsetD32(x + 2, 1, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemsetD32(x, 1, ~size_t{0} / 2), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(cuMemFree(x), CUDA_SUCCESS);
  EXPECT_EQ(cuMemcpyHtoD(x, host, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST(ContextsStack) {
  CUcontext a = nullptr, found = nullptr;
  EXPECT_EQ(cuCtxSynchronize(), CUDA_ERROR_INVALID_CONTEXT);
  EXPECT_EQ(cuCtxPopCurrent(&found), CUDA_ERROR_INVALID_CONTEXT);
  const Current outer(2);
  EXPECT_EQ(cuCtxCreate_v4(&a, nullptr, 0, 3), CUDA_SUCCESS);
  CUdevice device = -1;
  EXPECT_EQ(cuCtxGetDevice(&device), CUDA_SUCCESS);
  EXPECT_EQ(device, 3);
  EXPECT_EQ(cuCtxDestroy(a), CUDA_SUCCESS);
  EXPECT_EQ(cuCtxGetDevice(&device), CUDA_SUCCESS);
  EXPECT_EQ(device, 2);
}

TEST(TwoHostThreadsLaunchAtOnce) {
  CUkernel kernel = nullptr;
  ASSERT_EQ(load(kIncrement, &kernel), CUDA_SUCCESS);
  int wrong[2] = {};
  const auto work = [&](int which) {
    const Current current(which);
    for (int round = 0; round < 200; ++round) {
      CUdeviceptr x = 0, y = 0;
      cuMemAlloc(&x, 4 * 64);
      cuMemAlloc(&y, 4 * 64);
      cuMemsetD32(x, static_cast<unsigned>(round), 64);
      unsigned n = 64;
      void* parameters[] = {&x, &y, &n};
      CUkernel mine = nullptr;
      if (load(kIncrement, &mine) != CUDA_SUCCESS) ++wrong[which];
      if (cuLaunchKernel(reinterpret_cast<CUfunction>(round % 2 ? kernel : mine), 1, 1, 1, 64, 1, 1,
                         0, nullptr, parameters, nullptr) != CUDA_SUCCESS) {
        ++wrong[which];
      }
      unsigned result[64];
      cuMemcpyDtoH(result, y, sizeof(result));
      for (unsigned value : result) wrong[which] += value != static_cast<unsigned>(round) + 1;
      cuMemFree(x);
      cuMemFree(y);
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  EXPECT_EQ(wrong[0], 0);
  EXPECT_EQ(wrong[1], 0);
}

TEST(ChecksAreParsed) {
  EXPECT_EQ(ptx_emulator_set_checks("races,init"), 0);
  EXPECT_EQ(ptx_emulator_set_checks("none"), 0);
  EXPECT_EQ(ptx_emulator_set_checks("races,magic"), -1);
  EXPECT_TRUE(std::string(ptx_emulator_last_error()).find("unknown check 'magic'") !=
              std::string::npos);
  EXPECT_EQ(ptx_emulator_set_checks(nullptr), -1);
  EXPECT_EQ(ptx_emulator_set_threads(-1), -1);
  EXPECT_EQ(ptx_emulator_name_allocation(5, "x"), -1);
  EXPECT_EQ(ptx_emulator_set_checks("all"), 0);
}

TEST(PlannedCallsFailAndWhatIsHeldIsCounted) {
  const Current current(0);
  const std::string before = ptx_emulator_held();
  CUdeviceptr memory = 0;
  ptx_emulator_fail_calls(1, 2, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(cuStreamSynchronize(nullptr), CUDA_SUCCESS);
  EXPECT_EQ(cuMemAlloc(&memory, 4), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(cuMemAlloc(&memory, 4), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(ptx_emulator_held(), before);
  EXPECT_EQ(cuMemAlloc(&memory, 4), CUDA_SUCCESS);
  EXPECT_EQ(cuMemsetD8Async(memory, 0, 4, nullptr), CUDA_SUCCESS);  // in a stream: one call
  EXPECT_EQ(ptx_emulator_calls(), uint64_t{5});
  EXPECT_NE(ptx_emulator_held(), before);
  EXPECT_EQ(cuMemFree(memory), CUDA_SUCCESS);
  EXPECT_EQ(ptx_emulator_held(), before);

  ptx_emulator_fail_calls(0, UINT64_MAX, CUDA_ERROR_DEVICE_UNAVAILABLE);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cuInit(0), CUDA_ERROR_DEVICE_UNAVAILABLE);
  ptx_emulator_fail_calls(0, 0, CUDA_SUCCESS);
  EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
}
