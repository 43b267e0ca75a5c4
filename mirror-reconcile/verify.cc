#include "mirror-reconcile/verify.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "mirror-reconcile/seq_set.h"
#include "mirror-reconcile/tail_scan.h"

namespace lockstep {
namespace {

// One producer's runs in seq order, and what the logs showed of them.
struct ProducerLedger {
  const Head* head = nullptr;
  std::vector<Run> runs;
  SeqSet found;  // In any log.

  // nullptr iff no run holds it. Amortised O(1) for ascending seqs.
  const Run* Find(Seq seq) {
    if (hot >= runs.size() || seq < runs[hot].first_seq || seq > runs[hot].last_seq) {
      if (hot + 1 < runs.size() && seq == runs[hot + 1].first_seq) {
        ++hot;
      } else {
        const auto it = std::partition_point(runs.begin(), runs.end(),
                                             [seq](const Run& run) { return run.last_seq < seq; });
        hot = static_cast<size_t>(it - runs.begin());
      }
    }
    if (hot >= runs.size() || seq < runs[hot].first_seq) return nullptr;
    return &runs[hot];
  }

 private:
  size_t hot = 0;
};

// The same producer within one log: first occurrences must ascend (I1), and a run's digest is
// computed while they come one after another.
struct ProducerInLog {
  SeqSet seen;
  Seq highest;
  RunDigest digest;
  const Run* digest_run = nullptr;
  Seq digest_next;
};

class Verifier {
 public:
  Verifier(LedgerView& view, const std::string& cluster_id, const Rules& rules)
      : view_(view), cluster_id_(cluster_id), rules_(rules) {
    for (int a = 0; a <= static_cast<int>(Anomaly::kForeign); ++a) {
      verdicts_.anomalies[static_cast<Anomaly>(a)];
    }
  }

  absl::Status LoadLedger();
  absl::Status ScanLog(const SiteLog& log);
  void CountMissing();
  Verdicts& verdicts() { return verdicts_; }

 private:
  void TakeRecord(const SiteLog& log, const LogRecord& record);
  void TakeLedgered(const SiteLog& log, const LogRecord& record, const Run& run,
                    ProducerLedger& ledger);
  void FeedDigest(const SiteLog& log, const LogRecord& record, const Run& run,
                  ProducerInLog& in_log);
  absl::Status CheckOwnOffsets(const SiteLog& log, LogExtent extent);
  bool IsOwn(const SiteLog& log, Epoch epoch) const;
  void Report(Anomaly anomaly, AnomalyExample example, int64_t records = 1);

  LedgerView& view_;
  const std::string& cluster_id_;
  const Rules& rules_;
  Verdicts verdicts_;
  std::map<ProducerId, ProducerLedger> ledger_;
  std::map<ProducerId, ProducerInLog> in_log_;  // Of the log being scanned.
  const Head* last_head_ = nullptr;
  std::map<Epoch, SeqSet> own_offsets_;  // Offsets that hold what the ledger names (as Seq).
  bool begins_late_ = false;             // A log no longer begins at offset 0.
  std::vector<RunDigest::HeaderView> headers_;
};

void Verifier::Report(Anomaly anomaly, AnomalyExample example, int64_t records) {
  Verdicts::Count& count = verdicts_.anomalies[anomaly];
  count.records += records;
  if (count.first.size() < kExamplesMax) count.first.push_back(std::move(example));
}

absl::Status Verifier::LoadLedger() {
  for (const Head& head : view_.heads()) ledger_[head.producer].head = &head;
  return view_.ReadRuns(std::nullopt, [this](Run run) {
    verdicts_.ledgered += run.last_seq - run.first_seq + 1;
    ledger_[run.producer].runs.push_back(std::move(run));
  });
}

bool Verifier::IsOwn(const SiteLog& log, Epoch epoch) const {
  for (const LogInfo& info : view_.logs()) {
    if (info.epoch == epoch) return info.cluster_id == cluster_id_ && info.topic == log.topic;
  }
  return false;
}

absl::Status Verifier::ScanLog(const SiteLog& log) {
  in_log_.clear();
  last_head_ = nullptr;
  own_offsets_.clear();
  LOCKSTEP_ASSIGN_OR_RETURN(const LogExtent extent, log.reader->Extent());
  begins_late_ = begins_late_ || extent.lo > Offset(0);
  LOCKSTEP_RETURN_IF_ERROR(log.reader->Read(
      extent.lo, extent.hi, [&](const LogRecord& record) { TakeRecord(log, record); }));
  return CheckOwnOffsets(log, extent);
}

void Verifier::TakeRecord(const SiteLog& log, const LogRecord& record) {
  ++verdicts_.records_read;
  const RecordHeader& header = record.header;
  AnomalyExample here{std::string(header.producer),
                      header.term,
                      header.seq,
                      std::nullopt,
                      log.topic,
                      record.offset,
                      ""};
  if (record.kind != LogRecord::Kind::kOurs) {
    here.detail = record.kind == LogRecord::Kind::kMalformed ? "malformed header" : "no header";
    return Report(Anomaly::kForeign, std::move(here));
  }
  if (last_head_ == nullptr || last_head_->name != header.producer) {
    last_head_ = view_.FindHead(header.producer);
  }
  if (last_head_ == nullptr) {
    here.detail = "the ledger does not know this producer on this stream";
    return Report(Anomaly::kUnexpected, std::move(here));
  }
  ProducerLedger& ledger = ledger_[last_head_->producer];
  const Run* run = ledger.Find(header.seq);
  if (run != nullptr && IsLedgered(*run, header.term, rules_)) {
    return TakeLedgered(log, record, *run, ledger);
  }
  if (header.term < last_head_->closed) return Report(Anomaly::kVoid, std::move(here));
  here.detail = "not ledgered, and its term is not closed";
  Report(Anomaly::kUnexpected, std::move(here));
}

void Verifier::TakeLedgered(const SiteLog& log, const LogRecord& record, const Run& run,
                            ProducerLedger& ledger) {
  const Seq seq = record.header.seq;
  ProducerInLog& in_log = in_log_[run.producer];
  if (IsOwn(log, run.epoch) && run.offsets.Contains(record.offset) &&
      run.first_seq + run.offsets.CountBelow(record.offset) == seq) {
    own_offsets_[run.epoch].Add(Seq(record.offset.value()));
  }
  const auto example = [&](std::string detail) {
    return AnomalyExample{std::string(record.header.producer),
                          record.header.term,
                          seq,
                          PositionOf(run, seq),
                          log.topic,
                          record.offset,
                          std::move(detail)};
  };
  if (!in_log.seen.Add(seq)) return Report(Anomaly::kDuplicate, example(""));
  ledger.found.Add(seq);
  if (seq < in_log.highest) {
    Report(Anomaly::kReordered, example(absl::StrCat("comes after seq ", in_log.highest.value())));
  }
  in_log.highest = std::max(in_log.highest, seq);
  FeedDigest(log, record, run, in_log);
}

void Verifier::FeedDigest(const SiteLog& log, const LogRecord& record, const Run& run,
                          ProducerInLog& in_log) {
  if (record.content == nullptr) return;
  const Seq seq = record.header.seq;
  if (seq == run.first_seq) {
    in_log.digest.Reset();
    in_log.digest_run = &run;
    in_log.digest_next = seq;
  }
  if (in_log.digest_run != &run || in_log.digest_next != seq) return;
  record.content->ForeignHeaders(headers_);
  in_log.digest.Add(record.header.producer, record.header.term, seq, record.content->key(),
                    record.content->value(), headers_);
  in_log.digest_next = seq + 1;
  if (seq != run.last_seq) return;
  ++verdicts_.digests_checked;
  if (in_log.digest.Value() == run.digest) return;
  Report(Anomaly::kCorrupt,
         {std::string(record.header.producer), run.term, run.first_seq,
          PositionOf(run, run.first_seq), log.topic, record.offset,
          absl::StrCat("digest of seqs ", run.first_seq.value(), " to ", run.last_seq.value(),
                       " differs")},
         run.last_seq - run.first_seq + 1);
}

// I2 on the epochs that have their home in this log.
absl::Status Verifier::CheckOwnOffsets(const SiteLog& log, LogExtent extent) {
  for (auto& [producer, ledger] : ledger_) {
    for (const Run& run : ledger.runs) {
      if (!IsOwn(log, run.epoch)) continue;
      for (const OffsetRange& range : run.offsets.ranges()) {
        if (range.end <= extent.lo) continue;  // Retention took it.
        const SeqRange wanted{Seq(std::max(range.first, extent.lo).value()),
                              Seq(range.end.value() - 1)};
        for (const SeqRange& bad : own_offsets_[run.epoch].Missing(wanted)) {
          const Offset offset(bad.first.value());
          const Seq seq = run.first_seq + run.offsets.CountBelow(offset);
          Report(Anomaly::kInconsistentOffsets,
                 {ledger.head->name, run.term, seq, Position{run.epoch, offset}, log.topic, offset,
                  offset >= extent.hi ? "the log ends below it" : "the log holds another record"},
                 bad.count());
        }
      }
    }
  }
  return absl::OkStatus();
}

void Verifier::CountMissing() {
  for (auto& [producer, ledger] : ledger_) {
    verdicts_.found += ledger.found.count();
    const bool any = !ledger.found.empty();
    for (const Run& run : ledger.runs) {
      for (const SeqRange& range : ledger.found.Missing({run.first_seq, run.last_seq})) {
        const bool removed =
            begins_late_ && any && range.last < ledger.found.ranges().front().first;
        Report(
            removed ? Anomaly::kRemoved : Anomaly::kLost,
            {ledger.head->name, run.term, range.first, PositionOf(run, range.first), "", Offset(-1),
             absl::StrCat("seqs ", range.first.value(), " to ", range.last.value(), ", source ",
                          run.at_first, " to ", run.at_last)},
            range.count());
      }
    }
  }
}

}  // namespace

std::string_view ToString(Anomaly anomaly) {
  switch (anomaly) {
    case Anomaly::kLost:
      return "lost";
    case Anomaly::kRemoved:
      return "removed";
    case Anomaly::kReordered:
      return "reordered";
    case Anomaly::kCorrupt:
      return "corrupt";
    case Anomaly::kInconsistentOffsets:
      return "inconsistent-offsets";
    case Anomaly::kUnexpected:
      return "unexpected";
    case Anomaly::kDuplicate:
      return "duplicate";
    case Anomaly::kVoid:
      return "void";
    case Anomaly::kForeign:
      return "foreign";
  }
  return "?";
}

bool IsBad(Anomaly anomaly) {
  switch (anomaly) {
    case Anomaly::kLost:
    case Anomaly::kReordered:
    case Anomaly::kCorrupt:
    case Anomaly::kInconsistentOffsets:
      return true;
    case Anomaly::kRemoved:
    case Anomaly::kUnexpected:
    case Anomaly::kDuplicate:
    case Anomaly::kVoid:
    case Anomaly::kForeign:
      return false;
  }
  return true;
}

bool Verdicts::good() const {
  return std::none_of(anomalies.begin(), anomalies.end(), [](const auto& entry) {
    return IsBad(entry.first) && entry.second.records > 0;
  });
}

absl::StatusOr<Verdicts> VerifyLogs(LedgerView& view, const std::vector<SiteLog>& logs,
                                    const std::string& cluster_id, const Rules& rules) {
  Verifier verifier(view, cluster_id, rules);
  LOCKSTEP_RETURN_IF_ERROR(verifier.LoadLedger());
  for (const SiteLog& log : logs) LOCKSTEP_RETURN_IF_ERROR(verifier.ScanLog(log));
  verifier.CountMissing();
  return std::move(verifier.verdicts());
}

}  // namespace lockstep
