#include "tools/verify/golden.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace edge_llm::verify {
namespace {

constexpr char kFirstLine[] = "edge_llm_plugins verify 1";

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(path, std::ios::binary) {
    if (!file_) throw VerifyError(path + ": " + std::strerror(errno));
  }

  bool next_line(std::string& line) { return static_cast<bool>(std::getline(file_, line)); }

  template <typename T>
  std::vector<T> values(int64_t count) {
    if (count < 0 || count > kMostValues) refuse("has a wrong count");
    std::vector<T> values(count);
    file_.read(reinterpret_cast<char*>(values.data()),
               static_cast<std::streamsize>(count * sizeof(T)));
    if (!file_) refuse("is cut off");
    return values;
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw VerifyError(path_ + " " + what + ": unpack the release anew");
  }

 private:
  static constexpr int64_t kMostValues = 1 << 20;

  std::string path_;
  std::ifstream file_;
};

// "name=value" words to values.
template <typename T>
std::map<std::string, T> named_values(std::istream& words, const Reader& reader) {
  std::map<std::string, T> values;
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    std::istringstream text(equals == std::string::npos ? "" : word.substr(equals + 1));
    T value{};
    if (!(text >> value)) reader.refuse("has '" + word + "' where name=value is allowed");
    values[word.substr(0, equals)] = value;
  }
  return values;
}

Kernel kernel_of(std::istream& words) {
  Kernel kernel;
  words >> kernel.name;
  for (int sm = 0; words >> sm;) kernel.without.push_back(sm);
  return kernel;
}

}  // namespace

int64_t GoldenProblem::fact(const std::string& name) const {
  const auto found = facts.find(name);
  if (found == facts.end()) throw VerifyError("the problem '" + label + "' lacks " + name);
  return found->second;
}

Golden read_golden(const std::string& path) {
  Reader reader(path);
  std::string line;
  if (!reader.next_line(line) || line != kFirstLine) {
    reader.refuse(std::string("does not begin with '") + kFirstLine + "'");
  }
  Golden golden;
  while (reader.next_line(line)) {
    const size_t bar = line.find('|');
    std::istringstream words(line.substr(0, bar));
    std::string kind;
    words >> kind;
    if (kind == "limits") {
      auto values = named_values<double>(words, reader);
      golden.limits = {values["int4_relative_rms"], values["attention"], values["key"]};
    } else if (kind == "kernel") {
      golden.kernels.push_back(kernel_of(words));
    } else if (kind == "int4_gemm" || kind == "attention") {
      GoldenProblem problem{kind,
                            bar == std::string::npos ? "" : line.substr(bar + 1),
                            named_values<int64_t>(words, reader),
                            {},
                            {}};
      problem.outputs = reader.values<float>(problem.fact("outputs"));
      if (kind == "attention") problem.keys = reader.values<uint16_t>(problem.fact("keys"));
      golden.problems.push_back(std::move(problem));
    } else {
      reader.refuse("has a line that begins with neither limits, kernel, int4_gemm nor attention");
    }
  }
  if (golden.problems.empty()) reader.refuse("has no problems");
  return golden;
}

}  // namespace edge_llm::verify
