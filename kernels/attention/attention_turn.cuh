// RoPE of heads that lie in shared memory, where they are.
#pragma once

#include "kernels/attention/attention_rope.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/half2.cuh"
#include "kernels/ptx/ld_shared.cuh"
#include "kernels/ptx/st_shared.cuh"

namespace edge_llm {

// Turns the heads [first_row, last_row), at most kRows, by all threads together. angles_of(row) are
// the angles of a head, null for one that stays as it is. The angles are on their way before
// ready() returns, which waits until the heads are there for all threads; what is turned is there
// for all after the next barrier. A thread has the angles of up to kMostInFlight chunks in flight,
// in 16 registers each.
template <class Tile, int kRows, int kMostInFlight, class AnglesOf, class Ready>
__device__ __forceinline__ void turn_heads(uint32_t heads, int first_row, int last_row,
                                           int rotary_size, const AnglesOf& angles_of,
                                           const Ready& ready) {
  const int half = rotary_size / 2;
  if (!turns_in_chunks(rotary_size)) {
    ready();
#pragma unroll 1
    for (int item = threadIdx.x; item < (last_row - first_row) * half; item += Tile::kThreads) {
      const int row = first_row + item / half;
      const int pair = item % half;
      const float* angles = angles_of(row);
      if (angles == nullptr) continue;
      const auto address = [&](int dim) {
        return heads + head_offset<Tile>(row, dim / kChunkValues) + dim % kChunkValues * 2;
      };
      const float x = ptx::cvt_f32_f16(ptx::ld_shared_u16(address(pair)));
      const float y = ptx::cvt_f32_f16(ptx::ld_shared_u16(address(pair + half)));
      const float cosine = angles[pair], sine = angles[half + pair];
      ptx::st_shared_u16(address(pair), ptx::cvt_f16_f32(turned(x, y, cosine, -sine)));
      ptx::st_shared_u16(address(pair + half), ptx::cvt_f16_f32(turned(y, x, cosine, sine)));
    }
    return;
  }

  constexpr int kMostItems = kRows * Tile::kHeadChunks / 2;
  constexpr int kMostTurns = (kMostItems + Tile::kThreads - 1) / Tile::kThreads;
  constexpr int kBatch = kMostTurns < kMostInFlight ? kMostTurns : kMostInFlight;
  const int half_chunks = half / kChunkValues;
  const int items = (last_row - first_row) * half_chunks;
  bool waits = true;
  int first = threadIdx.x;
  do {
    ChunkAngles angles[kBatch];
    uint32_t addresses[kBatch][2];
    bool turns[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int item = first + i * Tile::kThreads;
      const int row = first_row + item / half_chunks;
      const int pair = item % half_chunks;
      const float* source = item < items ? angles_of(row) : nullptr;
      turns[i] = source != nullptr;
      addresses[i][0] = heads + head_offset<Tile>(row, pair);
      addresses[i][1] = heads + head_offset<Tile>(row, pair + half_chunks);
      if (turns[i]) angles[i].load(source, rotary_size, pair * kChunkValues);
    }
    if (waits) ready();
    waits = false;
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (!turns[i]) continue;
      const uint4 x = ptx::ld_shared_v4(addresses[i][0]);
      const uint4 y = ptx::ld_shared_v4(addresses[i][1]);
      ptx::st_shared_v4(addresses[i][0], turned_chunk(x, y, angles[i], -1.f));
      ptx::st_shared_v4(addresses[i][1], turned_chunk(y, x, angles[i], 1.f));
    }
    first += kBatch * Tile::kThreads;
  } while (first < items);
}

}  // namespace edge_llm
