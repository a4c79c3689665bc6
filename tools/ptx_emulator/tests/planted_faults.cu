// Kernels with one fault each, and the same kernels without it. planted_faults_test.py looks for
// the comment "FAULT name" to know the line that a report must name.

enum : int {
  kNone,
  kMissingSyncBeforeRead,
  kMissingSyncBeforeWrite,
  kWriteOutOfBounds,
  kReadOutOfBounds,
};

// y[i] = the sum over rows r of x[r][i ^ 64]: a tile of 128 floats is reused for each row.
template <int kFault>
__device__ __forceinline__ void sum_rows(const float* x, float* y, int rows, int n) {
  __shared__ float tile[128];
  const int i = blockIdx.x * 128 + threadIdx.x;
  float sum = 0.0f;
  for (int row = 0; row < rows; ++row) {
    const bool inside = kFault == kReadOutOfBounds || i < n;
    const float value = inside ? x[row * n + i] : 0.0f;  // FAULT read_out_of_bounds
    tile[threadIdx.x] = value;                           // FAULT missing_sync_before_write
    if (kFault != kMissingSyncBeforeRead) __syncthreads();
    sum += tile[threadIdx.x ^ 64];  // FAULT missing_sync_before_read
    if (kFault != kMissingSyncBeforeWrite) __syncthreads();
  }
  if (kFault == kWriteOutOfBounds || i < n) {
    y[i] = sum;  // FAULT write_out_of_bounds
  }
}

#define SUM_ROWS(NAME, FAULT)                                                  \
  extern "C" __global__ void NAME(const float* x, float* y, int rows, int n) { \
    sum_rows<FAULT>(x, y, rows, n);                                            \
  }
SUM_ROWS(sum_rows_clean, kNone)
SUM_ROWS(missing_sync_before_read, kMissingSyncBeforeRead)
SUM_ROWS(missing_sync_before_write, kMissingSyncBeforeWrite)
SUM_ROWS(write_out_of_bounds, kWriteOutOfBounds)
SUM_ROWS(read_out_of_bounds, kReadOutOfBounds)

enum : int { kSharedOutOfBounds = 1, kSharedMisaligned, kSharedUninitialized, kMissingSyncWarp };

// Passes 16 bytes of a neighbour within the warp through shared memory.
template <int kFault>
__device__ __forceinline__ void pass_within_warp(const float4* x, float4* y) {
  extern __shared__ float4 slots[];
  const int i = threadIdx.x;
  if (kFault != kSharedUninitialized || i != 5) {
    slots[i + (kFault == kSharedOutOfBounds ? 1 : 0)] = x[i];  // FAULT shared_out_of_bounds
  }
  if (kFault != kMissingSyncWarp) __syncwarp();
  const float4* source = &slots[(i ^ 1) + (kFault == kSharedOutOfBounds ? 1 : 0)];
  if (kFault == kSharedMisaligned) {
    source = reinterpret_cast<const float4*>(reinterpret_cast<const char*>(&slots[0]) + 8);
  }
  y[i] = *source;  // FAULT shared_misaligned shared_uninitialized missing_sync_warp
}

#define PASS_WITHIN_WARP(NAME, FAULT) \
  extern "C" __global__ void NAME(const float4* x, float4* y) { pass_within_warp<FAULT>(x, y); }
PASS_WITHIN_WARP(pass_within_warp_clean, kNone)
PASS_WITHIN_WARP(shared_out_of_bounds, kSharedOutOfBounds)
PASS_WITHIN_WARP(shared_misaligned, kSharedMisaligned)
PASS_WITHIN_WARP(shared_uninitialized, kSharedUninitialized)
PASS_WITHIN_WARP(missing_sync_warp, kMissingSyncWarp)

enum : int { kWeakWait = 1, kMissingSyncBeforeCopy, kMissingSyncAfterWait, kInFlightAtExit };

__device__ __forceinline__ void copy16(void* to, const void* from) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}
template <int kGroups>
__device__ __forceinline__ void wait_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

// Two-stage pipeline over tiles of 128 float4: each thread adds up what another warp has copied.
template <int kFault>
__device__ __forceinline__ void pipeline(const float4* x, float4* y, int tiles) {
  __shared__ float4 stage[2][128];
  const int i = threadIdx.x;
  float4 sum = make_float4(0, 0, 0, 0);
  copy16(&stage[0][i], &x[i]);
  asm volatile("cp.async.commit_group;" ::: "memory");
  for (int tile = 0; tile < tiles; ++tile) {
    const bool more = tile + 1 < tiles || kFault == kInFlightAtExit;
    float4* const free_slot = &stage[(tile + 1) & 1][i];
    const float4* const next = &x[((tile + 1) % tiles) * 128 + i];
    if (more) copy16(free_slot, next);  // FAULT missing_sync_before_copy in_flight_at_exit
    asm volatile("cp.async.commit_group;" ::: "memory");
    wait_groups<kFault == kWeakWait ? 2 : 1>();
    if (kFault != kMissingSyncAfterWait) __syncthreads();
    const float4 value = stage[tile & 1][i ^ 32];  // FAULT weak_wait missing_sync_after_wait
    sum.x += value.x;
    sum.y += value.y;
    sum.z += value.z;
    sum.w += value.w;
    if (kFault != kMissingSyncBeforeCopy) __syncthreads();
  }
  y[i] = sum;
}

#define PIPELINE(NAME, FAULT)                                              \
  extern "C" __global__ void NAME(const float4* x, float4* y, int tiles) { \
    pipeline<FAULT>(x, y, tiles);                                          \
  }
PIPELINE(pipeline_clean, kNone)
PIPELINE(weak_wait, kWeakWait)
PIPELINE(missing_sync_before_copy, kMissingSyncBeforeCopy)
PIPELINE(missing_sync_after_wait, kMissingSyncAfterWait)
PIPELINE(in_flight_at_exit, kInFlightAtExit)

extern "C" __global__ void skipped_barrier(float* y) {
  if (threadIdx.x / 32 != 2) {
    __syncthreads();  // FAULT skipped_barrier
  }
  y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void divergent_barrier(float* y) {
  if (threadIdx.x % 32 < 7) {
    asm volatile("barrier.sync 0;" ::: "memory");  // FAULT divergent_barrier
    y[threadIdx.x] = 1.0f;
  } else {
    y[threadIdx.x] = 2.0f;
  }
}

extern "C" __global__ void deadlock(float* y) {
  if (threadIdx.x < 64) {
    asm volatile("bar.sync 1, 128;" ::: "memory");  // FAULT deadlock
  } else {
    asm volatile("bar.sync 2, 128;" ::: "memory");
  }
  y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void uninitialized_workspace(const float* workspace, float* y) {
  y[threadIdx.x] = workspace[threadIdx.x];  // FAULT uninitialized_workspace
}

// Reads 32 rows of 64 halves with ldmatrix, four matrices at a time.
template <bool kSwizzled>
__device__ __forceinline__ void read_tile(unsigned* y) {
  __shared__ uint4 tile[32][8];
  const int lane = threadIdx.x;
  for (int chunk = 0; chunk < 8; ++chunk) {
    const int column = kSwizzled ? chunk ^ (lane & 7) : chunk;
    tile[lane][column] = make_uint4(lane, chunk, 0, 0);
  }
  __syncwarp();
  unsigned sum = 0;
  for (int chunk = 0; chunk < 8; ++chunk) {
    const int column = kSwizzled ? chunk ^ (lane & 7) : chunk;
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(&tile[lane][column]));
    unsigned a, b, c, d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"(address)
                 : "memory");
    sum += a + b + c + d;
  }
  y[lane] = sum;
}

extern "C" __global__ void read_tile_plain(unsigned* y) { read_tile<false>(y); }
extern "C" __global__ void read_tile_swizzled(unsigned* y) { read_tile<true>(y); }

// Coalesced: 4 sectors of 32 bytes for a warp's request of 128; strided: 32.
extern "C" __global__ void read_strided(const float* x, float* y, int stride) {
  y[threadIdx.x] = x[threadIdx.x * stride];
}

#if KERNEL_SM >= 90

enum : int {
  kReleasedBeforeRead = 1,
  kReadBeforeFull,
  kMissingArrival,
  kElectedWithoutSyncwarp,
  kMbarrierOverwritten,
  kMissingMbarrierInit,
};

__device__ __forceinline__ void init(const unsigned long long* barrier, int count) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(count) : "memory");
}
__device__ __forceinline__ void arrive(const unsigned long long* barrier) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(barrier));
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(address) : "memory");
}
__device__ __forceinline__ void wait(const unsigned long long* barrier, int parity) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(barrier));
  unsigned complete;
  do {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(complete)
        : "r"(address), "r"(parity)
        : "memory");
  } while (complete == 0);
}

// Of 64 threads, warp 0 writes tiles of 32 floats into two stages, and warp 1 adds them up.
template <int kFault>
__device__ __forceinline__ void ring(const float* x, float* y, int tiles) {
  __shared__ float stage[2][32];
  __shared__ unsigned long long full[2], empty[2];
  const int lane = threadIdx.x % 32;
  if (threadIdx.x < (kFault == kMissingMbarrierInit ? 1 : 2)) {
    init(&full[threadIdx.x], 1);
    init(&empty[threadIdx.x], 32);
  }
  __syncthreads();
  float sum = 0.0f;
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    const int s = tile & 1;
    const int parity = tile >> 1 & 1;
    if (threadIdx.x < 32) {
      wait(&empty[s], parity ^ 1);                       // FAULT missing_mbarrier_init
      stage[s][lane] = x[tile * 32 + lane];              // FAULT released_before_read
      if (kFault == kMbarrierOverwritten) empty[1] = 7;  // FAULT mbarrier_overwritten
      if (kFault != kElectedWithoutSyncwarp) __syncwarp();
      if (lane == 0 && (kFault != kMissingArrival || tile != 1)) arrive(&full[s]);
    } else {
      if (kFault != kReadBeforeFull) wait(&full[s], parity);  // FAULT missing_arrival
      if (kFault == kReleasedBeforeRead) arrive(&empty[s]);
      sum += stage[s][lane ^ 1];  // FAULT read_before_full elected_without_syncwarp
      if (kFault != kReleasedBeforeRead) arrive(&empty[s]);
    }
  }
  if (threadIdx.x >= 32) y[lane] = sum;
}

#define RING(NAME, FAULT) \
  extern "C" __global__ void NAME(const float* x, float* y, int tiles) { ring<FAULT>(x, y, tiles); }
RING(ring_clean, kNone)
RING(released_before_read, kReleasedBeforeRead)
RING(read_before_full, kReadBeforeFull)
RING(missing_arrival, kMissingArrival)
RING(elected_without_syncwarp, kElectedWithoutSyncwarp)
RING(mbarrier_overwritten, kMbarrierOverwritten)
RING(missing_mbarrier_init, kMissingMbarrierInit)

#endif

#if KERNEL_SM == 90

enum : int {
  kMissingRegisterFence = 1,
  kMissingProxyFence,
  kMissingProductWait,
  kWeakProductWait,
  kMissingSyncAfterProducts,
  kFactorOverwritten,
};

// d += a b for 64 x 16 elements and 16 columns of a; rows of b have 128 bytes, swizzled.
__device__ __forceinline__ void multiply(float (&d)[8], const uint4& a, const void* b) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(b));
  const unsigned long long strides = 1ull << 16 | 64ull << 32 | 1ull << 62;
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, "
      "{%8, %9, %10, %11}, %12, 1, 1, 1, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
        "+f"(d[7])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(strides | address >> 4));
}
template <int kGroups>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
}

// Two-stage pipeline over tiles of 16 x 64 elements: while a tile is multiplied, the next one is
// written.
template <int kFault>
__device__ __forceinline__ void products(const uint4* x, const uint4* factors, float* y,
                                         int tiles) {
  __shared__ __align__(1024) uint4 stage[2][128];
  const int i = threadIdx.x;
  float d[8] = {};
  uint4 a = factors[i];
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    stage[tile & 1][i] = x[tile * 128 + i];  // FAULT weak_product_wait missing_sync_after_products
    if (kFault != kMissingProxyFence) asm volatile("fence.proxy.async;" ::: "memory");
    __syncthreads();
    if (kFault != kMissingRegisterFence) asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    for (int k = 0; k < 64; k += 16) {
      multiply(d, a, &stage[tile & 1][k / 8]);  // FAULT missing_register_fence missing_proxy_fence
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    if (kFault == kFactorOverwritten) a.x = factors[i + tile].y;  // FAULT factor_overwritten
    wait_products<kFault == kWeakProductWait ? 2 : 1>();
    if (kFault != kMissingSyncAfterProducts) __syncthreads();
  }
  if (kFault != kMissingProductWait) wait_products<0>();
  for (int j = 0; j < 8; ++j) {
    y[8 * i + j] = d[j];  // FAULT missing_product_wait
  }
}

#define PRODUCTS(NAME, FAULT)                                                                  \
  extern "C" __global__ void NAME(const uint4* x, const uint4* factors, float* y, int tiles) { \
    products<FAULT>(x, factors, y, tiles);                                                     \
  }
PRODUCTS(products_clean, kNone)
PRODUCTS(missing_register_fence, kMissingRegisterFence)
PRODUCTS(missing_proxy_fence, kMissingProxyFence)
PRODUCTS(missing_product_wait, kMissingProductWait)
PRODUCTS(weak_product_wait, kWeakProductWait)
PRODUCTS(missing_sync_after_products, kMissingSyncAfterProducts)
PRODUCTS(factor_overwritten, kFactorOverwritten)

#endif
