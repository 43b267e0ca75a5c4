#include "db-ledger/requests.h"

#include <cstdint>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/model/record_header.h"

namespace lockstep {
namespace {

absl::Status Invalid(const std::string& why) { return absl::InvalidArgumentError(why); }

absl::Status ValidateStreamName(const StreamName& stream) {
  const auto parsed = ParseStreamName(ToString(stream));
  return parsed.ok() ? absl::OkStatus() : parsed.status();
}

// An empty position is allowed: not every source has one.
bool ValidAt(const std::string& at) {
  return at.empty() || (ValidSourcePosition(at) && ValidLedgerText(at, kSourcePositionMaxBytes));
}

absl::Status ValidateRun(const RunToAppend& to_append, ProducerId producer) {
  const Run& run = to_append.run;
  const std::string which = absl::StrCat("run [", run.first_seq.value(), ",", run.last_seq.value(),
                                         "] of stream ", to_append.stream.value(), ": ");
  if (run.producer != producer) return Invalid(which + "of another producer than the request");
  if (run.first_seq < Seq(1) || run.last_seq < run.first_seq) {
    return Invalid(which + "seqs count from 1 upwards");
  }
  if (run.offsets.count() != run.last_seq - run.first_seq + 1) {
    return Invalid(absl::StrCat(which, run.offsets.count(), " offsets"));
  }
  if (run.offsets.first() < Offset(0)) return Invalid(which + "a negative offset");
  if (run.offsets.ranges().size() > kRangesPerRunMax) {
    return Invalid(absl::StrCat(which, "more than ", kRangesPerRunMax, " ranges; cut it in two"));
  }
  if (run.term < Term(1) || run.term > to_append.tenure_term) {
    return Invalid(absl::StrCat(which, "term ", run.term.value(), " is not from 1 to the tenure's ",
                                to_append.tenure_term.value()));
  }
  if (!ValidAt(run.at_first) || !ValidAt(run.at_last)) {
    return Invalid(which + "a source position is valid UTF-8, at most 255 bytes, without / and ,");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusCode CodeOf(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNotFound:
      return absl::StatusCode::kNotFound;
    case Refusal::kInvalid:
      return absl::StatusCode::kInvalidArgument;
    case Refusal::kUnavailable:
      return absl::StatusCode::kUnavailable;
    case Refusal::kWrongOwner:
      return absl::StatusCode::kPermissionDenied;
    default:
      return absl::StatusCode::kFailedPrecondition;
  }
}

bool ValidLedgerText(std::string_view text, size_t bytes_max) {
  return !text.empty() && text.size() <= bytes_max && text.find('\0') == std::string_view::npos &&
         IsUtf8(text);
}

absl::Status ValidateOpenProducer(const OpenProducerRequest& request) {
  if (!ValidLedgerText(request.producer, kProducerNameMaxBytes)) {
    return Invalid("a producer's name is 1 to 255 bytes of UTF-8 without NUL");
  }
  if (!ValidLedgerText(request.source, kSourceTextMaxBytes)) {
    return Invalid("a producer's source is 1 to 4096 bytes of UTF-8 without NUL");
  }
  if (request.partition_count < 1) return Invalid("a topic has at least one partition");
  if (request.partitions.empty()) return Invalid("no partition to open");
  if (!ValidLedgerText(request.cluster_id, kClusterIdMaxBytes) ||
      !ValidLedgerText(request.log_topic, 249)) {
    return Invalid("the log has no cluster id or no topic");
  }
  std::set<int32_t> seen;
  for (const auto& p : request.partitions) {
    LOCKSTEP_RETURN_IF_ERROR(ValidateStreamName({request.topic, p.partition}));
    if (p.partition < 0 || p.partition >= request.partition_count) {
      return Invalid(absl::StrCat("partition ", p.partition, " of ", request.partition_count));
    }
    if (p.log_end < Offset(0)) return Invalid("a log's end is not negative");
    if (!seen.insert(p.partition).second) {
      return Invalid(absl::StrCat("partition ", p.partition, " is named twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateAppend(const AppendRequest& request) {
  if (request.runs.empty()) return Invalid("nothing to append");
  if (request.checkpoint && !ValidLedgerText(*request.checkpoint, kCheckpointMaxBytes)) {
    return Invalid("a checkpoint is 1 to 4096 bytes of UTF-8 without NUL");
  }
  struct Last {
    Term tenure_term;
    Seq seq;
    Offset end;
  };
  std::map<StreamId, Last> last;
  for (const RunToAppend& run : request.runs) {
    LOCKSTEP_RETURN_IF_ERROR(ValidateRun(run, request.producer));
    const Last now{run.tenure_term, run.run.last_seq, run.run.offsets.end()};
    const auto [it, is_first] = last.try_emplace(run.stream, now);
    if (is_first) continue;
    if (run.tenure_term != it->second.tenure_term || run.run.first_seq != it->second.seq + 1 ||
        run.run.offsets.first() < it->second.end) {
      return Invalid(absl::StrCat("the runs of stream ", run.stream.value(),
                                  " do not follow each other in seq and offset"));
    }
    it->second = now;
  }
  return absl::OkStatus();
}

absl::Status ValidateOpenGate(const std::string& group, const std::vector<StreamName>& streams) {
  if (!ValidLedgerText(group, kGroupNameMaxBytes)) {
    return Invalid("a group's name is 1 to 255 bytes of UTF-8 without NUL");
  }
  if (streams.empty()) return Invalid("no stream to open");
  std::set<StreamName> seen;
  for (const StreamName& stream : streams) {
    LOCKSTEP_RETURN_IF_ERROR(ValidateStreamName(stream));
    if (!seen.insert(stream).second) return Invalid(ToString(stream) + " is named twice");
  }
  return absl::OkStatus();
}

absl::Status ValidateMoveCursor(const MoveCursorRequest& request) {
  for (const auto& position : {request.intent, request.done}) {
    if (position && (position->epoch < Epoch(1) || position->offset < Offset(0))) {
      return Invalid("position " + ToString(*position) + " cannot be");
    }
  }
  if (request.intent && request.done && *request.done > *request.intent) {
    return Invalid("done " + ToString(*request.done) + " is above intent " +
                   ToString(*request.intent));
  }
  return absl::OkStatus();
}

absl::Status ValidateMoveSeqCursor(const MoveSeqCursorRequest& request) {
  if (request.marks.empty()) return Invalid("no producer to move");
  std::set<ProducerId> seen;
  for (const SeqMark& mark : request.marks) {
    if (mark.done < Seq(0) || mark.done > mark.intent) {
      return Invalid(absl::StrCat("producer ", mark.producer.value(), ": done ", mark.done.value(),
                                  " and intent ", mark.intent.value(), " cannot be"));
    }
    if (!seen.insert(mark.producer).second) {
      return Invalid(absl::StrCat("producer ", mark.producer.value(), " is named twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateSetSeqCursor(const std::string& group, Seq at) {
  if (!ValidLedgerText(group, kGroupNameMaxBytes)) {
    return Invalid("a group's name is 1 to 255 bytes of UTF-8");
  }
  return at < Seq(0) ? Invalid("a seq is 0 (nothing) or above") : absl::OkStatus();
}

absl::Status ValidateBeginEpoch(const BeginEpochRequest& request) {
  if (!request.cluster_id.empty() && !ValidLedgerText(request.cluster_id, kClusterIdMaxBytes)) {
    return Invalid("a Kafka cluster's id is 1 to 255 bytes of UTF-8 without NUL");
  }
  if (!ValidLedgerText(request.reason, kReasonMaxBytes)) {
    return Invalid("the reason for an epoch is 1 to 4096 bytes of UTF-8 without NUL");
  }
  return absl::OkStatus();
}

}  // namespace lockstep
