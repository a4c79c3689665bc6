#include "tools/verify/inputs.h"

#include <array>
#include <cmath>
#include <limits>

namespace edge_llm::verify {
namespace {

constexpr int kRopeSteps = 4096;
constexpr double kRopeBase = 10000.0;

// number / 2^shift as FP16; it has at most 11 significant bits, and is no subnormal number.
uint16_t half_of(int number, int shift) {
  if (number == 0) return 0;
  const int magnitude = std::abs(number);
  int exponent = 0;
  while (magnitude >> (exponent + 1) != 0) ++exponent;
  const int fraction = exponent > 10 ? magnitude >> (exponent - 10) : magnitude << (10 - exponent);
  const int bits = ((exponent - shift + 15) << 10) | (fraction & 0x3ff);
  return static_cast<uint16_t>(bits | (number < 0 ? 0x8000 : 0));
}

std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit) {
      table[i] = table[i] >> 1 ^ ((table[i] & 1) != 0 ? 0xEDB88320u : 0);
    }
  }
  return table;
}

}  // namespace

// SplitMix64.
uint64_t random_word(uint64_t seed, uint64_t tensor, uint64_t index) {
  uint64_t z = (index + 1) * 0x9E3779B97F4A7C15u + (seed << 8 | tensor);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

std::vector<uint16_t> normals(uint64_t seed, uint64_t tensor, size_t count) {
  std::vector<uint16_t> halves(count);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t word = random_word(seed, tensor, i);
    const auto sum = static_cast<int>((word & 0xffff) + (word >> 16 & 0xffff) +
                                      (word >> 32 & 0xffff) + (word >> 48));
    halves[i] = half_of((sum - 2 * 65535) >> 6, 9);
  }
  return halves;
}

std::vector<uint16_t> scales(uint64_t seed, uint64_t tensor, size_t count) {
  std::vector<uint16_t> halves(count);
  for (size_t i = 0; i < count; ++i) {
    halves[i] = half_of(static_cast<int>(random_word(seed, tensor, i) % 1475) + 164, 14);
  }
  return halves;
}

std::vector<uint64_t> int8s(uint64_t seed, uint64_t tensor, size_t count) {
  std::vector<uint64_t> words(count / 8);
  for (size_t i = 0; i < words.size(); ++i) words[i] = random_word(seed, tensor, i);
  return words;
}

std::vector<float> rope_table(int64_t positions, int64_t rotary_size) {
  const int64_t pairs = rotary_size / 2;
  std::vector<float> table(positions * rotary_size);
  for (int64_t i = 0; i < pairs; ++i) {
    const double frequency =
        std::pow(kRopeBase, -static_cast<double>(2 * i) / static_cast<double>(rotary_size));
    for (int64_t position = 0; position < positions; ++position) {
      const double angle = static_cast<double>(position) * frequency;
      const auto rounded = [](double value) {
        return std::rint(static_cast<float>(value) * kRopeSteps) / kRopeSteps;
      };
      table[position * rotary_size + i] = rounded(std::cos(angle));
      table[position * rotary_size + pairs + i] = rounded(std::sin(angle));
    }
  }
  return table;
}

std::vector<int32_t> parents(uint64_t seed, uint64_t tensor, int64_t tokens) {
  std::vector<int32_t> tree(tokens);
  for (int64_t i = 0; i < tokens; ++i) {
    tree[i] = static_cast<int32_t>(random_word(seed, tensor, i) % (i + 1)) - 1;
  }
  return tree;
}

double half_value(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int fraction = half & 0x3ff;
  double magnitude = std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 0) magnitude = std::ldexp(fraction, -24);
  if (exponent == 31) {
    magnitude = fraction == 0 ? std::numeric_limits<double>::infinity()
                              : std::numeric_limits<double>::quiet_NaN();
  }
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

double half_spacing(uint16_t half) {
  const int exponent = half >> 10 & 31;
  return std::ldexp(1, (exponent > 1 ? exponent : 1) - 25);
}

uint32_t crc32(uint32_t crc, const Bytes& bytes) {
  static const std::array<uint32_t, 256> table = crc_table();
  crc = ~crc;
  for (const char byte : bytes)
    crc = table[(crc ^ static_cast<unsigned char>(byte)) & 255] ^ crc >> 8;
  return ~crc;
}

}  // namespace edge_llm::verify
