// A fuzzer with one defect of each kind, for fuzz_runner_test.py: the input picks which.
#include <climits>
#include <stdexcept>

#include "tools/testing/fuzz.h"

std::vector<std::string> fuzzing::seeds() { return {"harmless"}; }

void fuzzing::fuzz(std::string_view input) {
  if (input.substr(0, 4) == "over") {
    const std::vector<char> copy(input.begin(), input.end());
    volatile char behind = copy.data()[copy.size()];
    (void)behind;
  }
  volatile int largest = INT_MAX;
  if (input.substr(0, 4) == "wrap") largest = largest + static_cast<int>(input.size());
  if (input.substr(0, 4) == "fail") require(false, "a failed requirement");
  if (input.substr(0, 4) == "toss") throw std::runtime_error("nobody catches this");
}
