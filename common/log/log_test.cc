#include "common/log/log.h"

#include <vector>

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "common/model/ids.h"

namespace lockstep {
namespace {

std::string Text(const std::vector<LogField>& fields) {
  return FormatEvent(LogFormat::kText, LogLevel::kInfo, "gap_found", fields);
}

TEST(Log, WritesNameThenFields) {
  EXPECT_EQ(Text({{"stream", StreamName{"orders", 0}},
                  {"epoch", Epoch(3)},
                  {"records", 88},
                  {"solo", false},
                  {"seconds", 1.5}}),
            "info gap_found stream=orders/0 epoch=3 records=88 solo=false seconds=1.5");
}

TEST(Log, AValueCanNeitherEndItsFieldNorItsLine) {
  EXPECT_EQ(Text({{"a", "x y"}, {"b", "say \"hi\""}, {"c", "1\n2"}, {"d", ""}, {"e", "k=v"}}),
            R"(info gap_found a="x y" b="say \"hi\"" c="1\n2" d="" e="k=v")");
}

TEST(Log, JsonIsJsonWhateverTheBytes) {
  const std::vector<LogField> fields = {
      {"bytes", std::string("a\xff\x01\"\xc3\xa9\xf0\x80", 9)}, {"n", 7}, {"nan", std::nan("")}};
  const std::string line = "{" + FormatEvent(LogFormat::kJson, LogLevel::kWarn, "x", fields);
  rapidjson::Document document;
  document.Parse<rapidjson::kParseValidateEncodingFlag>(line.c_str());
  ASSERT_FALSE(document.HasParseError()) << line;
  EXPECT_EQ(document["n"].GetInt(), 7);
  EXPECT_TRUE(document["nan"].IsString());
}

TEST(Log, LevelsAreParsed) {
  EXPECT_EQ(ParseLogLevel("warn").value(), LogLevel::kWarn);
  EXPECT_FALSE(ParseLogLevel("loud").ok());
  SetUpLogging({.level = LogLevel::kError});
  EXPECT_FALSE(LogEnabled(LogLevel::kWarn));
  SetUpLogging({});
  EXPECT_TRUE(LogEnabled(LogLevel::kInfo));
}

}  // namespace
}  // namespace lockstep
