#include "common/model/record_header.h"

#include <rapidcheck.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

std::string Format(const RecordHeader& header) {
  std::string out;
  AppendRecordHeader(header, out);
  return out;
}

TEST(RecordHeader, ReadsWhatItWrites) {
  const RecordHeader header{Term(4), Seq(2301), "98231", "A"};
  EXPECT_EQ(Format(header), "4/2301/98231/A");
  EXPECT_EQ(ParseRecordHeader("4/2301/98231/A").value(), header);
  EXPECT_EQ(ParseRecordHeader("1/1//a/b/c").value(), (RecordHeader{Term(1), Seq(1), "", "a/b/c"}));
}

TEST(RecordHeader, MalformedIsRefusedWithTheField) {
  const std::string long_name(256, 'x');
  const struct {
    std::string text;
    const char* names;
  } rows[] = {
      {"", "term"},
      {"A", "term"},
      {"0/1//A", "term"},
      {"01/1//A", "term"},
      {"-1/1//A", "term"},
      {"+1/1//A", "term"},
      {" 1/1//A", "term"},
      {"1", "term"},
      {"9223372036854775808/1//A", "term"},
      {"1/", "seq"},
      {"1/0//A", "seq"},
      {"1/x//A", "seq"},
      {"1/2", "seq"},
      {"1/9223372036854775808//A", "seq"},
      {"1/2/", "'/' after the source position"},
      {"1/2/at", "'/' after the source position"},
      {"1/2/a,b/A", "source position"},
      {"1/2//", "producer"},
      {"1/2//" + long_name, "producer"},
      {"1/2/" + long_name + "/A", "source position"},
      {std::string("1/2//a\0b", 8), "producer"},
  };
  for (const auto& row : rows) {
    const auto parsed = ParseRecordHeader(row.text);
    ASSERT_FALSE(parsed.ok()) << row.text;
    EXPECT_THAT(std::string(parsed.status().message()), testing::HasSubstr(row.names)) << row.text;
  }
}

TEST(RecordHeader, RoundTripsForEveryValue) {
  ASSERT_TRUE(rc::check([](const std::string& producer, const std::string& at) {
    const int64_t term = *rc::gen::inRange<int64_t>(1, INT64_MAX);
    const int64_t seq = *rc::gen::inRange<int64_t>(1, INT64_MAX);
    RC_PRE(ValidProducerName(producer) && ValidSourcePosition(at));
    const RecordHeader header{Term(term), Seq(seq), at, producer};
    RC_ASSERT(ParseRecordHeader(Format(header)).value() == header);
  }));
}

TEST(RecordHeader, WhatParsesIsCanonical) {
  ASSERT_TRUE(rc::check([](const std::string& junk) {
    const auto parsed = ParseRecordHeader(junk);
    if (parsed.ok()) RC_ASSERT(Format(*parsed) == junk);
  }));
}

}  // namespace
}  // namespace lockstep
