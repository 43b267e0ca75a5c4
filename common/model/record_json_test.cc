#include "common/model/record_json.h"

#include <rapidcheck.h>

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/utf8.h"
#include "common/model/record_header.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

EmittedRecord Example() {
  return {.stream = {"orders", 0},
          .epoch = Epoch(1),
          .offset = Offset(4711),
          .producer = "A",
          .term = Term(4),
          .seq = Seq(2301),
          .at = "98231",
          .payload = {
              .key = "k1", .value = "…", .headers = {{"h", "v"}}, .timestamp_ms = 1700000000000}};
}

std::string Write(const EmittedRecord& record) {
  RecordJsonWriter writer;
  return std::string(writer.Write(record));
}

TEST(RecordJson, IsTheLineOfTheContract) {
  EXPECT_EQ(Write(Example()),
            R"({"stream":"orders/0","epoch":1,"offset":4711,"producer":"A","term":4,"seq":2301,)"
            R"("at":"98231","key":"k1","value":"…","timestamp_ms":1700000000000,)"
            R"("headers":{"h":"v"}})");
  EXPECT_EQ(ParseRecordJson(Write(Example())).value(), Example());
}

TEST(RecordJson, NullBinaryAndRepeatedHaveFormsOfTheirOwn) {
  EmittedRecord record = Example();
  record.payload = {.key = std::nullopt, .value = std::nullopt, .headers = {}, .timestamp_ms = 1};
  EXPECT_THAT(Write(record), HasSubstr(R"("key":null,"value":null,"timestamp_ms":1,"headers":{})"));

  record.payload.key = "";
  record.payload.value = "\xff\x00";
  record.payload.headers = {{"h", "v"}, {"h", std::nullopt}, {"b", "\xfe"}, {"e", ""}};
  record.log_offset = Offset(7);
  record.replayed = record.in_doubt = true;
  EXPECT_THAT(Write(record), HasSubstr(R"("key":"","value_b64":"/w==","timestamp_ms":1,)"
                                       R"("headers":[["h","v"],["h",null],["e",""]],)"
                                       R"("headers_b64":{"b":"/g=="},"log_offset":7,)"
                                       R"("replayed":true,"in_doubt":true})"));
  std::rotate(record.payload.headers.begin() + 2, record.payload.headers.begin() + 3,
              record.payload.headers.end());  // Binary ones are read last.
  EXPECT_EQ(ParseRecordJson(Write(record)).value(), record);
}

rc::Gen<std::string> Text() {
  return rc::gen::map(rc::gen::arbitrary<std::vector<uint8_t>>(), [](std::vector<uint8_t> bytes) {
    std::string text;
    for (const uint8_t byte : bytes) text += byte < 0x80 ? std::string(1, char(byte)) : "é";
    return text;
  });
}

rc::Gen<std::optional<std::string>> Bytes() {
  return rc::gen::map(rc::gen::arbitrary<std::pair<bool, std::string>>(),
                      [](std::pair<bool, std::string> some) {
                        return some.first ? std::optional(std::move(some.second)) : std::nullopt;
                      });
}

// Property: whatever the bytes, a record comes back as it was, headers with binary values last.
TEST(RecordJson, RoundTripsForEveryRecord) {
  ASSERT_TRUE(rc::check([](const std::string& producer, const std::string& at, bool replayed) {
    RC_PRE(ValidProducerName(producer) && ValidSourcePosition(at));
    EmittedRecord record = Example();
    record.producer = producer;
    record.at = at;
    record.replayed = replayed;
    record.epoch = Epoch(*rc::gen::inRange<int64_t>(1, INT64_MAX));
    record.offset = Offset(*rc::gen::inRange<int64_t>(0, INT64_MAX));
    record.payload = {.key = *Bytes(),
                      .value = *Bytes(),
                      .headers = {},
                      .timestamp_ms = *rc::gen::inRange<int64_t>(0, INT64_MAX)};
    for (const auto& name : *rc::gen::container<std::vector<std::string>>(Text())) {
      if (name == kRecordHeaderKey || name == kReinjectedHeaderKey) continue;
      record.payload.headers.emplace_back(name, *Bytes());
    }
    const std::string line = Write(record);
    RC_ASSERT(IsUtf8(line));
    RC_ASSERT(line.find('\n') == std::string::npos);
    std::stable_partition(record.payload.headers.begin(), record.payload.headers.end(),
                          [](const auto& h) { return !h.second || IsUtf8(*h.second); });
    RC_ASSERT(ParseRecordJson(line).value() == record);
    // The same line is a source line with the same payload.
    RC_ASSERT(ParseSourceLine(line).value().payload == record.payload);
  }));
}

TEST(RecordJson, MalformedIsRefusedWithTheField) {
  const struct {
    const char* from;
    const char* to;
    const char* names;
  } rows[] = {{"\"stream\":\"orders/0\",", "", "stream"},
              {"orders/0", "orders", "stream"},
              {"\"epoch\":1", "\"epoch\":0", "epoch"},
              {"\"epoch\":1", "\"epoch\":\"1\"", "epoch"},
              {"\"epoch\":1", "\"epoch\":1,\"epoch\":1", "epoch"},
              {"\"offset\":4711", "\"offset\":-1", "offset"},
              {"\"offset\":4711", "\"offset\":1.5", "offset"},
              {"\"offset\":4711", "\"offset\":9223372036854775808", "offset"},
              {"\"term\":4", "\"term\":null", "term"},
              {"\"producer\":\"A\"", "\"producer\":\"\"", "producer"},
              {"\"at\":\"98231\"", "\"at\":\"a/b\"", "at"},
              {"\"key\":\"k1\",", "", "key"},
              {"\"value\":\"…\",", "", "value"},
              {"\"h\":\"v\"", "\"h\":1", "headers"},
              {"{\"h\":\"v\"}", "[[\"h\"]]", "headers"},
              {"{\"h\":\"v\"}", "7", "headers"}};
  const std::string good = Write(Example());
  for (const auto& row : rows) {
    std::string line = good;
    const size_t at = line.find(row.from);
    ASSERT_NE(at, std::string::npos) << row.from;
    line.replace(at, std::string_view(row.from).size(), row.to);
    const auto parsed = ParseRecordJson(line);
    ASSERT_FALSE(parsed.ok()) << line;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(row.names)) << line;
  }
}

TEST(SourceLine, NeedsOnlyAValue) {
  EXPECT_EQ(ParseSourceLine(R"({"value":"x"})").value(), (SourceLine{.payload = {.value = "x"}}));
  EXPECT_EQ(ParseSourceLine(R"({"value":null,"key":"k"})").value(),
            (SourceLine{.payload = {.key = "k"}}));
  const SourceLine all = {.payload = {.key = "\xff",
                                      .value = std::string("a\0b", 3),
                                      .headers = {{"h", "1"}, {"h", "2"}, {"b", "\xfe"}},
                                      .timestamp_ms = 5},
                          .partition = 3};
  EXPECT_EQ(ParseSourceLine(R"( {"partition":3,"headers_b64":{"b":"/g=="},"timestamp_ms":5,)"
                            R"("headers":[["h","1"],["h","2"]],"key_b64":"/w==",)"
                            R"("value":"a\u0000b","extra":[{}]} )")
                .value(),
            all);
}

TEST(SourceLine, MalformedIsRefusedWithTheField) {
  const struct {
    std::string line;
    const char* names;
  } rows[] = {
      {"", "not JSON"},
      {"x", "not JSON"},
      {"{}", "\"value\" is missing"},
      {"[]", "not a JSON object"},
      {R"({"value":"x")", "not JSON"},
      {R"({"value":"x"} y)", "not JSON"},
      {"{\"value\":\"\xff\"}", "not UTF-8"},
      {R"({"value":"\ud800"})", "not JSON"},
      {R"({"value":1})", "value"},
      {R"({"value":{}})", "value"},
      {R"({"value_b64":"a"})", "value_b64"},
      {R"({"value_b64":null})", "value_b64"},
      {R"({"value":"x","value_b64":"eA=="})", "value_b64"},
      {R"({"value":"x","value":"y"})", "value"},
      {R"({"value":"x","key":1})", "key"},
      {R"({"value":"x","partition":-1})", "partition"},
      {R"({"value":"x","partition":2147483648})", "partition"},
      {R"({"value":"x","partition":"1"})", "partition"},
      {R"({"value":"x","timestamp_ms":-1})", "timestamp_ms"},
      {R"({"value":"x","headers":{"lockstep":"1/1//A"}})", "Lockstep's own"},
      {R"({"value":"x","headers_b64":{"h":"?"}})", "headers_b64"},
  };
  for (const auto& row : rows) {
    const auto parsed = ParseSourceLine(row.line);
    ASSERT_FALSE(parsed.ok()) << row.line;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(row.names)) << row.line;
  }
  EXPECT_FALSE(ParseSourceLine(std::string(1 << 20, '[')).ok());  // Deep, not a stack overflow.
}

TEST(Utf8, IsWhatRfc3629Allows) {
  for (const char* good : {"", "a", "é", "€", "😀", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "abcdefgh\xff", "abcdefg\xc3\xa9\xff"}) {
    EXPECT_FALSE(IsUtf8(bad));
  }
}

}  // namespace
}  // namespace lockstep
