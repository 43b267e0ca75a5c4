#include "producer/pika/pika_event.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "producer/partitioner.h"
#include "producer/pika/event_schema.h"
#include "producer/pika/resp_command.h"

namespace lockstep::pika {
namespace {

using testing::HasSubstr;

class PikaEventTest : public testing::Test {
 protected:
  static std::string Item(const std::vector<std::string_view>& args) {
    std::string content;
    AppendRespCommand(args, content);
    std::string bytes;
    AppendBinlogItem({1700000000, 0, 1, {0, 0}, content}, bytes);
    return bytes;
  }
  std::optional<SourceEvent> Event(const std::vector<std::string_view>& args) {
    auto event = writer_.Write(Item(args), {0, 69});
    EXPECT_TRUE(event.ok()) << event.status();
    if (event.ok() && *event) schema_.ExpectValid(*(*event)->payload.value);
    return event.ok() ? *std::move(event) : std::nullopt;
  }

  EventSchema schema_;
  PikaEventWriter writer_{{"10.0.0.1:9221", "10.0.0.1", 9221, "abc"}, "db0"};
};

TEST_F(PikaEventTest, IsTheManualsExample) {
  const auto event = Event({"SET", "k", "v"});
  ASSERT_TRUE(event);
  EXPECT_EQ(event->at, "0:69");
  EXPECT_EQ(event->payload.key, "db0:string:k");
  EXPECT_EQ(event->payload.timestamp_ms, 1700000000000);
  EXPECT_EQ(
      event->payload.value,
      R"({"event_type":"binlog","op":"set","data_type":"string","db":"db0","slot":0,"key":"k",)"
      R"("args_b64":["U0VU","aw==","dg=="],"raw_resp_b64":"KjMNCiQzDQpTRVQNCiQxDQprDQokMQ0Kdg0K",)"
      R"("ts_ms":1700000000000,"event_id":"0:0:69:1","source_id":"10.0.0.1:9221",)"
      R"("binlog":{"filenum":0,"offset":69,"logic_id":1,"server_id":null,"term_id":0},)"
      R"("source":{"host":"10.0.0.1","port":9221,"replication_id":"abc"}})");
}

TEST_F(PikaEventTest, WhatTheFilterDoesNotLetPassIsNoEvent) {
  PikaFilter filter;
  ASSERT_TRUE(filter.Set("keys", {"user:*"}).ok());
  ASSERT_TRUE(filter.Set("exclude-commands", {"del"}).ok());
  ASSERT_TRUE(filter.Set("types", {"string", "key", "hash"}).ok());
  PikaEventWriter writer({"h:1", "h", 1, ""}, "db0", filter);
  const auto passes = [&](const std::vector<std::string_view>& args) {
    return writer.Write(Item(args), {0, 69})->has_value();
  };
  EXPECT_TRUE(passes({"SET", "user:1", "v"}));
  EXPECT_TRUE(passes({"EXPIRE", "user:1", "9"}));
  EXPECT_FALSE(passes({"SET", "cart:1", "v"}));
  EXPECT_FALSE(passes({"Del", "user:1"}));
  EXPECT_FALSE(passes({"FLUSHDB"}));
  EXPECT_FALSE(passes({"BITOP", "AND", "cart:1", "user:1"}));
  EXPECT_EQ(writer.filtered(), 4);
  EXPECT_FALSE(passes({"NEWCOMMAND", "x"}));
  EXPECT_EQ(writer.unknown_commands(), 0);
}

TEST_F(PikaEventTest, ASnapshotIsFilteredByTheCommandsThatMakeIt) {
  const auto numbers = [](const PikaFilter& filter, const DumpBatch& batch) {
    PikaEventWriter writer({"h:1", "h", 1, ""}, "db0", filter);
    PikaEventWriter::SnapshotPlace place{7, {1, 2}, 0, 0};
    std::vector<SourceEvent> events;
    writer.WriteSnapshot(batch, place, events);
    EXPECT_EQ(place.number, events.size());
    EXPECT_EQ(writer.filtered(), events.empty() ? 1 : 0);
    // The key's last event says so, whichever it is.
    if (!events.empty()) {
      EXPECT_THAT(*events.back().payload.value, HasSubstr(R"("last":true)"));
    }
    return events.size();
  };
  const DumpBatch hash{DataType::kHash, "user:1", 1'800'000'000'000, true, true, {"f", "v"}};
  EXPECT_EQ(numbers({}, hash), 2U);
  PikaFilter commands;
  ASSERT_TRUE(commands.Set("commands", {"hset"}).ok());
  EXPECT_EQ(numbers(commands, hash), 1U);
  PikaFilter types;
  ASSERT_TRUE(types.Set("types", {"hash"}).ok());
  EXPECT_EQ(numbers(types, hash), 2U) << "in a copy the expiry has the key's type";
  PikaFilter keys;
  ASSERT_TRUE(keys.Set("exclude-keys", {"user:*"}).ok());
  EXPECT_EQ(numbers(keys, hash), 0U);
}

TEST_F(PikaEventTest, ABinaryKeyComesAsBase64) {
  const auto event = Event({"HSET", "\xff\x01", "f", "v"});
  ASSERT_TRUE(event);
  EXPECT_THAT(*event->payload.value, HasSubstr(R"("key":null,"key_b64":"/wE=",)"));
  EXPECT_EQ(event->payload.key, "db0:hash:\xff\x01");
}

TEST_F(PikaEventTest, ADeleteStaysBehindWhatItDeletes) {
  for (int32_t count : {2, 7, 64}) {
    EXPECT_EQ(*ChoosePartition(*Event({"HSET", "k1", "f", "v"}), count),
              *ChoosePartition(*Event({"DEL", "k1"}), count));
  }
  EXPECT_EQ(Event({"del", "k1"})->payload.key, "db0:key:k1");
}

TEST_F(PikaEventTest, WithoutAKeyTheDatabaseIsTheKey) {
  const auto event = Event({"FlushDB"});
  EXPECT_EQ(event->payload.key, "db0");
  EXPECT_THAT(*event->payload.value, HasSubstr(R"("op":"flushdb","data_type":"database",)"));
  EXPECT_THAT(*event->payload.value, HasSubstr(R"("key":null,"args_b64")"));
}

TEST_F(PikaEventTest, AnUnknownCommandPassesAndIsCounted) {
  EXPECT_THAT(*Event({"futureset", "k"})->payload.value, HasSubstr(R"("data_type":"unknown")"));
  EXPECT_EQ(writer_.unknown_commands(), 1);
}

TEST_F(PikaEventTest, WhatChangesNothingIsNoEvent) {
  EXPECT_FALSE(Event({"CLEARCACHE"}));
  EXPECT_FALSE(Event({"sadd", "_internal:slotkey:4migrate:7", "x"}));
  std::string padding;
  AppendBinlogItem({0, 0, 0, {0, 0}, "*2\r\n$7\r\npadding\r\n$00004\r\n****\r\n"}, padding);
  padding[0] = 0;
  EXPECT_FALSE(writer_.Write(padding, {0, 69})->has_value());
}

TEST_F(PikaEventTest, AKeyOfACopyComesAsTheCommandThatMakesIt) {
  PikaEventWriter::SnapshotPlace place{.id = 1700000000, .position = {3, 118}, .number = 0};
  std::vector<SourceEvent> events;
  writer_.WriteSnapshot({DataType::kString, "k", 1800000000000, true, true, {"v"}}, place, events);
  writer_.WriteSnapshot({DataType::kHash, "h", 5000, true, false, {"f", "v"}}, place, events);
  writer_.WriteSnapshot({DataType::kHash, "h", 5000, false, true, {"g", "w"}}, place, events);
  ASSERT_EQ(events.size(), 4U);
  const std::string_view ends[] = {
      R"("number":1,"first":true,"last":true})", R"("number":2,"first":true,"last":false})",
      R"("number":3,"first":false,"last":false})", R"("number":4,"first":false,"last":true})"};
  const std::string_view ops[] = {"set", "hset", "hset", "pexpireat"};
  for (size_t i = 0; i < events.size(); ++i) {
    schema_.ExpectValid(*events[i].payload.value);
    EXPECT_THAT(*events[i].payload.value, HasSubstr(std::string(ends[i])));
    EXPECT_THAT(*events[i].payload.value,
                HasSubstr("\"snapshot\",\"op\":\"" + std::string(ops[i]) + "\""));
  }
  EXPECT_EQ(events[0].at, "3:118:1700000000:1");
  EXPECT_THAT(*events[0].payload.value, HasSubstr(R"("event_id":"s1700000000:3:118:1")"));
  EXPECT_THAT(*events[0].payload.value,
              HasSubstr(R"("args_b64":["c2V0","aw==","dg==","cHhhdA==","MTgwMDAwMDAwMDAwMA=="])"));
  EXPECT_EQ(events[3].payload.key, "db0:hash:h");
  EXPECT_EQ(CompareSourcePositions(events[3].at, "3:118"), std::strong_ordering::greater);
  EXPECT_EQ(CompareSourcePositions(events[3].at, "3:119"), std::strong_ordering::less);
}

TEST_F(PikaEventTest, WhatIsKnownOfACopyIsCountedAndNotMade) {
  PikaEventWriter::SnapshotPlace place{.id = 9, .position = {3, 118}, .number = 0, .known = 1};
  std::vector<SourceEvent> events;
  writer_.WriteSnapshot({DataType::kSet, "a", 0, true, true, {"m"}}, place, events);
  writer_.WriteSnapshot({DataType::kSet, "b", 0, true, true, {"m"}}, place, events);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].at, "3:118:9:2");
}

TEST_F(PikaEventTest, AnItemThatIsNoneIsNamedByItsPosition) {
  const auto event = writer_.Write(Item({"SET", "k", "v"}).substr(0, 40), {3, 69});
  EXPECT_EQ(std::string(event.status().message()),
            "binlog item of db0 that ends at 3:69: content_length at byte 30 is 27, but 6 bytes "
            "follow the header");
  std::string inline_command;
  AppendBinlogItem({1, 0, 1, {0, 0}, "SET k v\r\n"}, inline_command);
  EXPECT_THAT(std::string(writer_.Write(inline_command, {0, 69}).status().message()),
              HasSubstr("command byte 0: expected '*'"));
  EXPECT_THAT(std::string(writer_.Write(Item({"\xff"}), {0, 69}).status().message()),
              HasSubstr("the command's name is not text"));
}

}  // namespace
}  // namespace lockstep::pika
