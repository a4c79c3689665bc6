#include "plugins/runtime/log.h"

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "plugins/runtime/status.h"
#include "tools/testing/testing.h"

namespace edge_llm {
namespace {

// Collects what is logged while it lives.
struct Collector {
  explicit Collector(const char* level) {
    setenv("EDGE_LLM_PLUGINS_LOG", level, 1);
    set_log_sink(
        [](void* self, LogLevel, const char* message) {
          static_cast<Collector*>(self)->messages.push_back(message);
          return true;
        },
        this);
  }
  ~Collector() {
    set_log_sink(nullptr, nullptr);
    unsetenv("EDGE_LLM_PLUGINS_LOG");
  }
  std::vector<std::string> messages;
};

std::vector<std::string> messages_at(const char* level) {
  Collector collector(level);
  log(LogLevel::kError, "an error");
  log(LogLevel::kInfo, "a note");
  return collector.messages;
}

}  // namespace

TEST(OffDropsEverything) { EXPECT_EQ(messages_at("off").size(), 0u); }

TEST(ErrorDropsInfo) { EXPECT_TRUE(messages_at("error") == std::vector<std::string>{"an error"}); }

TEST(UnknownLevelMeansError) { EXPECT_EQ(messages_at("verbose").size(), 1u); }

TEST(InfoKeepsBoth) { EXPECT_EQ(messages_at("info").size(), 2u); }

TEST(LastErrorIsEmptyOnANewThread) {
  Collector quiet("off");
  report_failure("here", "it broke");
  EXPECT_EQ(std::string(last_error()), "here: it broke");
  std::string on_new_thread = "unset";
  std::thread([&] { on_new_thread = last_error(); }).join();
  EXPECT_EQ(on_new_thread, "");
}

TEST(LongErrorIsCutNotOverrun) {
  Collector quiet("off");
  report_failure("here", std::string(5000, 'x').c_str());
  EXPECT_EQ(std::string(last_error()).size(), 1023u);
}

TEST(GuardedTurnsEveryExceptionIntoTheFailureValue) {
  Collector collector("error");
  EXPECT_EQ(guarded("a", 7, []() -> int { fail("value = ", 3, "; 4 is allowed"); }), 7);
  EXPECT_EQ(guarded("b", 8, []() -> int { throw 1; }), 8);
  EXPECT_EQ(guarded("c", 9, [] { return 0; }), 0);
  EXPECT_TRUE(collector.messages ==
              std::vector<std::string>({"a: value = 3; 4 is allowed", "b: unknown exception"}));
}

}  // namespace edge_llm
