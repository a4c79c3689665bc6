#include "tools/testing/testing.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <vector>

namespace testing {
namespace {

struct Test {
  const char* name;
  void (*body)();
  std::string failures;
};

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

Test* running = nullptr;
std::mutex failing;  // tests may fail on several threads at once

std::string filter(int argc, char** argv) {
  const std::string flag = "--filter=";
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]).rfind(flag, 0) == 0) return argv[i] + flag.size();
  }
  const char* only = std::getenv("TESTBRIDGE_TEST_ONLY");
  return only ? only : "";
}

std::string xml_escaped(const std::string& text) {
  std::string escaped;
  for (char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

void write_xml(const std::vector<Test*>& ran) {
  const char* path = std::getenv("XML_OUTPUT_FILE");
  if (!path) return;
  int failed = 0;
  for (const Test* test : ran) failed += !test->failures.empty();
  std::ofstream out(path);
  out << "<testsuites><testsuite name=\"cc_test\" tests=\"" << ran.size() << "\" failures=\""
      << failed << "\">\n";
  for (const Test* test : ran) {
    out << "<testcase name=\"" << test->name << "\">";
    if (!test->failures.empty()) {
      out << "<failure message=\"" << xml_escaped(test->failures) << "\"/>";
    }
    out << "</testcase>\n";
  }
  out << "</testsuite></testsuites>\n";
}

void run(Test& test) {
  running = &test;
  try {
    test.body();
  } catch (const TestEnded&) {
  } catch (const std::exception& error) {
    fail(test.name, 0, std::string("exception: ") + error.what());
  } catch (...) {
    fail(test.name, 0, "an exception that is no std::exception");
  }
  running = nullptr;
}

}  // namespace

Registrar::Registrar(const char* name, void (*body)()) { tests().push_back({name, body, ""}); }

void fail(const char* file, int line, const std::string& message) {
  std::string text = std::string(file) + ":" + std::to_string(line) + ": " + message;
  const std::lock_guard<std::mutex> lock(failing);
  std::printf("FAILED %s\n  %s\n", running ? running->name : "outside a test", text.c_str());
  if (running) running->failures += text + "\n";
}

bool throws_with(const char* file, int line, const char* expression,
                 const std::function<void()>& call, const std::string& part) {
  try {
    call();
  } catch (const std::exception& error) {
    if (std::string(error.what()).find(part) != std::string::npos) return true;
    fail(file, line,
         std::string(expression) + "\n    threw: " + error.what() + "\n    without: " + part);
    return false;
  }
  fail(file, line, std::string(expression) + " threw nothing; expected: " + part);
  return false;
}

}  // namespace testing

int main(int argc, char** argv) {
  const std::string part = testing::filter(argc, argv);
  std::vector<testing::Test*> ran;
  int failed = 0;
  for (testing::Test& test : testing::tests()) {
    if (std::string(test.name).find(part) == std::string::npos) continue;
    testing::run(test);
    ran.push_back(&test);
    failed += !test.failures.empty();
  }
  testing::write_xml(ran);
  std::printf("%zu passed, %d failed\n", ran.size() - failed, failed);
  if (ran.empty()) std::printf("no test contains \"%s\"\n", part.c_str());
  return ran.empty() || failed ? 1 : 0;
}
