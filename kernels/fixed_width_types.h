// The fixed-width integers, for headers that both NVRTC and the host compiler read.
#pragma once

#ifdef __CUDACC_RTC__  // NVRTC has no standard headers.
using int32_t = int;
using int64_t = long long;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
#else
#include <cstddef>
#include <cstdint>
#endif
