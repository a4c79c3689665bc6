// The fixed-width integers, and how a function is marked that both NVRTC and the host compile.
#pragma once

#ifdef __CUDACC_RTC__  // NVRTC has no standard headers.
using int32_t = int;
using int64_t = long long;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
#define EDGE_LLM_HOST_DEVICE __device__  // the host's half is the host compiler's
#else
#define EDGE_LLM_HOST_DEVICE
#include <cstddef>
#include <cstdint>
#endif
