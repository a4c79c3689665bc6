// Turns a scalar function into the handler of an instruction: a loop over the 32 lanes of a warp
// that the compiler vectorises. `map<add<uint32_t>>` is a handler.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tools/ptx_emulator/float16.h"
#include "tools/ptx_emulator/machine.h"

// A destination shares a slot with a source only where both are the same register (see
// allocate_slots), so lanes never depend on one another.
#define PTX_EMULATOR_LANE_LOOP _Pragma("clang loop vectorize(assume_safety)")

// Calls of libm do not vectorise, and need not be reported for it.
#pragma clang diagnostic ignored "-Wpass-failed"

namespace ptx_emulator {

// A value of a 16-bit floating point type, apart from uint16_t to give overloads their meaning.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

// How a type lies in a register slot: types below 32 bits sit zero-extended in a uint32_t.
template <class T>
struct Stored {
  using type = T;
  static T get(T stored) { return stored; }
  static T put(T value) { return value; }
};
template <class T>
struct StoredNarrow {
  using type = uint32_t;
  static T get(uint32_t stored) { return static_cast<T>(stored); }
  static uint32_t put(T value) {
    return static_cast<uint32_t>(static_cast<std::make_unsigned_t<T>>(value));
  }
};
template <>
struct Stored<float> {
  using type = float;
  static float get(float stored) { return stored; }
  static float put(float value) { return canonical(value); }
};
template <>
struct Stored<uint8_t> : StoredNarrow<uint8_t> {};
template <>
struct Stored<int8_t> : StoredNarrow<int8_t> {};
template <>
struct Stored<uint16_t> : StoredNarrow<uint16_t> {};
template <>
struct Stored<int16_t> : StoredNarrow<int16_t> {};
template <class T>
struct StoredFloat16 {
  using type = uint32_t;
  static T get(uint32_t stored) { return T{static_cast<uint16_t>(stored)}; }
  static uint32_t put(T value) { return value.bits; }
};
template <>
struct Stored<Half> : StoredFloat16<Half> {};
template <>
struct Stored<BFloat> : StoredFloat16<BFloat> {};

template <class T>
using stored_t = typename Stored<T>::type;

// 'h', 'w' or 'd' for registers of 16, 32 or 64 bits; see OpTable.
template <class T>
constexpr char signature_of() {
  return sizeof(T) <= 2 ? 'h' : sizeof(T) == 4 ? 'w' : 'd';
}

template <auto F, class D, class... S, size_t... N>
inline void map_lanes(Warp& warp, const Instruction& instruction, D (*)(S...),
                      std::index_sequence<N...>) {
  stored_t<D>* const destination = warp.lanes<stored_t<D>>(instruction.operand[0]);
  const std::tuple<const stored_t<S>*...> source{
      warp.lanes<const stored_t<S>>(instruction.operand[N + 1])...};
  const uint32_t mask = warp.mask;
  if (mask == kAllLanes) {
    PTX_EMULATOR_LANE_LOOP
    for (int lane = 0; lane < kLanes; ++lane) {
      destination[lane] = Stored<D>::put(F(Stored<S>::get(std::get<N>(source)[lane])...));
    }
  } else {
    for (int lane = 0; lane < kLanes; ++lane) {
      if (!(mask >> lane & 1)) continue;
      destination[lane] = Stored<D>::put(F(Stored<S>::get(std::get<N>(source)[lane])...));
    }
  }
}

template <auto F, class D, class... S>
inline void map_function(Warp& warp, const Instruction& instruction, D (*function)(S...)) {
  map_lanes<F>(warp, instruction, function, std::index_sequence_for<S...>{});
}

// Handler: operand 0 = F(operand 1, operand 2, ...), lane by lane.
template <auto F>
void map(Warp& warp, const Instruction& instruction) {
  map_function<F>(warp, instruction, F);
}

}  // namespace ptx_emulator
