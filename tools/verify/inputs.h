// Seeded inputs, by the bit those of python/edge_llm_plugins/verify/inputs.py, which says what each
// is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace edge_llm::verify {

using Bytes = std::string;  // a tensor's memory

uint64_t random_word(uint64_t seed, uint64_t tensor, uint64_t index);

std::vector<uint16_t> normals(uint64_t seed, uint64_t tensor, size_t count);  // FP16
std::vector<uint16_t> scales(uint64_t seed, uint64_t tensor, size_t count);   // FP16
std::vector<uint64_t> int8s(uint64_t seed, uint64_t tensor, size_t count);    // eight to a word
std::vector<float> rope_table(int64_t positions, int64_t rotary_size);        // [positions, size]
std::vector<int32_t> parents(uint64_t seed, uint64_t tensor, int64_t tokens);

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// The value of an FP16 number, exact.
double half_value(uint16_t half);

// The distance to the next FP16 number away from zero.
double half_spacing(uint16_t half);

// CRC-32 of what `crc` is the one of (0 at first), followed by these bytes; that of zlib.
uint32_t crc32(uint32_t crc, const Bytes& bytes);

}  // namespace edge_llm::verify
