#include "producer/tenure.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

template <class T>
Commit<T> Yes(T value = {}) {
  return {CommitOutcome::kCommitted, Refusal::kNone, absl::OkStatus(), std::move(value)};
}
template <class T>
Commit<T> No(Refusal refusal) {
  return {CommitOutcome::kNotCommitted, refusal, absl::AbortedError("no"), {}};
}
template <class T>
Commit<T> Unknown(T value = {}) {
  return {CommitOutcome::kUnknown, Refusal::kNone, absl::UnavailableError("?"), std::move(value)};
}

// Term 5; terms 3 and 4 are not closed; seqs up to 10 are ledgered, own records lie at ≥ 100.
OpenedProducer Opened(int streams = 1) {
  OpenedProducer opened;
  opened.producer = ProducerId(7);
  opened.epoch = Epoch(1);
  for (int i = 0; i < streams; ++i) {
    opened.streams.push_back({.stream = StreamId(40 + i),
                              .partition = i,
                              .term = Term(5),
                              .closed = Term(3),
                              .last_seq = Seq(10),
                              .last_at = "10",
                              .adopt_from = Offset(100)});
  }
  return opened;
}

Tenure InStage(Tenure::Stage stage, int streams = 1, TenureOptions options = {.name = "A"}) {
  Tenure tenure(std::move(options));
  if (stage == Tenure::Stage::kOpen) return tenure;
  tenure.OnOpened(Yes(Opened(streams)));
  if (stage == Tenure::Stage::kScan) return tenure;
  tenure.OnTailsEnd();
  if (stage == Tenure::Stage::kClose) return tenure;
  tenure.OnClosed(Yes<Moved>());
  return tenure;
}

SourceEvent Event(int at) {
  SourceEvent event;
  event.at = std::to_string(at);
  event.payload.value = "value " + event.at;
  return event;
}

uint64_t Send(Tenure& tenure, int at, size_t stream = 0) {
  const auto outgoing = tenure.Next(stream, Event(at));
  EXPECT_TRUE(outgoing.has_value()) << at;
  return outgoing ? outgoing->number : 0;
}

std::string Text(const AppendRequest& request) {
  std::string text;
  for (const RunToAppend& r : request.runs) {
    text += "stream" + ToString(r.stream) + " term" + ToString(r.run.term) + " " +
            ToString(r.run.first_seq) + "-" + ToString(r.run.last_seq) + " " +
            r.run.offsets.ToString() + " ";
  }
  return text + "checkpoint " + request.checkpoint.value_or("-");
}

std::string TakeText(Tenure& tenure) {
  const auto request = tenure.TakeGroup();
  return request ? Text(*request) : "nothing";
}

std::vector<std::string> Positions(const std::vector<SourceEvent>& events) {
  std::vector<std::string> positions;
  for (const SourceEvent& event : events) positions.push_back(event.at);
  return positions;
}

// ---------------------------------------------------------------- start-up

TEST(TenureStart, AnUnknownOpenIsNeverUsed) {
  Tenure tenure = InStage(Tenure::Stage::kOpen);
  tenure.OnOpened(Unknown(Opened()));
  EXPECT_EQ(tenure.stage(), Tenure::Stage::kEnded);
  EXPECT_EQ(tenure.end(), Tenure::End::kOpenUnknown);
}

TEST(TenureStart, AnOpenWithoutDurableStandbyMayBeRepeated) {
  Tenure tenure = InStage(Tenure::Stage::kOpen);
  tenure.OnOpened(No<OpenedProducer>(Refusal::kNoDurableStandby));
  EXPECT_EQ(tenure.stage(), Tenure::Stage::kOpen);
}

TEST(TenureStart, AChangedSourceIsRefused) {
  Tenure tenure = InStage(Tenure::Stage::kOpen);
  tenure.OnOpened(No<OpenedProducer>(Refusal::kSourceChanged));
  EXPECT_EQ(tenure.end(), Tenure::End::kRefused);
}

// One tail record a row, after which the next one to adopt is seq 11.
TEST(TenureStart, AdoptsOwnRecordsOfUnclosedTermsInSeqOrder) {
  const struct {
    const char* what;
    int64_t term;
    int64_t seq;
    int64_t offset;
    const char* producer;
    bool adopted;
  } kRows[] = {
      {"the next one", 4, 11, 100, "A", true},
      {"of the oldest open term", 3, 11, 100, "A", true},
      {"of a closed term: void for ever", 2, 11, 100, "A", false},
      {"of our own term: we have sent nothing", 5, 11, 100, "A", false},
      {"of another producer", 4, 11, 100, "B", false},
      {"a duplicate of a ledgered one", 4, 10, 100, "A", false},
      {"behind a hole", 4, 12, 100, "A", false},
      {"below the ledgered tail", 4, 11, 99, "A", false},
  };
  for (const auto& row : kRows) {
    Tenure tenure = InStage(Tenure::Stage::kScan);
    const Payload payload;
    tenure.OnTail(
        0,
        {Offset(row.offset), {Term(row.term), Seq(row.seq), "11", row.producer}, false, &payload});
    tenure.OnTailsEnd();
    EXPECT_EQ(tenure.stage() == Tenure::Stage::kAdopt, row.adopted) << row.what;
  }
}

TEST(TenureStart, AReinjectedRecordIsNotAdopted) {
  Tenure tenure = InStage(Tenure::Stage::kScan);
  const Payload payload;
  tenure.OnTail(0, {Offset(100), {Term(4), Seq(11), "11", "A"}, true, &payload});
  tenure.OnTailsEnd();
  EXPECT_EQ(tenure.stage(), Tenure::Stage::kClose);
}

TEST(TenureStart, AdoptsOverDuplicatesAndTermsAndGoesOnBehind) {
  Tenure tenure = InStage(Tenure::Stage::kScan);
  const Payload payload;
  const auto tail = [&](int64_t offset, int64_t term, int64_t seq) {
    tenure.OnTail(
        0, {Offset(offset), {Term(term), Seq(seq), ToString(Seq(seq)), "A"}, false, &payload});
  };
  // [100] 3/11  [101] 3/12  [102] 3/11 again  [105] 4/13
  tail(100, 3, 11);
  tail(101, 3, 12);
  tail(102, 3, 11);
  tail(105, 4, 13);
  tenure.OnTailsEnd();
  ASSERT_EQ(tenure.stage(), Tenure::Stage::kAdopt);
  EXPECT_EQ(Text(tenure.group()),
            "stream40 term3 11-12 {[100,102)} stream40 term4 13-13 {[105,106)} checkpoint -");
  tenure.OnAppended(Unknown<Appended>());
  ASSERT_EQ(tenure.stage(), Tenure::Stage::kAdopt) << "the same append is repeated";
  tenure.OnAppended(Yes<Appended>());
  ASSERT_EQ(tenure.stage(), Tenure::Stage::kClose);
  tenure.OnClosed(Unknown<Moved>());
  ASSERT_EQ(tenure.stage(), Tenure::Stage::kClose) << "the same close is repeated";
  tenure.OnClosed(Yes<Moved>());
  ASSERT_EQ(tenure.stage(), Tenure::Stage::kSend);
  EXPECT_EQ(tenure.adopted(), 3);
  EXPECT_EQ(tenure.resume_point().floor, "13");
  EXPECT_EQ(tenure.Next(0, Event(13)), std::nullopt) << "adopted";
  const auto next = tenure.Next(0, Event(14));
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->seq, Seq(14));
  EXPECT_EQ(next->term, Term(5));
}

TEST(TenureStart, AFencedAdoptionEndsIt) {
  Tenure tenure = InStage(Tenure::Stage::kScan);
  const Payload payload;
  tenure.OnTail(0, {Offset(100), {Term(4), Seq(11), "11", "A"}, false, &payload});
  tenure.OnTailsEnd();
  tenure.OnAppended(No<Appended>(Refusal::kFenced));
  EXPECT_EQ(tenure.end(), Tenure::End::kFenced);
}

// ---------------------------------------------------------------- sending

TEST(TenureSend, AGroupIsWhatWasDeliveredInOrderOfSeq) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  const uint64_t a = Send(tenure, 11);
  const uint64_t b = Send(tenure, 12);
  Send(tenure, 13);
  EXPECT_EQ(TakeText(tenure), "nothing");
  tenure.OnDelivered(a, Offset(200));
  tenure.OnDelivered(b, Offset(201));
  EXPECT_EQ(TakeText(tenure), "stream40 term5 11-12 {[200,202)} checkpoint -");
  EXPECT_EQ(tenure.acknowledged(), "10") << "not before it is durable";
  tenure.OnAppended(Yes<Appended>());
  EXPECT_EQ(tenure.acknowledged(), "12");
  EXPECT_EQ(tenure.in_flight(), 1);
}

TEST(TenureSend, OneGroupAtMostIsInFlightAndTheNextTakesAllThatCameMeanwhile) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  tenure.OnDelivered(Send(tenure, 11), Offset(200));
  EXPECT_NE(TakeText(tenure), "nothing");
  tenure.OnDelivered(Send(tenure, 12), Offset(201));
  tenure.OnDelivered(Send(tenure, 13), Offset(203));
  EXPECT_EQ(TakeText(tenure), "nothing");
  tenure.OnAppended(Yes<Appended>());
  EXPECT_EQ(TakeText(tenure), "stream40 term5 12-13 {[201,202),[203,204)} checkpoint -");
}

TEST(TenureSend, AnUnknownAppendIsRepeatedAsItIs) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  tenure.OnDelivered(Send(tenure, 11), Offset(200));
  ASSERT_TRUE(tenure.TakeGroup().has_value());
  const std::string before = Text(tenure.group());
  tenure.OnDelivered(Send(tenure, 12), Offset(201));
  tenure.OnAppended(Unknown<Appended>());
  ASSERT_TRUE(tenure.group_in_flight());
  EXPECT_EQ(Text(tenure.group()), before);
  for (const Refusal refusal : {Refusal::kNoDurableStandby, Refusal::kUnavailable}) {
    tenure.OnAppended(No<Appended>(refusal));
    ASSERT_TRUE(tenure.group_in_flight()) << "a stall, not an end: " << ToString(refusal);
  }
  EXPECT_EQ(tenure.acknowledged(), "10");
}

TEST(TenureSend, SeveralStreamsShareACommitWithTheCheckpointBelowTheFirstUndelivered) {
  Tenure tenure = InStage(Tenure::Stage::kSend, 2);
  const uint64_t a = Send(tenure, 11, 0);
  const uint64_t b = Send(tenure, 12, 1);
  const uint64_t c = Send(tenure, 13, 0);
  tenure.OnDelivered(a, Offset(200));
  tenure.OnDelivered(c, Offset(201));
  EXPECT_EQ(TakeText(tenure), "stream40 term5 11-12 {[200,202)} checkpoint 11");
  tenure.OnAppended(Yes<Appended>());
  EXPECT_EQ(tenure.acknowledged(), "11");
  tenure.OnDelivered(b, Offset(300));
  EXPECT_EQ(TakeText(tenure), "stream41 term5 11-11 {[300,301)} checkpoint 13");
  tenure.OnAppended(Yes<Appended>());
  EXPECT_EQ(tenure.acknowledged(), "13");
  EXPECT_TRUE(tenure.idle());
}

TEST(TenureSend, ARepeatingSourceIsSkippedPerStream) {
  Tenure tenure = InStage(Tenure::Stage::kScan, 2);
  const Payload payload;
  tenure.OnTail(1, {Offset(100), {Term(4), Seq(11), "15", "A"}, false, &payload});
  tenure.OnTailsEnd();
  tenure.OnAppended(Yes<Appended>());
  tenure.OnClosed(Yes<Moved>());
  EXPECT_EQ(tenure.resume_point().seen, "15");
  EXPECT_EQ(tenure.Next(0, Event(10)), std::nullopt);
  EXPECT_TRUE(tenure.Next(0, Event(12)).has_value()) << "stream 0 ends at 10";
  EXPECT_EQ(tenure.Next(1, Event(15)), std::nullopt) << "stream 1 ends at 15";
  EXPECT_TRUE(tenure.Next(1, Event(16)).has_value());
}

TEST(TenureSend, BackPressureBoundsWhatIsUnderWay) {
  Tenure tenure = InStage(Tenure::Stage::kSend, 1, {.name = "A", .in_flight_records_max = 2});
  const uint64_t a = Send(tenure, 11);
  Send(tenure, 12);
  EXPECT_FALSE(tenure.CanTake());
  tenure.OnDelivered(a, Offset(200));
  EXPECT_FALSE(tenure.CanTake()) << "delivered is not yet durable";
  ASSERT_TRUE(tenure.TakeGroup().has_value());
  tenure.OnAppended(Yes<Appended>());
  EXPECT_TRUE(tenure.CanTake());
}

TEST(TenureSend, TheRingGrowsWithoutLosingAnEvent) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  std::vector<uint64_t> numbers;
  for (int i = 0; i < 5000; ++i) numbers.push_back(Send(tenure, 11 + i));
  EXPECT_EQ(tenure.event(numbers[4321]).at, std::to_string(11 + 4321));
  for (int i = 0; i < 5000; ++i) {
    tenure.OnDelivered(numbers[static_cast<size_t>(i)], Offset(200 + i));
  }
  EXPECT_EQ(TakeText(tenure), "stream40 term5 11-5010 {[200,5200)} checkpoint -");
}

TEST(TenureSend, AFormattedCheckpointTravelsEvenWithOneStream) {
  Tenure tenure = InStage(Tenure::Stage::kSend, 1,
                          {.name = "A", .format_checkpoint = [](const SourceEvent& event) {
                             return event.at + ":" + std::to_string(event.resume[0]);
                           }});
  SourceEvent event = Event(11);
  event.resume = {777, 0};
  tenure.OnDelivered(tenure.Next(0, SourceEvent(event))->number, Offset(200));
  EXPECT_EQ(TakeText(tenure), "stream40 term5 11-11 {[200,201)} checkpoint 11:777");
  EXPECT_EQ(tenure.acknowledged_checkpoint(), "");
  tenure.OnAppended(Yes<Appended>());
  EXPECT_EQ(tenure.acknowledged(), "11");
  EXPECT_EQ(tenure.acknowledged_checkpoint(), "11:777");
}

// ---------------------------------------------------------------- bad days

TEST(TenureEnd, AfterAFailedDeliveryNothingLaterOfThatStreamIsLedgered) {
  Tenure tenure = InStage(Tenure::Stage::kSend, 2);
  const uint64_t a = Send(tenure, 11, 0);
  const uint64_t b = Send(tenure, 12, 0);
  const uint64_t c = Send(tenure, 13, 0);
  const uint64_t d = Send(tenure, 14, 1);
  tenure.OnDelivered(a, Offset(200));
  tenure.OnFailed(b, absl::UnavailableError("possibly persisted"));
  ASSERT_EQ(tenure.stage(), Tenure::Stage::kBroken);
  EXPECT_FALSE(tenure.CanTake());
  tenure.OnDelivered(c, Offset(201));
  tenure.OnDelivered(d, Offset(300));
  EXPECT_EQ(TakeText(tenure),
            "stream40 term5 11-11 {[200,201)} stream41 term5 11-11 {[300,301)} checkpoint 11");
  tenure.AllReported();
  EXPECT_EQ(tenure.stage(), Tenure::Stage::kBroken) << "the group's answer is outstanding";
  tenure.OnAppended(Yes<Appended>());
  ASSERT_EQ(tenure.stage(), Tenure::Stage::kEnded);
  EXPECT_EQ(tenure.end(), Tenure::End::kDeliveryFailed);
  EXPECT_THAT(Positions(tenure.TakeUnledgered()), ElementsAre("12", "13"));
}

TEST(TenureEnd, AFencedAppendEndsItAtOnceAndNothingIsAcknowledged) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  tenure.OnDelivered(Send(tenure, 11), Offset(200));
  ASSERT_TRUE(tenure.TakeGroup().has_value());
  tenure.OnAppended(No<Appended>(Refusal::kFenced));
  EXPECT_EQ(tenure.end(), Tenure::End::kFenced);
  EXPECT_EQ(tenure.acknowledged(), "10");
  EXPECT_THAT(Positions(tenure.TakeUnledgered()), ElementsAre("11"));
}

TEST(TenureEnd, AnOffsetThatGoesBackIsInconsistent) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  const uint64_t a = Send(tenure, 11);
  const uint64_t b = Send(tenure, 12);
  tenure.OnDelivered(a, Offset(200));
  tenure.OnDelivered(b, Offset(200));
  EXPECT_EQ(tenure.stage(), Tenure::Stage::kBroken);
  EXPECT_EQ(tenure.end(), Tenure::End::kInconsistentOffsets);
  EXPECT_EQ(TakeText(tenure), "stream40 term5 11-11 {[200,201)} checkpoint -");
}

TEST(TenureEnd, AnOffsetBelowTheLedgeredTailIsInconsistent) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  tenure.OnDelivered(Send(tenure, 11), Offset(99));
  EXPECT_EQ(tenure.end(), Tenure::End::kInconsistentOffsets);
}

TEST(TenureEnd, AFatalErrorEndsAnIdleTenureToo) {
  Tenure tenure = InStage(Tenure::Stage::kSend);
  tenure.Break(absl::AbortedError("fatal"));
  tenure.AllReported();
  EXPECT_EQ(tenure.stage(), Tenure::Stage::kEnded);
  EXPECT_THAT(tenure.TakeUnledgered(), IsEmpty());
}

}  // namespace
}  // namespace lockstep
