#include "db-ledger/kafka_sinks.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "db-ledger/memory_ledger.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(KafkaSinkSource, Text) {
  KafkaSinkSource source;
  source.input = {"orders", 3};
  source.output = "results";
  EXPECT_EQ(ToString(source), "stream:orders/3?to=results");
  EXPECT_EQ(ParseKafkaSinkSource(ToString(source)), source);
  for (const char* other : {"jsonl:in", "stream:orders/3", "stream:orders?to=results",
                            "stream:", "table:stream.t?id=id&value=v", ""}) {
    EXPECT_EQ(ParseKafkaSinkSource(other), std::nullopt) << other;
  }
}

class KafkaSinks : public testing::Test {
 protected:
  // The sink NAME of orders/0 opens on the output; its own.
  OpenedProducer Open(const std::string& name, const std::string& output, int32_t partitions) {
    OpenProducerRequest request;
    request.producer = name;
    request.source = "stream:orders/0?to=" + output;
    request.topic = request.log_topic = output;
    request.partition_count = partitions;
    for (int32_t i = 0; i < partitions; ++i) request.partitions.push_back({i, Offset(0)});
    request.cluster_id = "here";
    const auto opened = ledger_.OpenProducer(request);
    EXPECT_TRUE(opened.committed()) << opened.why;
    return opened.value;
  }
  void Append(const OpenedProducer& sink, size_t stream, const std::string& at,
              const std::optional<std::string>& checkpoint) {
    const OpenedStream& to = sink.streams.at(stream);
    AppendRequest request;
    request.producer = sink.producer;
    RunToAppend& run = request.runs.emplace_back();
    run = {to.stream, to.term, {}};
    run.run.producer = sink.producer;
    run.run.term = to.term;
    run.run.first_seq = run.run.last_seq = Seq(1);
    run.run.offsets = OffsetRanges::Parse("{[0,1)}").value();
    run.run.at_first = run.run.at_last = at;
    request.checkpoint = checkpoint;
    const auto appended = ledger_.Append(request);
    ASSERT_TRUE(appended.committed()) << appended.why;
  }
  void Record(const std::string& name, Retirement retirement) {
    ASSERT_TRUE(ledger_.RecordStep(RetirementStep(name, retirement)).committed());
  }
  // `NAME sent UP_TO`, a sink each; retired ones are marked.
  std::vector<std::string> Sinks() {
    std::vector<std::string> told;
    const std::vector<KafkaSink> sinks = ReadKafkaSinks(ledger_).value();
    for (const KafkaSink& sink : sinks) {
      told.push_back(absl::StrCat(sink.producer.name, " sent ",
                                  sink.sent ? ToString(*sink.sent) : "nothing",
                                  sink.retirement == Retirement::kNone       ? ""
                                  : sink.retirement == Retirement::kRetiring ? ", retiring"
                                                                             : ", retired"));
    }
    return told;
  }

  LedgerState state_{true};
  MemoryLedger ledger_{&state_, kAllRules, "relay"};
};

TEST_F(KafkaSinks, OfOneStreamTheHeadSaysHowFarItIs) {
  const OpenedProducer sink = Open("g@orders/0", "results", 1);
  EXPECT_THAT(Sinks(), ElementsAre("g@orders/0 sent nothing"));
  Append(sink, 0, "1:4711", std::nullopt);
  EXPECT_THAT(Sinks(), ElementsAre("g@orders/0 sent 1:4711"));
}

TEST_F(KafkaSinks, OfSeveralTheCheckpointSaysItForAHeadMayBeAhead) {
  const OpenedProducer sink = Open("g@orders/0", "results", 2);
  Append(sink, 1, "1:9", "1:7");
  EXPECT_THAT(Sinks(), ElementsAre("g@orders/0 sent 1:7"));
}

TEST_F(KafkaSinks, RetirementIsOfOneNameAndInTwoParts) {
  Open("g@orders/0", "results", 1);
  Open("h@orders/0", "results", 1);
  EXPECT_TRUE(CheckNotRetired(ledger_, "g@orders/0").ok());
  Record("g@orders/0", Retirement::kRetiring);
  EXPECT_THAT(Sinks(), ElementsAre("g@orders/0 sent nothing, retiring", "h@orders/0 sent nothing"));
  const absl::Status refused = CheckNotRetired(ledger_, "g@orders/0");
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("another --group"));
  Record("g@orders/0", Retirement::kRetired);
  EXPECT_THAT(Sinks(), ElementsAre("g@orders/0 sent nothing, retired", "h@orders/0 sent nothing"));
  EXPECT_TRUE(CheckNotRetired(ledger_, "h@orders/0").ok());
}

}  // namespace
}  // namespace lockstep
