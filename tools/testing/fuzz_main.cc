// FUZZER --write_seeds=FOLDER, or libFuzzer's own arguments.
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "tools/testing/fuzz.h"

extern "C" int LLVMFuzzerRunDriver(int* argc, char*** argv,
                                   int (*fuzz_one)(const uint8_t* data, size_t size));

// std::deque calls it, and the wheel's runtime is too old to have it. Containers are not watched.
extern "C" void __sanitizer_annotate_double_ended_contiguous_container(const void*, const void*,
                                                                       const void*, const void*,
                                                                       const void*, const void*) {}

namespace fuzzing {

void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

namespace {

void write_seeds(const std::string& folder) {
  int number = 0;
  for (const std::string& seed : seeds()) {
    std::ofstream file(folder + "/" + std::to_string(number++), std::ios::binary);
    file << seed;
    require(file.good(), "cannot write to " + folder);
  }
}

int fuzz_one(const uint8_t* data, size_t size) {
  fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}

}  // namespace
}  // namespace fuzzing

int main(int argc, char** argv) {
  const std::string option = "--write_seeds=";
  if (argc == 2 && std::string(argv[1]).rfind(option, 0) == 0) {
    fuzzing::write_seeds(argv[1] + option.size());
    return 0;
  }
  return LLVMFuzzerRunDriver(&argc, &argv, fuzzing::fuzz_one);
}
