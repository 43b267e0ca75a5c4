#include "reorder/resequencer.h"

#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reorder/parking/fifo_parking.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

// ---------------------------------------------------------------- single stories

// A stream in a small language: the ledger as runs, the log as words like `A1` (producer A, seq 1,
// term 1), `A1.2` (term 2), `x` (a foreign record), `-` (an offset without a record).
class StoryTest : public testing::Test {
 protected:
  static constexpr int64_t kEpoch = 2;

  void AddHead(const std::string& name, int64_t last_seq, int64_t closed = 1) {
    Head head;
    head.producer = ProducerId(static_cast<int32_t>(page_.heads.size()) + 1);
    head.name = name;
    head.last_seq = Seq(last_seq);
    head.closed = Term(closed);
    head.term = Term(closed);
    page_.heads.push_back(head);
  }
  void AddRun(const std::string& name, int64_t epoch, int64_t term, int64_t first_seq,
              const std::string& offsets) {
    lockstep::Run run;
    for (const Head& head : page_.heads) {
      if (head.name == name) run.producer = head.producer;
    }
    run.epoch = Epoch(epoch);
    run.term = Term(term);
    run.first_seq = Seq(first_seq);
    run.offsets = OffsetRanges::Parse(offsets).value();
    run.last_seq = Seq(first_seq + run.offsets.count() - 1);
    page_.runs.push_back(run);
  }

  void Start(int topics = 1, ForeignPolicy foreign = ForeignPolicy::kFail,
             Rules rules = kAllRules) {
    ResequencerOptions options;
    options.rules = rules;
    options.stream = {"orders", 0};
    options.epoch = Epoch(kEpoch);
    options.topics = topics;
    options.foreign = foreign;
    resequencer_ = std::make_unique<Resequencer>(options, parking_);
    ASSERT_TRUE(Page().ok());
  }
  absl::Status Page() {
    page_.epoch = Epoch(kEpoch);
    std::vector<ReadyRecord> out;
    const absl::Status status = resequencer_->AddPage(page_, out);
    page_.runs.clear();
    return status;
  }

  // Offers the words and says of each what became of it.
  std::string Offer(const std::string& words, int topic = 0) {
    std::string text;
    std::string word;
    std::istringstream in(words);
    while (in >> word) {
      const Offset offset(next_offset_[static_cast<size_t>(topic)]);
      if (word == "-") {
        ++next_offset_[static_cast<size_t>(topic)];
        continue;
      }
      FetchedRecord record;
      record.view.log_offset = offset;
      record.foreign = word == "x";
      std::string producer;
      if (!record.foreign) {
        producer = word.substr(0, 1);
        const size_t dot = word.find('.');
        record.header.producer = producer;
        record.header.seq = Seq(std::stoll(word.substr(1, dot - 1)));
        record.header.term = Term(dot == std::string::npos ? 1 : std::stoll(word.substr(dot + 1)));
      }
      record.view.value = word;
      std::vector<ReadyRecord> out;
      const ResequencerCounts before = resequencer_->counts();
      const bool frozen = resequencer_->phase() == Resequencer::Phase::kFrozen;
      const auto taken = frozen ? resequencer_->TakeFrozen(topic, record, out)
                                : resequencer_->TakeCurrent(record, out);
      if (!text.empty()) text += ' ';
      last_error_ = taken.status();
      if (!taken.ok()) return text + "error";
      if (*taken == Resequencer::Taken::kBlocked) return text + "blocked";
      ++next_offset_[static_cast<size_t>(topic)];
      const ResequencerCounts& after = resequencer_->counts();
      if (!out.empty()) {
        text += "out:";
        for (const ReadyRecord& ready : out) {
          text += (text.back() == ':' ? "" : ",") + std::string(*ready.view.value);
        }
      } else if (after.duplicates_dropped > before.duplicates_dropped) {
        text += "duplicate";
      } else if (after.void_dropped > before.void_dropped) {
        text += "void";
      } else if (after.foreign_passed > before.foreign_passed) {
        text += "foreign";
      } else {
        text += frozen ? "parked" : "?";
      }
      resequencer_->Release();
    }
    return text;
  }

  StreamPage page_;
  FifoParking parking_;
  std::unique_ptr<Resequencer> resequencer_;
  std::vector<int64_t> next_offset_{0, 0};
  absl::Status last_error_;
};

TEST_F(StoryTest, NextGoesThroughOthersArePark) {
  AddHead("A", 3);
  AddHead("B", 2);
  AddRun("A", 1, 1, 1, "{[0,2),[4,5)}");
  AddRun("B", 1, 1, 1, "{[2,4)}");
  Start();
  EXPECT_EQ(Offer("B1 B2 A1 A2 A3"), "parked parked out:A1 out:A2,B1,B2 out:A3");
}

TEST_F(StoryTest, RewindsAreDuplicates) {
  AddHead("A", 4);
  AddRun("A", 1, 1, 1, "{[0,4)}");
  Start();
  EXPECT_EQ(Offer("A1 A2 A1 A2 A3 A2"), "out:A1 out:A2 duplicate duplicate out:A3 duplicate");
}

TEST_F(StoryTest, AnUnledgeredRecordOfAClosedTermIsVoid) {
  AddHead("A", 3, 2);
  AddHead("B", 1);
  AddRun("B", 1, 1, 1, "{[0,1)}");
  AddRun("A", 1, 1, 1, "{[1,3)}");
  AddRun("A", 1, 2, 3, "{[5,6)}");
  Start();
  EXPECT_EQ(Offer("A1 A2 A3 A4 A3.2 B1"), "parked parked void parked parked out:B1,A1,A2,A3.2")
      << "A4 of term 1 lies above the frozen runs: neither parked nor sent";
}

TEST_F(StoryTest, HoleIsReportedByName) {
  AddHead("A", 3);
  AddRun("A", 1, 1, 1, "{[0,3)}");
  Start();
  EXPECT_EQ(Offer("A1 A3"), "out:A1 error");
  EXPECT_THAT(std::string(last_error_.message()), HasSubstr("(A, term 1, seq 2)"));
  EXPECT_EQ(last_error_.code(), absl::StatusCode::kDataLoss);
}

TEST_F(StoryTest, AHoleInOneTopicMayBeFilledByTheOther) {
  AddHead("A", 3);
  AddRun("A", 1, 1, 1, "{[0,3)}");
  Start(2);
  EXPECT_EQ(Offer("A1 A3", 0), "out:A1 parked");
  EXPECT_EQ(Offer("A1 A2", 1), "duplicate out:A2,A3");
}

TEST_F(StoryTest, AHoleInBothTopicsIsAHole) {
  AddHead("A", 3);
  AddRun("A", 1, 1, 1, "{[0,3)}");
  Start(2);
  EXPECT_EQ(Offer("A1 A3", 0), "out:A1 parked");
  EXPECT_EQ(Offer("A3", 1), "error");
}

TEST_F(StoryTest, CurrentEpochWaitsUntilEverythingBelowIsSettled) {
  AddHead("A", 0);
  AddHead("B", 0);
  Start();
  EXPECT_EQ(Offer("A1 B1"), "blocked");
  page_.heads[1].last_seq = Seq(1);  // B's append commits first.
  AddRun("B", 2, 1, 1, "{[1,2)}");
  ASSERT_TRUE(Page().ok());
  EXPECT_EQ(Offer("A1 B1"), "blocked") << "B1 is ledgered, A1 below it is not";
  page_.heads[0].last_seq = Seq(1);
  AddRun("A", 2, 1, 1, "{[0,1)}");
  ASSERT_TRUE(Page().ok());
  EXPECT_EQ(Offer("A1 B1"), "out:A1 out:B1");
}

TEST_F(StoryTest, WithoutTheRuleCompleteTheGateWouldOvertake) {
  AddHead("A", 0);
  AddHead("B", 1);
  AddRun("B", 2, 1, 1, "{[1,2)}");
  Rules rules;
  rules.complete = false;
  Start(1, ForeignPolicy::kFail, rules);
  EXPECT_EQ(Offer("A1 B1"), "? out:B1");
}

TEST_F(StoryTest, CurrentEpochStepsOverVoidDuplicatesAndHoles) {
  AddHead("A", 2, 2);
  AddRun("A", 2, 2, 1, "{[2,3),[6,7)}");
  Start();
  EXPECT_EQ(Offer("A1 A7 A1.2 A1.2 - - A2.2 A3.2"),
            "void void out:A1.2 duplicate out:A2.2 blocked");
}

TEST_F(StoryTest, AProducerThatThePageDoesNotKnowBlocks) {
  AddHead("A", 0);
  Start();
  EXPECT_EQ(Offer("C1"), "blocked");
  AddHead("C", 1);
  AddRun("C", 2, 1, 1, "{[0,1)}");
  ASSERT_TRUE(Page().ok());
  EXPECT_EQ(Offer("C1"), "out:C1");
}

TEST_F(StoryTest, ARowForAnotherRecordIsInconsistent) {
  AddHead("A", 2);
  AddRun("A", 2, 1, 1, "{[0,2)}");
  Start();
  EXPECT_EQ(Offer("A1 A3"), "out:A1 error");
  EXPECT_TRUE(IsInconsistentOffsets(last_error_));
  EXPECT_EQ(Offer("A2.2"), "error") << "another term is another record";
  EXPECT_TRUE(IsInconsistentOffsets(last_error_));
}

TEST_F(StoryTest, ARowForAnAbsentOffsetIsInconsistent) {
  AddHead("A", 3);
  AddRun("A", 2, 1, 1, "{[0,3)}");
  Start();
  EXPECT_EQ(Offer("A1 - A3"), "out:A1 error");
  EXPECT_TRUE(IsInconsistentOffsets(last_error_));
}

TEST_F(StoryTest, ARowForAPassedOffsetIsInconsistent) {
  AddHead("A", 0, 2);
  Start();
  EXPECT_EQ(Offer("A1"), "void");
  page_.heads[0].last_seq = Seq(1);
  AddRun("A", 2, 1, 1, "{[0,1)}");
  EXPECT_TRUE(IsInconsistentOffsets(Page()));
}

TEST_F(StoryTest, ForeignRecordsFailOrPass) {
  AddHead("A", 1);
  AddRun("A", 2, 1, 1, "{[1,2)}");
  Start();
  EXPECT_EQ(Offer("x"), "error");
  EXPECT_EQ(last_error_.code(), absl::StatusCode::kFailedPrecondition);
  AddRun("A", 2, 1, 1, "{[1,2)}");
  Start(1, ForeignPolicy::kPass);
  EXPECT_EQ(Offer("x A1"), "foreign out:A1");
}

TEST_F(StoryTest, ALaterEpochFencesThisProcess) {
  AddHead("A", 0);
  Start();
  page_.epoch = Epoch(3);
  std::vector<ReadyRecord> out;
  EXPECT_EQ(resequencer_->AddPage(page_, out).code(), absl::StatusCode::kAborted);
}

TEST_F(StoryTest, SaysWhatItWaitsForAndWhenAllIsOut) {
  AddHead("A", 2);
  AddRun("A", 1, 1, 1, "{[5,6)}");
  AddRun("A", 2, 1, 2, "{[0,1)}");
  const std::vector<Head> heads = page_.heads;
  Start();
  ASSERT_TRUE(resequencer_->FrozenWanted().has_value());
  EXPECT_EQ(resequencer_->FrozenWanted()->seq, Seq(1));
  EXPECT_EQ(ToString(resequencer_->FrozenWanted()->position), "1:5");
  EXPECT_EQ(Offer("A1"), "out:A1");
  EXPECT_EQ(resequencer_->FrozenWanted(), std::nullopt);
  EXPECT_FALSE(resequencer_->ReachedAll(heads));
  next_offset_[0] = 0;
  EXPECT_EQ(Offer("A2"), "out:A2");
  EXPECT_TRUE(resequencer_->ReachedAll(heads));
}

}  // namespace
}  // namespace lockstep
