#include "producer/pika/pika_filter.h"

#include <rapidcheck.h>

#include <regex>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::pika {
namespace {

using testing::HasSubstr;

PikaFilter With(const char* rule, std::vector<std::string> values) {
  PikaFilter filter;
  const absl::Status status = filter.Set(rule, std::move(values));
  EXPECT_TRUE(status.ok()) << status;
  return filter;
}

TEST(PikaFilter, WithoutRulesEverythingPasses) {
  EXPECT_TRUE(PikaFilter().Passes("set", DataType::kString, "k"));
  EXPECT_TRUE(PikaFilter().Passes("flushdb", DataType::kDatabase, std::nullopt));
  EXPECT_TRUE(PikaFilter().Passes("newcommand", DataType::kUnknown, std::nullopt));
}

TEST(PikaFilter, CommandsAreNamedInAnyCase) {
  const PikaFilter only = With("commands", {"SET", "del"});
  EXPECT_TRUE(only.Passes("set", DataType::kString, "k"));
  EXPECT_TRUE(only.Passes("del", DataType::kKey, "k"));
  EXPECT_FALSE(only.Passes("setex", DataType::kString, "k"));
  EXPECT_FALSE(only.Passes("flushdb", DataType::kDatabase, std::nullopt));
  EXPECT_FALSE(only.Passes("newcommand", DataType::kUnknown, std::nullopt));
  const PikaFilter but = With("exclude-commands", {"Expire"});
  EXPECT_FALSE(but.Passes("expire", DataType::kKey, "k"));
  EXPECT_TRUE(but.Passes("set", DataType::kString, "k"));
}

TEST(PikaFilter, ATypeIsWhatTheEventNames) {
  const PikaFilter filter = With("types", {"string", "key"});
  EXPECT_TRUE(filter.Passes("set", DataType::kString, "k"));
  EXPECT_TRUE(filter.Passes("del", DataType::kKey, "k"));
  EXPECT_FALSE(filter.Passes("hset", DataType::kHash, "k"));
  EXPECT_FALSE(filter.Passes("flushdb", DataType::kDatabase, std::nullopt));
}

TEST(PikaFilter, KeysAreMatchedAndWhatHasNonePasses) {
  const PikaFilter only = With("keys", {"user:*", "cart:?"});
  EXPECT_TRUE(only.Passes("set", DataType::kString, "user:1"));
  EXPECT_TRUE(only.Passes("set", DataType::kString, "cart:1"));
  EXPECT_FALSE(only.Passes("set", DataType::kString, "cart:12"));
  EXPECT_FALSE(only.Passes("set", DataType::kString, ""));
  EXPECT_TRUE(only.Passes("flushdb", DataType::kDatabase, std::nullopt));
  const PikaFilter but = With("exclude-keys", {"tmp:*"});
  EXPECT_FALSE(but.Passes("set", DataType::kString, "tmp:1"));
  EXPECT_TRUE(but.Passes("set", DataType::kString, "xtmp:1"));
  EXPECT_TRUE(but.Passes("flushdb", DataType::kDatabase, std::nullopt));
}

TEST(PikaFilter, EveryRuleMustLetItPass) {
  PikaFilter filter = With("keys", {"user:*"});
  ASSERT_TRUE(filter.Set("exclude-keys", {"*:secret"}).ok());
  ASSERT_TRUE(filter.Set("commands", {"set", "hset"}).ok());
  ASSERT_TRUE(filter.Set("types", {"string"}).ok());
  EXPECT_TRUE(filter.Passes("set", DataType::kString, "user:1"));
  EXPECT_FALSE(filter.Passes("set", DataType::kString, "user:secret"));
  EXPECT_FALSE(filter.Passes("hset", DataType::kHash, "user:1"));
}

TEST(PikaFilter, ErrorsTeach) {
  const struct {
    const char* rule;
    const char* value;
    const char* says;
  } rows[] = {
      {"commands", "sett", "'sett' is no command"},
      {"commands", "get", "'get' is no command"},
      {"exclude-commands", "clearcache", "'clearcache' is no command"},
      {"commands", "", "'' is no command"},
      {"types", "strings", "'strings' is no data type; known are string, hash"},
      {"keys", "", "an empty pattern"},
      {"exclude-keys", "a\\", "ends in a '\\'"},
  };
  for (const auto& row : rows) {
    const absl::Status status = PikaFilter().Set(row.rule, {row.value});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.says));
  }
  EXPECT_TRUE(PikaFilter().Set("keys", {"a\\\\"}).ok());
  EXPECT_EQ(PikaFilter().Set("colour", {"red"}).code(), absl::StatusCode::kNotFound);
}

TEST(MatchesGlob, TakesBytesAsTheyAre) {
  const struct {
    const char* pattern;
    std::string text;
    bool matches;
  } rows[] = {
      {"a", "a", true},       {"a", "b", false},         {"a", "ab", false},
      {"", "", true},         {"", "a", false},          {"*", "", true},
      {"*", "any", true},     {"**", "x", true},         {"a*c", "abcbc", true},
      {"a*c", "abcb", false}, {"*a*b*", "xxaxxb", true}, {"?", "", false},
      {"?", "\xff", true},    {"a?c", "abc", true},      {"a?", "a", false},
      {"\\*", "*", true},     {"\\*", "x", false},       {"\\?", "x", false},
      {"\\\\", "\\", true},   {"*\\*", "ab*", true},     {"[a]", "a", false},
      {"[a]", "[a]", true},   {"A", "a", false},         {"*", std::string("\0\n", 2), true},
      {"a*", "ba", false},    {"*ab", "aab", true},      {"a**?b", "axb", true},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(MatchesGlob(row.pattern, row.text), row.matches) << row.pattern << " " << row.text;
  }
}

// Few letters, so that patterns match often and backtrack.
TEST(MatchesGlob, IsWhatTheRegularExpressionSays) {
  EXPECT_TRUE(rc::check("glob against regex", [] {
    const auto letters =
        rc::gen::container<std::string>(rc::gen::element('a', 'b', '*', '?', '\\'));
    std::string pattern = *letters;
    const std::string text = *letters;
    if (!PikaFilter().Set("keys", {pattern}).ok()) pattern = "*";
    std::string regex;
    for (size_t i = 0; i < pattern.size(); ++i) {
      if (pattern[i] == '*') {
        regex += ".*";
      } else if (pattern[i] == '?') {
        regex += ".";
      } else {
        if (pattern[i] == '\\') ++i;
        regex += std::string("[") + (pattern[i] == '\\' ? "\\" : "") + pattern[i] + "]";
      }
    }
    RC_ASSERT(MatchesGlob(pattern, text) == std::regex_match(text, std::regex(regex)));
  }));
}

TEST(MatchesGlob, ManyStarsTakeNoTime) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  EXPECT_FALSE(MatchesGlob(pattern + "b", std::string(20'000, 'a')));
}

}  // namespace
}  // namespace lockstep::pika
