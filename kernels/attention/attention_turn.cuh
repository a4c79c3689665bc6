// Heads of the packed QKV on their way to shared memory, turned by RoPE in registers.
#pragma once

#include "kernels/attention/attention_rope.cuh"
#include "kernels/attention/attention_tile.cuh"
#include "kernels/fixed_width_types.h"
#include "kernels/ptx/st_shared.cuh"

namespace edge_llm {

// Pairs of chunks of kRows heads, from head_of(row), which is null for zeros: kItems of a thread,
// from its item `first` on. They are on their way from the constructor on.
template <class Tile, int kRows, int kItems, class HeadOf>
class HeadPairs {
 public:
  __device__ __forceinline__ HeadPairs(int first, const HeadOf& head_of)
      : first_(first), head_of_(head_of) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const char* head = exists(i) ? head_of_(row(i)) : nullptr;
      pairs_[i] = head == nullptr ? ChunkPair{} : load_pair(head, Tile::kHeadSize, chunk(i));
    }
  }

  // Starts to load angles_of(row), which is null for a head that stays as it is.
  template <class AnglesOf>
  __device__ __forceinline__ void load_angles(int rotary_size, const AnglesOf& angles_of) {
    if (rotary_size != Tile::kHeadSize) return;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const float* from = exists(i) ? angles_of(row(i)) : nullptr;
      turns_[i] = from != nullptr;
      if (turns_[i]) angles_[i].load(from, rotary_size, chunk(i) * kChunkValues);
    }
  }

  // Stores them, turned by what was loaded from angles_of(row).
  template <class AnglesOf>
  __device__ __forceinline__ void store(uint32_t target, int rotary_size,
                                        const AnglesOf& angles_of) const {
    if (rotary_size != Tile::kHeadSize) return store_turned_in_part(target, rotary_size, angles_of);
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (!exists(i)) break;
      const ChunkPair pair = turns_[i] ? turned_pair(pairs_[i], angles_[i]) : pairs_[i];
      ptx::st_shared_v4(target + head_offset<Tile>(row(i), chunk(i)), pair.first);
      ptx::st_shared_v4(target + head_offset<Tile>(row(i), chunk(i) + kRowPairs), pair.second);
    }
  }

 private:
  static constexpr int kRowPairs = Tile::kHeadChunks / 2;

  template <class AnglesOf>
  __device__ __forceinline__ void store_turned_in_part(uint32_t target, int rotary_size,
                                                       const AnglesOf& angles_of) const {
#pragma unroll 1
    for (int i = 0; i < kItems; ++i) {
      if (!exists(i)) break;
#pragma unroll 1
      for (int at = chunk(i); at < Tile::kHeadChunks; at += kRowPairs) {
        ptx::st_shared_v4(
            target + head_offset<Tile>(row(i), at),
            turned_global_chunk(head_of_(row(i)), angles_of(row(i)), rotary_size, at));
      }
    }
  }

  __device__ __forceinline__ unsigned item(int i) const {
    return (first_ + i) * Tile::kComputingThreads + threadIdx.x;
  }
  __device__ __forceinline__ bool exists(int i) const { return item(i) < kRows * kRowPairs; }
  __device__ __forceinline__ int row(int i) const { return static_cast<int>(item(i) / kRowPairs); }
  __device__ __forceinline__ int chunk(int i) const {
    return static_cast<int>(item(i) % kRowPairs);
  }

  const int first_;
  const HeadOf head_of_;
  ChunkPair pairs_[kItems];
  ChunkAngles angles_[kItems];
  bool turns_[kItems];
};

// Pairs of chunks of a thread, where all threads share those of kRows heads.
template <class Tile, int kRows>
constexpr int kThreadPairs =
    (kRows * Tile::kHeadChunks / 2 + Tile::kComputingThreads - 1) / Tile::kComputingThreads;

}  // namespace edge_llm
