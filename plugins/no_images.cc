// The table of a library that only plans.
#include "plugins/runtime/kernel_image.h"

extern "C" __attribute__((visibility("default")))
const edge_llm::KernelImage edge_llm_kernel_images[] = {{nullptr, 0, 0, nullptr, 0}};
