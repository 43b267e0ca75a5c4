#include "bench/two_logs.h"

#include <memory>
#include <utility>
#include <vector>

#include "bench/ledger_writer.h"
#include "bench/raw_kafka.h"
#include "common/base/status_macros.h"
#include "common/model/record_header.h"
#include "sim/bursts.h"

namespace lockstep::bench {

namespace {

constexpr char kPrimaryCluster[] = "bench-primary";

std::string WriterName(int64_t writer) { return "W" + std::to_string(writer); }

// Writes the ledger in the order of `bursts`, a commit each; the terms of the writers.
absl::StatusOr<std::vector<Term>> FillLedger(const TwoLogs& logs, const sim::Bursts& bursts,
                                             int64_t writers) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresLedger> ledger,
                            ConnectLedger(logs.ledger));
  std::vector<LedgerWriter> open;
  std::vector<Term> terms;
  for (int64_t writer = 0; writer < writers; ++writer) {
    LOCKSTEP_ASSIGN_OR_RETURN(LedgerWriter one, LedgerWriter::Open(*ledger, WriterName(writer),
                                                                   logs.topic, kPrimaryCluster));
    terms.push_back(one.term());
    open.push_back(one);
  }
  Offset next(0);
  for (const sim::Burst& burst : bursts) {
    OffsetRanges offsets;
    offsets.Append(OffsetRange{next, next + burst.count});
    next = next + burst.count;
    LOCKSTEP_RETURN_IF_ERROR(open[static_cast<size_t>(burst.writer)].Append(offsets));
  }
  const Commit<BegunEpoch> begun = ledger->BeginEpoch({Epoch(1), false, "", "bench"});
  if (!begun.committed()) return Annotate(begun.why, "begin epoch 2");
  return terms;
}

// Gives the records of `bursts` one by one, as their producers would have written them.
class RecordGenerator {
 public:
  RecordGenerator(sim::Bursts bursts, std::vector<Term> terms, int64_t value_bytes)
      : bursts_(std::move(bursts)),
        terms_(std::move(terms)),
        next_seq_(terms_.size(), Seq(1)),
        value_(static_cast<size_t>(value_bytes), 'v') {
    for (size_t writer = 0; writer < terms_.size(); ++writer) {
      names_.push_back(WriterName(static_cast<int64_t>(writer)));
    }
  }

  bool operator()(RawRecord& record) {
    while (burst_ < bursts_.size() && in_burst_ == bursts_[burst_].count) {
      ++burst_;
      in_burst_ = 0;
    }
    if (burst_ == bursts_.size()) return false;
    ++in_burst_;
    const auto writer = static_cast<size_t>(bursts_[burst_].writer);
    const Seq seq = next_seq_[writer];
    ++next_seq_[writer];
    at_ = ToString(seq);
    record.header.clear();
    AppendRecordHeader({.term = terms_[writer], .seq = seq, .at = at_, .producer = names_[writer]},
                       record.header);
    record.value = value_;
    return true;
  }

 private:
  sim::Bursts bursts_;
  std::vector<Term> terms_;
  std::vector<Seq> next_seq_;
  std::vector<std::string> names_;
  std::string value_;
  std::string at_;
  size_t burst_ = 0;
  int64_t in_burst_ = 0;
};

}  // namespace

absl::StatusOr<TwoLogs> FillTwoLogs(Site& site, const TwoLogsOptions& options) {
  TwoLogs logs;
  LOCKSTEP_ASSIGN_OR_RETURN(logs.ledger, site.NewLedger());
  LOCKSTEP_ASSIGN_OR_RETURN(logs.topic, site.NewTopic(1));
  sim::Random random(options.seed);
  const std::vector<int64_t> shares = sim::EqualShares(options.records, options.writers);
  const sim::MergeOptions merge{.burst_max = options.burst_max};
  const sim::Bursts primary = sim::RandomMerge(random, shares, merge);
  sim::Bursts standby = options.same_order ? primary : sim::RandomMerge(random, shares, merge);
  const auto ahead =
      static_cast<int64_t>(options.ahead_share * static_cast<double>(options.records));
  if (ahead > 0) BringForward(standby, 0, ahead);
  CutTail(standby, options.missing);
  logs.logged = options.records - options.missing;
  LOCKSTEP_ASSIGN_OR_RETURN(std::vector<Term> terms, FillLedger(logs, primary, options.writers));
  RecordGenerator generator(std::move(standby), std::move(terms), options.value_bytes);
  const absl::StatusOr<double> seconds =
      RawProduce({.brokers = site.brokers(), .topic = logs.topic, .partition = 0},
                 [&](RawRecord& record) { return generator(record); });
  LOCKSTEP_RETURN_IF_ERROR(Annotate(seconds.status(), "fill " + logs.topic));
  return logs;
}

}  // namespace lockstep::bench
