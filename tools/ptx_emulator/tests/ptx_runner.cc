#include "tools/ptx_emulator/tests/ptx_runner.h"

#include <cstring>
#include <stdexcept>

#include "tools/ptx_emulator/parser.h"

namespace ptx_emulator {

void parse_text(const std::string& text, Module& module) {
  parse_module(text, [](const Variable&) { return uint64_t{1} << kWindowBits; }, module);
}

std::string wrap_body(const std::string& body, const std::string& declarations,
                      const std::string& target) {
  return R"(.version 8.0
.target )" +
         target + "\n.address_size 64\n" + declarations +
         R"(
.visible .entry test(.param .u64 out, .param .u64 in)
{
.reg .pred %p<64>;
.reg .b16 %h<64>;
.reg .b32 %r<64>;
.reg .f32 %f<64>;
.reg .b64 %d<64>;
.reg .b64 %out, %in, %x, %y;
ld.param.u64 %out, [out];
ld.param.u64 %in, [in];
)" + body +
         "\nret;\n}\n";
}

RunResult run_text(const std::string& text, size_t out_bytes, const std::vector<uint8_t>& in,
                   const RunOptions& options) {
  DeviceMemory memory;
  Module module;
  parse_module(
      text,
      [&](const Variable& variable) {
        const uint64_t address = memory.allocate(-1, variable.bytes, false, variable.name);
        uint8_t* const data = memory.find(address)->data;
        std::memset(data, 0, variable.bytes);
        std::memcpy(data, variable.initial.data(), variable.initial.size());
        return address;
      },
      module);
  const uint64_t out = memory.allocate(0, out_bytes, true, "out");
  const uint64_t input = memory.allocate(0, in.size() + 1, false, "in");
  std::memcpy(memory.find(input)->data, in.data(), in.size());

  Launch launch;
  launch.kernel = &module.kernels.at("test");
  launch.memory = &memory;
  launch.parameters.resize(16);
  std::memcpy(launch.parameters.data(), &out, 8);
  std::memcpy(launch.parameters.data() + 8, &input, 8);
  launch.grid[0] = options.blocks;
  launch.block[0] = options.threads;
  launch.shared_bytes = launch.kernel->static_shared_bytes + options.dynamic_shared;
  launch.checks = options.checks;
  launch.seed = options.seed;
  launch.instruction_limit = options.instruction_limit;

  RunResult result;
  result.launch = run_launch(launch, options.host_threads);
  const uint8_t* const data = memory.find(out)->data;
  result.out.assign(data, data + out_bytes);
  return result;
}

std::vector<uint64_t> evaluate(const std::string& body, char result, const Operands& operands) {
  constexpr int kMaxInputs = 8;
  if (operands.size() > kMaxInputs) throw std::invalid_argument("too many operands");
  std::string text =
      "mov.u32 %r60, %tid.x;\nmad.wide.u32 %out, %r60, 8, %out;\n"
      "mad.wide.u32 %in, %r60, 64, %in;\n";
  std::vector<uint8_t> in(kLanes * kMaxInputs * 8);
  for (size_t i = 0; i < operands.size(); ++i) {
    const std::string n = std::to_string(i);
    text += "ld.global.u64 %d" + n + ", [%in+" + std::to_string(8 * i) + "];\n";
    text += "cvt.u32.u64 %r" + n + ", %d" + n + ";\ncvt.u16.u64 %h" + n + ", %d" + n + ";\n";
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const uint64_t value = operands[i][lane % operands[i].size()];
      std::memcpy(in.data() + (lane * kMaxInputs + i) * 8, &value, 8);
    }
  }
  text += body + "\n";
  if (result == 'w') text += "cvt.u64.u32 %d9, %r9;\n";
  if (result == 'h') text += "cvt.u64.u16 %d9, %h9;\n";
  if (result == 'p') text += "selp.b64 %d9, 1, 0, %p9;\n";
  text += "st.global.u64 [%out], %d9;\n";
  const RunResult run = run_text(wrap_body(text), kLanes * 8, in);
  if (!run.faults().empty()) throw std::runtime_error("faults: " + run.faults());
  std::vector<uint64_t> values;
  for (size_t lane = 0; lane < kLanes; ++lane) values.push_back(run.at<uint64_t>(lane));
  return values;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::invalid_argument("no '" + from + "' in the kernel");
  return text.replace(at, from.size(), to);
}

}  // namespace ptx_emulator
