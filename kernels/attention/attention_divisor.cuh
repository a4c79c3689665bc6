// Division by a small number that is known before what it divides.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm {

// Divides n < 2^25 by d, 1 to 64, in two instructions: n * d' >> 31 with d' = 2^31 / d + 1,
// rounded down. That is at most n / 2^31 < 1 / 64 more than n / d, which lacks at least 1 / d to
// the next integer.
class SmallDivisor {
 public:
  __device__ __forceinline__ explicit SmallDivisor(int divisor)
      : divisor_(divisor), factor_((1u << 31) / static_cast<uint32_t>(divisor) + 1) {}

  __device__ __forceinline__ int floor(int n) const {
    return static_cast<int>(__umulhi(2 * static_cast<uint32_t>(n), factor_));
  }
  __device__ __forceinline__ int ceil(int n) const { return floor(n + divisor_ - 1); }

 private:
  int divisor_;
  uint32_t factor_;
};

}  // namespace edge_llm
