// What cuda_images of tools/cuda embeds: the table, its end, and images that are what their rows
// say.
#include "plugins/runtime/kernel_image.h"

#include <cstring>
#include <string>

#include "tools/testing/testing.h"

using edge_llm::kCubin;
using edge_llm::KernelImage;
using edge_llm::kPtx;

namespace {

// The last row with an image: cuda_images puts the PTX of the newest SM behind the cubins.
const KernelImage& last_image() {
  const KernelImage* image = edge_llm_kernel_images;
  while (image[1].symbol != nullptr) ++image;
  return *image;
}

}  // namespace

TEST(SymbolsNameSourceAndSm) {
  for (const KernelImage* image = edge_llm_kernel_images; image->symbol != nullptr; ++image) {
    EXPECT_EQ(std::string(image->symbol), "sample_sm" + std::to_string(image->sm));
  }
}

TEST(CubinsAreWholeFatbins) {
  struct FatbinHeader {  // CUDA's fatbinary_section.h
    uint32_t magic;
    uint16_t version;
    uint16_t header_bytes;
    uint64_t bytes_behind;
  };
  constexpr uint32_t kMagic = 0xba55ed50;
  for (const KernelImage* image = edge_llm_kernel_images; image != &last_image(); ++image) {
    EXPECT_EQ(image->format, kCubin);
    FatbinHeader header;
    ASSERT_TRUE(image->size > static_cast<int64_t>(sizeof(header)));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(image->data) % alignof(FatbinHeader), 0u);
    std::memcpy(&header, image->data, sizeof(header));
    EXPECT_EQ(header.magic, kMagic);
    EXPECT_EQ(static_cast<int64_t>(header.header_bytes + header.bytes_behind), image->size);
  }
}

TEST(PtxIsOfTheNewestSm) {
  EXPECT_EQ(last_image().format, kPtx);
  for (const KernelImage* image = edge_llm_kernel_images; image->symbol != nullptr; ++image) {
    EXPECT_LE(image->sm, last_image().sm);
  }
}

TEST(PtxEndsWithAZeroThatItsSizeDoesNotCount) {
  const KernelImage& ptx = last_image();
  EXPECT_EQ(static_cast<int64_t>(std::strlen(reinterpret_cast<const char*>(ptx.data))), ptx.size);
}

TEST(PtxHoldsTheNumberOfItsSm) {
  const std::string text(reinterpret_cast<const char*>(last_image().data), last_image().size);
  EXPECT_NE(text.find(".target sm_" + std::to_string(last_image().sm)), std::string::npos);
  EXPECT_NE(text.find(".entry " + std::string(last_image().symbol)), std::string::npos);
}
