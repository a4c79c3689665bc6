#include "tools/ptx_emulator/faults.h"

#include <cstdio>

namespace ptx_emulator {

const char* fault_kind_name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kRace:
      return "race";
    case FaultKind::kBounds:
      return "bounds";
    case FaultKind::kAlignment:
      return "alignment";
    case FaultKind::kUninitialized:
      return "uninitialized";
    case FaultKind::kAsync:
      return "async";
    case FaultKind::kBarrier:
      return "barrier";
    case FaultKind::kDeadlock:
      return "deadlock";
    case FaultKind::kWarpSync:
      return "warp_sync";
    case FaultKind::kTrap:
      return "trap";
    case FaultKind::kInstructionLimit:
      return "instruction_limit";
  }
  return "unknown";
}

std::string json_quote(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof(escaped), "\\u%04x", static_cast<unsigned char>(c));
      quoted += escaped;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

void FaultLog::add(const Fault& fault) {
  const int line = fault.source.empty() ? fault.ptx_line : 0;
  const Key key(fault.kind, fault.kernel, fault.source, fault.inlined_at, line);
  const auto [place, inserted] = faults_.emplace(key, fault);
  if (inserted) return;
  const uint64_t count = place->second.count + fault.count;
  if (fault.block_index < place->second.block_index) place->second = fault;
  place->second.count = count;
}

void FaultLog::merge(const FaultLog& other) {
  for (const auto& [key, fault] : other.faults_) add(fault);
}

std::string FaultLog::to_json_lines() const {
  std::string lines;
  for (const auto& [key, f] : faults_) {
    const auto number = [](uint64_t value) { return std::to_string(value); };
    lines += std::string("{\"kind\": \"") + fault_kind_name(f.kind) + "\"";
    lines += ", \"message\": " + json_quote(f.message);
    lines += ", \"kernel\": " + json_quote(f.kernel);
    lines += ", \"block\": [" + number(f.block[0]) + ", " + number(f.block[1]) + ", " +
             number(f.block[2]) + "]";
    lines += ", \"warp\": " + number(f.warp) + ", \"lane\": " + number(f.lane);
    lines += ", \"ptx_line\": " + number(f.ptx_line);
    lines += ", \"source\": " + json_quote(f.source);
    lines += ", \"inlined_at\": " + json_quote(f.inlined_at);
    lines += ", \"opcode\": " + json_quote(f.opcode);
    lines += ", \"count\": " + number(f.count) + "}\n";
  }
  return lines;
}

}  // namespace ptx_emulator
