// The C control API.
#include "tools/ptx_emulator/driver.h"
#include "tools/ptx_emulator/export.h"
#include "tools/ptx_emulator/ptx_emulator.h"

using ptx_emulator::Driver;
using ptx_emulator::last_error;

namespace {

std::string stats_json(const Driver& driver) {
  const ptx_emulator::Counters& c = driver.counters;
  std::string json = "{\"launches\": " + std::to_string(driver.launches);
  const auto add = [&](const char* name, uint64_t value) {
    json += std::string(", \"") + name + "\": " + std::to_string(value);
  };
  add("warp_instructions", c.warp_instructions);
  add("thread_instructions", c.thread_instructions);
  add("mma", c.mma);
  ptx_emulator::SharedCounters shared;
  for (const auto& [opcode, counters] : driver.opcodes) {
    shared.phases += counters.shared.phases;
    shared.wavefronts += counters.shared.wavefronts;
  }
  add("shared_phases", shared.phases);
  add("shared_wavefronts", shared.wavefronts);
  add("global_requests", c.global_requests);
  add("global_sectors", c.global_sectors);
  add("barriers", c.barriers);
  add("divergent_branches", c.divergent_branches);
  std::string opcodes, accesses;
  for (const auto& [opcode, counters] : driver.opcodes) {
    const std::string name = ptx_emulator::json_quote(opcode);
    opcodes +=
        (opcodes.empty() ? "" : ", ") + name + ": " + std::to_string(counters.warp_instructions);
    if (counters.shared.phases == 0) continue;
    accesses += (accesses.empty() ? "" : ", ") + name +
                ": {\"phases\": " + std::to_string(counters.shared.phases) +
                ", \"wavefronts\": " + std::to_string(counters.shared.wavefronts) + "}";
  }
  return json + ", \"opcodes\": {" + opcodes + "}, \"shared\": {" + accesses + "}}";
}

}  // namespace

extern "C" {

PTX_EMULATOR_EXPORT int ptx_emulator_set_checks(const char* list) {
  uint32_t checks = 0;
  if (list == nullptr) {
    last_error() = "the list of checks is null";
    return -1;
  }
  if (!ptx_emulator::parse_checks(list, &checks)) return -1;
  Driver::instance().settings.checks = checks;
  return 0;
}

PTX_EMULATOR_EXPORT int ptx_emulator_set_threads(int threads) {
  if (threads < 0) {
    last_error() = "threads must be 0 or more, not " + std::to_string(threads);
    return -1;
  }
  Driver::instance().settings.threads = threads;
  return 0;
}

PTX_EMULATOR_EXPORT int ptx_emulator_set_seed(unsigned seed) {
  Driver::instance().settings.seed = seed;
  return 0;
}

PTX_EMULATOR_EXPORT int ptx_emulator_set_instruction_limit(uint64_t limit) {
  Driver::instance().settings.instruction_limit = limit;
  return 0;
}

PTX_EMULATOR_EXPORT int ptx_emulator_name_allocation(unsigned long long pointer, const char* name) {
  if (name != nullptr && Driver::instance().memory.rename(pointer, name)) return 0;
  last_error() = "no allocation begins at this address";
  return -1;
}

PTX_EMULATOR_EXPORT int64_t ptx_emulator_fault_count(void) {
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  return static_cast<int64_t>(driver.faults.size());
}

PTX_EMULATOR_EXPORT const char* ptx_emulator_take_faults(void) {
  thread_local std::string text;
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  text = driver.faults.to_json_lines();
  driver.faults.clear();
  return text.c_str();
}

PTX_EMULATOR_EXPORT const char* ptx_emulator_take_stats(void) {
  thread_local std::string text;
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  text = stats_json(driver);
  driver.counters = ptx_emulator::Counters{};
  driver.launches = 0;
  driver.opcodes.clear();
  return text.c_str();
}

PTX_EMULATOR_EXPORT void ptx_emulator_fail_calls(uint64_t skip, uint64_t count, int result) {
  Driver::instance().planned_failures.plan(skip, count, static_cast<CUresult>(result));
}

PTX_EMULATOR_EXPORT uint64_t ptx_emulator_calls(void) {
  return Driver::instance().planned_failures.calls();
}

PTX_EMULATOR_EXPORT const char* ptx_emulator_held(void) {
  thread_local std::string text;
  Driver& driver = Driver::instance();
  const std::lock_guard<std::mutex> lock(driver.mutex);
  const auto member = [](const char* name, size_t count) {
    return "\"" + std::string(name) + "\": " + std::to_string(count);
  };
  text = "{" + member("allocations", driver.memory.count()) + ", " +
         member("contexts", driver.context_references()) + ", " +
         member("events", driver.events.size()) + ", " +
         member("libraries", driver.libraries.size()) + ", " +
         member("streams", driver.streams.size()) + "}";
  return text.c_str();
}

PTX_EMULATOR_EXPORT const char* ptx_emulator_last_error(void) { return last_error().c_str(); }

}  // extern "C"
