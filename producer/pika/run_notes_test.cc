#include "producer/pika/run_notes.h"

#include <rapidcheck.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/run_payload.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/resp_command.h"

namespace lockstep::pika {
namespace {

const PikaSourceDescriptor kSource{"10.0.0.1:9221", "10.0.0.1", 9221, "abc", Protocol::kPb};

RunNotes Notes() {
  return {.source_id = "10.0.0.1:9221",
          .host = "10.0.0.1",
          .port = 9221,
          .replication_hash = ReplicationHash("abc"),
          .first_mark = 0,
          .protocol = Protocol::kPb,
          .database = "db0",
          .first_logic_id = 7,
          .events = {{1'700'000'000, 3}}};
}

// An event of `SET key value`.
Payload Event(PikaEventWriter& writer, const RunNotes::Numbers& numbers, uint64_t logic_id,
              std::string_view key = "k", std::string_view value = "v") {
  std::string content;
  AppendRespCommand(std::vector<std::string_view>{"SET", key, value}, content);
  std::string bytes;
  AppendBinlogItem({numbers.exec_time_s, numbers.term_id, logic_id, {0, 0}, content}, bytes);
  return writer.Write(bytes, {0, 69}).value()->payload;
}

TEST(RunNotesTest, IsTheManualsExample) {
  RunNotes notes = Notes();
  notes.replication_hash = 0x0807060504030201;
  notes.first_mark = uint64_t{27} << 32 | 0xabc;
  notes.events = {{1'700'000'000, 3}, {1'700'000'000, 3}, {1'700'000'001, 3}};
  const std::string expected(
      "\x02\x00\x01\x02\x03\x04\x05\x06\x07\x08"
      "\xbc\x0a\x00\x00\x1b\x00\x00\x00"
      "\x0d"
      "10.0.0.1:9221"
      "\x08"
      "10.0.0.1"
      "\x85\x48"
      "\x03"
      "db0"
      "\x07"
      "\x80\xc4\x9f\xd5\x0c\x06\x02"
      "\x02\x00\x01",
      18 + 14 + 9 + 2 + 4 + 1 + 7 + 3);
  EXPECT_EQ(EncodeRunNotes(notes), expected);
  EXPECT_EQ(DecodeRunNotes(expected, 3).value(), notes);
}

TEST(RunNotesTest, WhatIsWrittenIsRead) {
  EXPECT_TRUE(rc::check([](const std::vector<std::pair<uint32_t, uint32_t>>& all) {
    RunNotes notes = Notes();
    for (const auto& [time, term] : all) notes.events.push_back({time, term});
    notes.events.push_back(notes.events.back());
    const auto count = static_cast<int64_t>(notes.events.size());
    RC_ASSERT(DecodeRunNotes(EncodeRunNotes(notes), count).value() == notes);
  }));
}

TEST(RunNotesTest, AnythingElseIsRefused) {
  RunNotes notes = Notes();
  notes.events.assign(5, {9, 1});
  const std::string good = EncodeRunNotes(notes);
  for (size_t cut = 1; cut < good.size(); ++cut) {
    EXPECT_EQ(DecodeRunNotes(good.substr(0, cut), 5).status().code(), absl::StatusCode::kDataLoss)
        << cut;
  }
  for (const int64_t count : {-1, 0, 4, 6, 1'000'000'000}) {
    EXPECT_EQ(DecodeRunNotes(good, count).status().code(), absl::StatusCode::kDataLoss) << count;
  }
  EXPECT_FALSE(DecodeRunNotes(good + "x", 5).ok());
  EXPECT_TRUE(absl::IsNotFound(DecodeRunNotes("", 5).status()));
  const std::string payloads = EncodeRunPayload(std::vector<Payload>(5)).value();
  EXPECT_TRUE(absl::IsNotFound(DecodeRunNotes(payloads, 5).status()));
  EXPECT_TRUE(absl::IsNotFound(DecodeRunPayload(good, 5).status())) << "notes are no payload";
}

TEST(RunNotesEncoderTest, NotesAreWhatTheEventsSay) {
  const auto encoder = MakeRunNotesEncoder();
  for (const char* id : {"10.0.0.1:9221", "a \"quoted\"\n,\"ts_ms\":5 ünïcode"}) {
    for (const Protocol protocol : {Protocol::kPb, Protocol::kLegacy}) {
      for (const char* replication_id : {"abc", ""}) {
        RunNotes expected = Notes();
        std::string content;
        AppendRespCommand(std::vector<std::string_view>{"SET", "k,\"ts_ms\":1", "\"}}"}, content);
        expected.first_mark = ContentMark(content);
        expected.source_id = id;
        expected.protocol = protocol;
        expected.replication_hash = ReplicationHash(replication_id);
        expected.events = {{5, 1}, {5, 1}, {4'294'967'295, 4'294'967'295}};
        PikaEventWriter writer({id, "10.0.0.1", 9221, replication_id, protocol}, "db0");
        for (const RunNotes::Numbers& numbers : expected.events) {
          encoder->Add(Event(writer, numbers, 7, "k,\"ts_ms\":1", "\"}}"));
        }
        EXPECT_EQ(DecodeRunNotes(encoder->Take(), 3).value(), expected) << id;
      }
    }
  }
}

TEST(RunNotesEncoderTest, OnlyAnEventsValueIsNoted) {
  PikaEventWriter writer(kSource, "db0");
  const auto encoder = MakeRunNotesEncoder();
  const Payload good = Event(writer, {5, 1}, 7);
  const auto take = [&](const std::vector<Payload>& payloads) {
    for (const Payload& payload : payloads) encoder->Add(payload);
    return encoder->Take();
  };
  EXPECT_EQ(take({}), "");
  EXPECT_EQ(take({Payload()}), "");  // A tombstone.
  EXPECT_NE(take({good}), "") << "what came before does not count";
  const auto with = [&](std::string value) {
    Payload payload;
    payload.value = std::move(value);
    return payload;
  };
  for (size_t cut = 0; cut < good.value->size(); ++cut) {
    EXPECT_EQ(take({with(good.value->substr(0, cut))}), "") << cut;
  }
  EXPECT_EQ(take({good, with("{}"), good}), "");
  EXPECT_EQ(take({good, with(*good.value + " ")}), "");
  std::vector<SourceEvent> snapshot;
  PikaEventWriter::SnapshotPlace place;
  writer.WriteSnapshot({.type = DataType::kString, .key = "k", .elements = {"v"}}, place, snapshot);
  EXPECT_EQ(take({good, snapshot.at(0).payload}), "");
  PikaEventWriter moved({"10.0.0.1:9221", "10.0.0.2", 9221, "abc", Protocol::kPb}, "db0");
  EXPECT_EQ(take({good, Event(moved, {5, 1}, 8)}), "") << "several sources";
  std::string half_second = *good.value;
  half_second.replace(half_second.find("\"ts_ms\":5000"), 12, "\"ts_ms\":5001");
  EXPECT_EQ(take({with(half_second)}), "");
}

TEST(RunNotesEncoderTest, AThousandEventsTakeAHandfulOfBytes) {
  PikaEventWriter writer({"10.0.0.1:9221", "10.0.0.1", 9221, std::string(50, 'a'), Protocol::kPb},
                         "db0");
  const auto encoder = MakeRunNotesEncoder();
  for (uint64_t i = 0; i < 1000; ++i) {
    encoder->Add(Event(writer, {static_cast<uint32_t>(1'700'000'000 + i / 400), 0}, 1'000'000 + i));
  }
  EXPECT_LE(encoder->Take().size(), 80U);
}

}  // namespace
}  // namespace lockstep::pika
