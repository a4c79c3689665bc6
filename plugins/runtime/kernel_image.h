// The embedded kernel images of a library: one entry per kernel variant and SM.
#pragma once

#include <cstdint>

namespace edge_llm {

enum KernelImageFormat : int64_t { kCubin = 0, kPtx = 1 };

// An aggregate of plain words, because the table is emitted by an assembler source.
struct KernelImage {
  const char* symbol;         // kernel name in the image, "<variant>_sm<NN>"
  int64_t sm;                 // compute capability of the image, major * 10 + minor
  int64_t format;             // KernelImageFormat
  const unsigned char* data;  // a cubin packed as a fatbin; or PTX, with a NUL byte behind it
  int64_t size;               // bytes, without the NUL byte
};
static_assert(sizeof(KernelImage) == 40, "the generated table has five 8-byte words per entry");

}  // namespace edge_llm

// Ends with an entry whose symbol is null.
extern "C" const edge_llm::KernelImage edge_llm_kernel_images[];
