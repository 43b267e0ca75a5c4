#include "mirror-reconcile/reinject.h"

#include <gtest/gtest.h>

#include "mirror-reconcile/test_site.h"

namespace lockstep {
namespace {

// Takes `records_max` records, then the power goes.
class LogSink final : public RecordSink {
 public:
  explicit LogSink(MemoryLog& log, int64_t records_max = INT64_MAX)
      : log_(log), records_left_(records_max) {}
  absl::Status Write(const RecordHeader& header, Epoch, const Payload& payload) override {
    if (records_left_-- <= 0) return absl::UnavailableError("killed");
    log_.Append({std::string(header.producer), header.term, header.seq, true, payload,
                 std::string(header.at)});
    return absl::OkStatus();
  }
  absl::Status Flush() override { return absl::OkStatus(); }

 private:
  MemoryLog& log_;
  int64_t records_left_;
};

class ReinjectTest : public TwoSitesTest {
 protected:
  ReinjectTest() {
    for (int i = 0; i < 5; ++i) {  // A1-3 B1-2 A4-6 B3-4 …
      writer_.SendAndCommit("A", 3);
      writer_.SendAndCommit("B", 2);
    }
  }

  RunFetcher FromP() {
    return [this](const std::string&,
                  const lockstep::Run& run) -> absl::StatusOr<std::vector<SourceEvent>> {
      if (run.first_seq == lost_) return absl::NotFoundError("no source has it");
      std::vector<SourceEvent> events;
      for (Seq seq = run.first_seq; seq <= run.last_seq; ++seq) {
        const size_t at = static_cast<size_t>(PositionOf(run, seq).offset.value());
        SourceEvent& event = events.emplace_back();
        event.at = p_.records()[at].at;
        event.payload = *p_.records()[at].payload;
      }
      return events;
    };
  }

  Seq lost_;
};

TEST_F(ReinjectTest, LedgerOrderFillsThePrimarysOrder) {
  Mirror(p_, 0, 7, s_);
  LogSink sink(s_);
  const auto result = Reinject(site_.Find(), FromP(), sink, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->written, 18);
  ASSERT_EQ(s_.records().size(), p_.records().size());
  for (size_t i = 0; i < p_.records().size(); ++i) {
    EXPECT_EQ(s_.records()[i].seq, p_.records()[i].seq) << i;
    EXPECT_EQ(s_.records()[i].producer, p_.records()[i].producer) << i;
    EXPECT_EQ(s_.records()[i].at, p_.records()[i].at) << i;
  }
  EXPECT_TRUE(site_.Verify().good());
}

TEST_F(ReinjectTest, KilledAnywhereAndRunAgainLeavesNeitherHoleNorDouble) {
  for (const ReinjectOrder order : {ReinjectOrder::kLedger, ReinjectOrder::kNone}) {
    for (int64_t kill_after = 0; kill_after <= 25; ++kill_after) {
      MemoryLog log;
      TestSite site{ledger_, "cluster-s", {{"orders", &log}}};
      Mirror(p_, 0, 4, log);
      LogSink killed(log, kill_after);
      const auto first = Reinject(site.Find(), FromP(), killed, {.order = order});
      EXPECT_EQ(first.ok(), kill_after >= 21);
      LogSink sink(log);
      ASSERT_TRUE(Reinject(site.Find(), FromP(), sink, {.order = order}).ok());
      const Verdicts verdicts = site.Verify();
      EXPECT_TRUE(verdicts.good()) << ToString(order) << ", killed after " << kill_after;
      EXPECT_EQ(verdicts.found, 25);
      EXPECT_EQ(verdicts.anomalies.at(Anomaly::kDuplicate).records, 0);
    }
  }
}

TEST_F(ReinjectTest, RunThatCannotBeHadStopsBeforeAnythingOfItIsWritten) {
  lost_ = Seq(4);  // A4-A6
  LogSink sink(s_);
  const auto result = Reinject(site_.Find(), FromP(), sink, {});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Names(site_.Find()).substr(0, 8), "A4 A5 A6");
}

TEST_F(ReinjectTest, DataLossIsNamedRecordByRecordAndReadersCanGoOn) {
  lost_ = Seq(4);
  LogSink sink(s_);
  const auto result = Reinject(site_.Find(), FromP(), sink, {.allow_data_loss = true});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->written, 22);
  ASSERT_EQ(result->given_up.size(), 3u);
  EXPECT_EQ(result->given_up[0].seq, Seq(4));
  EXPECT_EQ(result->given_up[0].position, (Position{Epoch(1), Offset(5)}));
  EXPECT_TRUE(site_.Find().empty());
  EXPECT_FALSE(site_.Verify().good()) << "the loss is not hidden";
}

TEST_F(ReinjectTest, HoleIsRefused) {
  Mirror(p_, 0, 1, s_);
  s_.Append({"A", Term(1), Seq(3), true, {}, ""});
  LogSink sink(s_);
  EXPECT_EQ(Reinject(site_.Find(), FromP(), sink, {}).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace lockstep
