// A Kafka sink's output, made again from its input's ledger and logs.
#include "mirror-reconcile/stream_payload_source.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/memory_ledger.h"
#include "mirror-reconcile/memory_log.h"
#include "producer/partitioner.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StreamPayloadSourceTest : public testing::Test {
 protected:
  // In the ledger, at offsets 0…5: A1 B1 A2 B2 B3 A3.
  void SetUp() override {
    Ledger("A", "{[0,1),[2,3),[5,6)}");
    Ledger("B", "{[1,2),[3,5)}");
  }

  void Ledger(const std::string& name, const std::string& offsets) {
    OpenProducerRequest request;
    request.producer = name;
    request.source = "jsonl:in";
    request.topic = request.log_topic = "orders";
    request.partition_count = 1;
    request.partitions = {{0, Offset(0)}};
    request.cluster_id = "dead";
    const auto opened = ledger_.OpenProducer(request);
    ASSERT_TRUE(opened.committed()) << opened.why;
    const OpenedStream& stream = opened.value.streams[0];
    ASSERT_TRUE(ledger_.CloseEarlierTerms(opened.value.producer, {{stream.stream, stream.term}})
                    .committed());
    AppendRequest append;
    append.producer = opened.value.producer;
    RunToAppend& run = append.runs.emplace_back();
    run = {stream.stream, stream.term, {}};
    run.run.producer = opened.value.producer;
    run.run.term = stream.term;
    run.run.first_seq = Seq(1);
    run.run.offsets = OffsetRanges::Parse(offsets).value();
    run.run.last_seq = Seq(run.run.offsets.count());
    ASSERT_TRUE(ledger_.Append(append).committed());
    terms_[name] = stream.term;
  }
  // `A1`, `A2`, …: the key is the word, the value `=` and the word. `x`: a foreign record.
  void Write(MemoryLog& log, const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      MemoryRecord record;
      if (word != "x") {
        record.producer = word.substr(0, 1);
        record.term = terms_[record.producer];
        record.seq = Seq(std::stoll(word.substr(1)));
        record.payload.emplace();
        record.payload->key = word;
        record.payload->value = "=" + word;
      }
      log.Append(std::move(record));
    }
  }
  // Of the input's logs here; each is used once.
  StreamPayloadSource Source() {
    return {ledger_, {"orders", 0}, [this](const StreamInfo&) {
              std::vector<std::unique_ptr<LogReader>> logs;
              for (auto& log : logs_) logs.push_back(std::move(log));
              return logs;
            }};
  }
  // A run of `count` records that the sink wrote to one of `partitions`.
  static PayloadRequest Request(const std::string& at_first, const std::string& at_last,
                                int64_t count, int32_t partition = 0, int32_t partitions = 1) {
    PayloadRequest request;
    request.stream = {StreamId(9), {"results", partition}, partitions};
    request.producer = "g@orders/0";
    request.run.first_seq = Seq(1);
    request.run.last_seq = Seq(count);
    request.run.at_first = at_first;
    request.run.at_last = at_last;
    return request;
  }
  static std::vector<std::string> Words(const std::vector<SourceEvent>& events) {
    std::vector<std::string> words;
    for (const SourceEvent& event : events) {
      words.push_back(absl::StrCat(event.at, event.payload.value.value_or("null")));
    }
    return words;
  }

  LedgerState state_{true};
  MemoryLedger ledger_{&state_, kAllRules, "writer"};
  std::map<std::string, Term> terms_;
  std::vector<std::unique_ptr<MemoryLog>> logs_;
};

TEST_F(StreamPayloadSourceTest, TheInputsOrderComesOfTheLedgerWhateverTheLogsOrder) {
  logs_.push_back(std::make_unique<MemoryLog>());
  Write(*logs_[0], {"x", "A1", "A2", "A3", "A2", "B1", "B2", "B3", "B3"});
  StreamPayloadSource source = Source();
  EXPECT_THAT(Words(source.Read(Request("1:0", "1:5", 6)).value()),
              ElementsAre("1:0=A1", "1:1=B1", "1:2=A2", "1:3=B2", "1:4=B3", "1:5=A3"));
  EXPECT_THAT(Words(source.Read(Request("1:1", "1:3", 3)).value()),
              ElementsAre("1:1=B1", "1:2=A2", "1:3=B2"));
}

TEST_F(StreamPayloadSourceTest, RecordsMayLieInSeveralTopics) {
  logs_.push_back(std::make_unique<MemoryLog>());
  logs_.push_back(std::make_unique<MemoryLog>());
  Write(*logs_[0], {"A1", "A2", "B1"});
  Write(*logs_[1], {"B2", "B3", "A3"});
  EXPECT_THAT(Words(Source().Read(Request("1:2", "1:5", 4)).value()),
              ElementsAre("1:2=A2", "1:3=B2", "1:4=B3", "1:5=A3"));
}

TEST_F(StreamPayloadSourceTest, OfSeveralPartitionsEachGetsWhatTheProducersRuleGaveIt) {
  logs_.push_back(std::make_unique<MemoryLog>());
  const std::vector<std::string> order = {"A1", "B1", "A2", "B2", "B3", "A3"};
  Write(*logs_[0], order);
  StreamPayloadSource source = Source();
  for (const int32_t partition : {0, 1}) {
    std::vector<std::string> own;
    for (size_t i = 0; i < order.size(); ++i) {
      const std::string at = absl::StrCat("1:", i);
      if (ChoosePartition(std::nullopt, order[i], at, 2).value() == partition) {
        own.push_back(absl::StrCat(at, "=", order[i]));
      }
    }
    ASSERT_THAT(own, testing::Not(IsEmpty())) << "the keys are to be chosen otherwise";
    const auto count = static_cast<int64_t>(own.size());
    EXPECT_EQ(Words(source.Read(Request("1:0", "1:5", count, partition, 2)).value()), own);
  }
}

TEST_F(StreamPayloadSourceTest, WhatTheInputLacksHereIsNamedWithTheCommandThatFillsIt) {
  logs_.push_back(std::make_unique<MemoryLog>());
  Write(*logs_[0], {"A1", "B1", "A2", "B2", "A3"});
  const auto read = Source().Read(Request("1:0", "1:5", 6));
  EXPECT_TRUE(absl::IsNotFound(read.status()));
  EXPECT_THAT(std::string(read.status().message()),
              HasSubstr("(B, term 1, seq 3) at 1:4 here; fill the input's gap first: "
                        "lockstep-mirror-reconcile failover --topic orders"));
}

TEST_F(StreamPayloadSourceTest, AnInputThatIsAtOtherBrokersIsSaidSo) {
  const auto read = Source().Read(Request("1:0", "1:5", 6));
  EXPECT_TRUE(absl::IsNotFound(read.status()));
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("no topic at these brokers"));
}

TEST(LogIndex, IsReadFromItsEndAndNoFurtherThanAsked) {
  auto log = std::make_unique<MemoryLog>();
  MemoryLog* const watched = log.get();
  for (int64_t seq = 1; seq <= 1'000; ++seq) log->Append({"A", Term(1), Seq(seq), false, {}, ""});
  LogIndex index(std::move(log), 10);
  const auto find = [&](int64_t seq) {
    std::optional<Offset> found;
    while (!(found = index.Find("A", Term(1), Seq(seq))) && index.Extend().value()) {
    }
    return found;
  };
  EXPECT_EQ(find(995), Offset(994));
  EXPECT_EQ(watched->records_given(), 10);
  EXPECT_EQ(find(985), Offset(984));
  EXPECT_EQ(watched->records_given(), 30);
  EXPECT_EQ(find(1), Offset(0));
  EXPECT_EQ(find(1'001), std::nullopt);
  EXPECT_EQ(watched->records_given(), 1'000) << "nothing is read twice";
}

}  // namespace
}  // namespace lockstep
