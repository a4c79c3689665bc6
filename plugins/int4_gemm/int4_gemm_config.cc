#include "plugins/int4_gemm/int4_gemm_config.h"

#include "plugins/runtime/status.h"

namespace edge_llm {

void Int4GemmConfig::check() const {
  if (n <= 0 || n % 4 != 0) {
    fail("field gemm_n = ", n, "; positive multiples of 4 are allowed");
  }
  if (k <= 0 || k % 64 != 0) {
    fail("field gemm_k = ", k, "; positive multiples of 64 are allowed");
  }
  if (group_size != 128) fail("field group_size = ", group_size, "; 128 is allowed");
}

}  // namespace edge_llm
