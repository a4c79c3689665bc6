// Matrix products of a warpgroup: four warps, of which the first has an index divisible by four.
// SM 90 alone has them.
#pragma once

#include "kernels/fixed_width_types.h"

namespace edge_llm::ptx {

// wgmma.fence: what this thread wrote to registers so far is there for the products that follow.
// PTX ISA, "Asynchronous wgmma instructions: wgmma.fence".
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// wgmma.commit_group
// PTX ISA, "Asynchronous wgmma instructions: wgmma.commit_group".
__device__ __forceinline__ void wgmma_commit_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// wgmma.wait_group: returns when at most `kPending` of the warpgroup's groups are in flight.
// PTX ISA, "Asynchronous wgmma instructions: wgmma.wait_group".
template <int kPending>
__device__ __forceinline__ void wgmma_wait_group() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// fence.proxy.async: what this thread wrote to shared memory so far is there for the matrix unit,
// once a barrier has been passed.
// PTX ISA, "Parallel synchronization and communication instructions: membar / fence".
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The descriptor of a matrix B in blocks of eight rows of 128 bytes, with chunk c of 16 bytes of
// row r at c ^ r % 8 (128-byte swizzle). Rows are those of B transposed, n, that hold 64 values of
// k; or of B itself, k, that hold 64 values of n. `address`: that of row 0, a multiple of 1024.
// `row_block_bytes`: from one block to that of the next eight rows. `column_block_bytes`: to that
// of the next 64 values of n; where rows hold values of k, no product takes more than one block.
// PTX ISA, "Asynchronous warpgroup level matrix instructions: matrix descriptor".
struct MatrixDescriptor {
  uint32_t low;
  uint32_t high;

  __device__ __forceinline__ explicit MatrixDescriptor(uint32_t address,
                                                       uint32_t row_block_bytes = 8 * 128,
                                                       uint32_t column_block_bytes = 0) {
    constexpr uint32_t kSwizzle128Bytes = 1;
    low = (address & 0x3ffff) >> 4 | column_block_bytes >> 4 << 16;
    high = row_block_bytes >> 4 | kSwizzle128Bytes << 30;
  }

  // The descriptor that begins `bytes` further: 32 for 16 values of a row, or so many row blocks.
  __device__ __forceinline__ MatrixDescriptor advanced(int bytes) const {
    MatrixDescriptor further = *this;
    further.low += bytes >> 4;
    return further;
  }

  __device__ __forceinline__ uint64_t bits() const { return uint64_t{high} << 32 | low; }
};

// What waits have covered: nothing that follows reads d before. No instruction.
template <int kValues>
__device__ __forceinline__ void wgmma_results(float (&d)[kValues]) {
#pragma unroll
  for (int i = 0; i < kValues; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// How a product reads B, and what it does with what d was.
enum class WgmmaB { kRowsOfN, kRowsOfK };  // what a row of MatrixDescriptor is
enum class WgmmaSum { kAdd, kReplace };

// wgmma.mma_async.sync.aligned.m64nNk16.f32.f16.f16: d += a * b, or d = a * b, where N (32, 64 or
// 128) is twice the length of d.
// PTX ISA, "Asynchronous wgmma instructions: wgmma.mma_async".
// With w the warp's index in the warpgroup, g = lane / 4 and q = lane % 4:
//   a[0] = A[16 w + g][2q..], a[1] = A[16 w + g + 8][2q..], a[2], a[3] the same at k + 8
//   d[4 j..] = D[16 w + g][8 j + 2q..], D[16 w + g + 8][8 j + 2q..]
// Until a wait covers it, d must not be touched, nor a or b be changed.
template <WgmmaB kB = WgmmaB::kRowsOfN, WgmmaSum kSum = WgmmaSum::kAdd>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[16], const uint32_t (&a)[4],
                                             MatrixDescriptor b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
      "{%16, %17, %18, %19}, %20, %21, 1, 1, %22;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "n"(kSum == WgmmaSum::kAdd),
        "n"(kB == WgmmaB::kRowsOfK));
}

template <WgmmaB kB = WgmmaB::kRowsOfN, WgmmaSum kSum = WgmmaSum::kAdd>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[32], const uint32_t (&a)[4],
                                             MatrixDescriptor b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, %37, 1, 1, %38;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "n"(kSum == WgmmaSum::kAdd),
        "n"(kB == WgmmaB::kRowsOfK));
}

template <WgmmaB kB = WgmmaB::kRowsOfN, WgmmaSum kSum = WgmmaSum::kAdd>
__device__ __forceinline__ void wgmma_m64k16(float (&d)[64], const uint32_t (&a)[4],
                                             MatrixDescriptor b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, %69, 1, 1, %70;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
        "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
        "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
        "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
        "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
        "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
        "+f"(d[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "n"(kSum == WgmmaSum::kAdd),
        "n"(kB == WgmmaB::kRowsOfK));
}

}  // namespace edge_llm::ptx
