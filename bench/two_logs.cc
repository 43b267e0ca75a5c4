#include "bench/two_logs.h"

#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "bench/ledger_writer.h"
#include "bench/raw_kafka.h"
#include "common/base/status_macros.h"
#include "common/model/record_header.h"

namespace lockstep::bench {

namespace {

constexpr char kPrimaryCluster[] = "bench-primary";

// Writes one partition of the ledger in the order of `bursts`; the terms of the writers.
absl::StatusOr<std::vector<Term>> FillLedger(PostgresLedger& ledger, const std::string& topic,
                                             int32_t partition, const sim::Bursts& bursts,
                                             const TwoLogsOptions& options) {
  std::vector<LedgerWriter> open;
  std::vector<Term> terms;
  for (int64_t writer = 0; writer < options.writers; ++writer) {
    LOCKSTEP_ASSIGN_OR_RETURN(LedgerWriter one,
                              LedgerWriter::Open(ledger, WriterName(writer), topic, kPrimaryCluster,
                                                 partition, options.partitions));
    terms.push_back(one.term());
    open.push_back(one);
  }
  std::vector<OffsetRanges> pending(open.size());
  Offset next(0);
  for (const sim::Burst& burst : bursts) {
    const auto writer = static_cast<size_t>(burst.writer);
    pending[writer].Append(OffsetRange{next, next + burst.count});
    next = next + burst.count;
    if (std::ssize(pending[writer].ranges()) < options.bursts_per_commit) continue;
    LOCKSTEP_RETURN_IF_ERROR(open[writer].Append(std::exchange(pending[writer], {})));
  }
  for (size_t writer = 0; writer < open.size(); ++writer) {
    if (pending[writer].empty()) continue;
    LOCKSTEP_RETURN_IF_ERROR(open[writer].Append(pending[writer]));
  }
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

// The orders of one partition, the ledger's first.
std::pair<sim::Bursts, sim::Bursts> MakeOrders(sim::Random& random, const TwoLogsOptions& options) {
  const int64_t records = options.records / options.partitions;
  const std::vector<int64_t> shares = sim::EqualShares(records, options.writers);
  const sim::MergeOptions merge{.burst_max = options.burst_max};
  sim::Bursts primary = sim::RandomMerge(random, shares, merge);
  sim::Bursts standby = options.same_order ? primary : sim::RandomMerge(random, shares, merge);
  const auto ahead = static_cast<int64_t>(options.ahead_share * static_cast<double>(records));
  if (ahead > 0) sim::BringForward(standby, 0, ahead);
  sim::CutTail(standby, options.missing / options.partitions);
  return {std::move(primary), std::move(standby)};
}

}  // namespace

std::string WriterName(int64_t writer) { return "W" + std::to_string(writer); }

absl::StatusOr<TwoLogs> FillTwoLogs(Site& site, const TwoLogsOptions& options) {
  TwoLogs logs;
  LOCKSTEP_ASSIGN_OR_RETURN(logs.ledger, site.NewLedger());
  LOCKSTEP_ASSIGN_OR_RETURN(logs.topic, site.NewTopic(options.partitions));
  logs.logged = options.records - options.missing;
  sim::Random random(options.seed);
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<PostgresLedger> ledger,
                            ConnectLedger(logs.ledger));
  for (int32_t partition = 0; partition < options.partitions; ++partition) {
    auto [primary, standby] = MakeOrders(random, options);
    LOCKSTEP_ASSIGN_OR_RETURN(std::vector<Term> terms,
                              FillLedger(*ledger, logs.topic, partition, primary, options));
    if (partition == 0) logs.order = std::move(primary);
    RecordGenerator generator(std::move(standby), std::move(terms), options.value_bytes);
    const absl::StatusOr<double> seconds =
        RawProduce({.brokers = site.brokers(), .topic = logs.topic, .partition = partition},
                   [&](RawRecord& record) { return generator(record); });
    LOCKSTEP_RETURN_IF_ERROR(Annotate(seconds.status(), "fill " + logs.topic));
  }
  const Commit<BegunEpoch> begun = ledger->BeginEpoch({Epoch(1), false, "", "bench"});
  if (!begun.committed()) return Annotate(begun.why, "begin epoch 2");
  return logs;
}

}  // namespace lockstep::bench
