// A little world for this folder's tests: a primary log P with its ledger, and the standby's log.
#ifndef LOCKSTEP_MIRROR_RECONCILE_TEST_SITE_H_
#define LOCKSTEP_MIRROR_RECONCILE_TEST_SITE_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "db-ledger/memory_ledger.h"
#include "mirror-reconcile/gap.h"
#include "mirror-reconcile/memory_log.h"
#include "mirror-reconcile/reinject_plan.h"
#include "mirror-reconcile/verify.h"

namespace lockstep {

// Writes records to a log and their runs to a ledger, as producers do.
class TestWriter {
 public:
  TestWriter(MemoryLedger& ledger, std::string cluster_id, std::string topic)
      : ledger_(ledger), cluster_id_(std::move(cluster_id)), topic_(std::move(topic)) {}

  // A new tenure of the producer that writes to `log`; everything earlier is closed.
  void Open(const std::string& producer, MemoryLog& log) {
    const Offset end(static_cast<int64_t>(log.records().size()));
    const auto opened = ledger_.OpenProducer(
        {producer, "jsonl:" + producer, "orders", 1, {{0, end}}, cluster_id_, topic_});
    ASSERT_TRUE(opened.committed()) << opened.why;
    Tenure& tenure = tenures_[producer];
    tenure = {opened.value.producer,
              opened.value.streams[0].term,
              opened.value.streams[0].last_seq,
              opened.value.streams[0].last_seq,
              {},
              &log};
    ASSERT_TRUE(
        ledger_.CloseEarlierTerms(tenure.id, {{opened.value.streams[0].stream, tenure.term}})
            .committed());
    stream_ = opened.value.streams[0].stream;
  }

  void Send(const std::string& producer, int64_t count = 1) {
    Tenure& tenure = tenures_.at(producer);
    for (int64_t i = 0; i < count; ++i) {
      ++tenure.sent;
      const std::string at = std::to_string(tenure.sent.value());
      Payload payload{producer, producer + at, {}, 1'700'000'000'000 + tenure.sent.value()};
      const Offset offset =
          tenure.log->Append({producer, tenure.term, tenure.sent, false, payload, at});
      tenure.unledgered.emplace_back(offset, std::move(payload));
    }
  }

  // Ledgers everything sent so far as one run.
  void Commit(const std::string& producer) {
    Tenure& tenure = tenures_.at(producer);
    if (tenure.unledgered.empty()) return;
    Run run;
    run.producer = tenure.id;
    run.term = tenure.term;
    run.first_seq = tenure.ledgered + 1;
    run.last_seq = tenure.sent;
    run.at_first = std::to_string(run.first_seq.value());
    run.at_last = std::to_string(run.last_seq.value());
    RunDigest digest;
    Seq seq = run.first_seq;
    for (const auto& [offset, payload] : tenure.unledgered) {
      run.offsets.Append(offset);
      digest.Add(producer, run.term, seq, payload);
      ++seq;
    }
    run.digest = digest.Value();
    const auto appended = ledger_.Append({tenure.id, {{stream_, tenure.term, run}}, {}});
    ASSERT_TRUE(appended.committed()) << appended.why;
    tenure.ledgered = tenure.sent;
    tenure.unledgered.clear();
  }

  void SendAndCommit(const std::string& producer, int64_t count = 1) {
    Send(producer, count);
    Commit(producer);
  }

  StreamId stream() const { return stream_; }

 private:
  struct Tenure {
    ProducerId id;
    Term term;
    Seq ledgered;
    Seq sent;
    std::vector<std::pair<Offset, Payload>> unledgered;
    MemoryLog* log = nullptr;
  };

  MemoryLedger& ledger_;
  std::string cluster_id_;
  std::string topic_;
  StreamId stream_;
  std::map<std::string, Tenure> tenures_;
};

// MirrorMaker: copies [from, end) of `source` as it is.
inline void Mirror(const MemoryLog& source, int64_t from, int64_t end, MemoryLog& mirror) {
  for (int64_t i = from; i < end; ++i) mirror.Append(source.records()[static_cast<size_t>(i)]);
}

// Writes the first `records_max` records of the plan, with the payload they had in `origin`.
inline void Reinject(const Gap& gap, ReinjectOrder order, const MemoryLog& origin, MemoryLog& log,
                     int64_t records_max = INT64_MAX) {
  ReinjectPlan plan(gap, order);
  while (const auto slice = plan.Next()) {
    const Run& run = gap.pieces[slice->piece].run;
    for (Seq seq = slice->first_seq; seq <= slice->last_seq; ++seq) {
      if (records_max-- <= 0) return;
      MemoryRecord record =
          origin.records()[static_cast<size_t>(PositionOf(run, seq).offset.value())];
      record.reinjected = true;
      log.Append(record);
    }
  }
}

// The identities that a gap names: `A1 A2 B7`.
inline std::string Names(const Gap& gap, ReinjectOrder order = ReinjectOrder::kLedger) {
  std::string names;
  ReinjectPlan plan(gap, order);
  while (const auto slice = plan.Next()) {
    for (Seq seq = slice->first_seq; seq <= slice->last_seq; ++seq) {
      for (const ProducerGap& producer : gap.producers) {
        if (producer.producer == gap.pieces[slice->piece].run.producer) {
          names += (names.empty() ? "" : " ") + producer.name + ToString(seq);
        }
      }
    }
  }
  return names;
}

// A site's view of the ledger and its logs.
struct TestSite {
  MemoryLedger& ledger;
  std::string cluster_id;
  std::vector<SiteLog> logs;

  LedgerView View() const {
    const auto streams = ledger.FindStreams("orders");
    EXPECT_TRUE(streams.ok() && !streams->empty());
    auto view = LedgerView::Open(ledger, streams->front());
    EXPECT_TRUE(view.ok()) << view.status();
    return std::move(view).value();
  }
  Gap Find(bool whole = false, const Rules& rules = kAllRules,
           const TailScanOptions& options = {}) const {
    LedgerView view = View();
    auto gap = FindGap(view, logs, cluster_id, rules, whole, options);
    EXPECT_TRUE(gap.ok()) << gap.status();
    return std::move(gap).value();
  }
  Verdicts Verify() const {
    LedgerView view = View();
    auto verdicts = VerifyLogs(view, logs, cluster_id, kAllRules);
    EXPECT_TRUE(verdicts.ok()) << verdicts.status();
    return std::move(verdicts).value();
  }
};

// Producers A and B write to P; s_ is what its mirror has brought to the standby.
class TwoSitesTest : public testing::Test {
 protected:
  TwoSitesTest() {
    writer_.Open("A", p_);
    writer_.Open("B", p_);
  }

  LedgerState state_{true};
  MemoryLedger ledger_{&state_, kAllRules, "admin"};
  MemoryLog p_;
  MemoryLog s_;
  TestWriter writer_{ledger_, "cluster-p", "orders"};
  TestSite site_{ledger_, "cluster-s", {{"orders", &s_}}};
};

}  // namespace lockstep

#endif  // LOCKSTEP_MIRROR_RECONCILE_TEST_SITE_H_
