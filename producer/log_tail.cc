#include "producer/log_tail.h"

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPollWait{200};

// Hands one tail record on, or says why the start must stop here.
absl::Status TakeRecord(const KafkaMessage& message, const StreamName& stream,
                        const TailReadOptions& options,
                        const std::function<void(const Tenure::TailRecord&)>& take) {
  const std::optional<std::string_view> text = message.Header(kRecordHeaderKey);
  absl::StatusOr<RecordHeader> header =
      text ? ParseRecordHeader(*text) : absl::InvalidArgumentError("it has no lockstep header");
  if (!header.ok()) {
    if (options.foreign_passes) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("foreign record at offset ", message.offset().value(), " of ",
                     ToString(stream), ": ", std::string(header.status().message()),
                     ". Something else writes to this topic; if it may, pass --foreign pass"));
  }
  if (header->producer != options.producer) return absl::OkStatus();
  const Payload payload = message.CopyPayload();
  take({message.offset(), *header, message.Header(kReinjectedHeaderKey).has_value(), &payload});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<Run>> ReadLastRun(Ledger& ledger, const OpenedProducer& opened,
                                               const OpenedStream& stream) {
  if (stream.last_seq == Seq(0) || stream.adopt_from == Offset(0)) return std::nullopt;
  const Position before_last{opened.epoch, stream.adopt_from - 2};
  LOCKSTEP_ASSIGN_OR_RETURN(const RunMarks marks, ledger.MarksAfter(stream.stream, before_last));
  ReadStreamRequest request;
  request.stream = stream.stream;
  request.after = marks;
  request.runs_per_producer_max = 4;
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, ledger.ReadStream(request));
  for (const Run& run : page.runs) {
    if (run.producer == opened.producer && run.epoch == opened.epoch &&
        run.last_seq == stream.last_seq && run.offsets.end() == stream.adopt_from) {
      return run;
    }
  }
  return std::nullopt;
}

absl::Status JudgeLastLedgered(const std::string& producer, const StreamName& stream,
                               const Run& last, std::optional<std::string_view> found,
                               Offset log_end) {
  const Offset offset = last.offsets.end() - 1;
  std::string expected;
  AppendRecordHeader({last.term, last.last_seq, last.at_last, producer}, expected);
  if (found && *found == expected) return absl::OkStatus();
  std::string what;
  if (log_end <= offset) {
    what = absl::StrCat("the log ends at ", log_end.value());
  } else {
    what = found ? absl::StrCat("the log has ", std::string(*found), " there")
                 : std::string("the log has no record of ours there");
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "inconsistent-offsets: the ledger says that offset ", offset.value(), " of ",
      ToString(stream), " holds ", expected, ", but ", what,
      ". Kafka has lost records or is another cluster. The cure is a failover in place: "
      "lockstep-mirror-reconcile failover --in-place, with these brokers and this ledger, begins "
      "a new epoch and re-injects what is lost"));
}

absl::Status ReadTail(KafkaReader& reader, const StreamName& stream, const OpenedStream& opened,
                      const std::optional<Run>& last, const TailReadOptions& options,
                      const std::function<void(const Tenure::TailRecord&)>& take) {
  LOCKSTEP_ASSIGN_OR_RETURN(const LogOffsets log, reader.Offsets(stream, options.timeout));
  const Offset last_offset = opened.adopt_from - 1;
  if (last && log.hi_offset <= last_offset) {
    return JudgeLastLedgered(options.producer, stream, *last, std::nullopt, log.hi_offset);
  }
  // Retention may have removed the last ledgered record; then there is nothing to compare.
  const bool compare = last && log.lo_offset <= last_offset;
  Offset next = std::max(compare ? last_offset : opened.adopt_from, log.lo_offset);
  if (next >= log.hi_offset) return absl::OkStatus();

  LOCKSTEP_RETURN_IF_ERROR(reader.Start(stream, next));
  bool compared = !compare;
  absl::Status status;
  ReaderBatch batch;
  Clock::time_point deadline = Clock::now() + options.timeout;
  while (status.ok() && next < log.hi_offset) {
    const absl::Status polled = reader.Poll(kPollWait, batch);
    if (!polled.ok() && !absl::IsUnavailable(polled)) status = polled;
    if (!batch.records.empty() || !batch.ends.empty()) {
      deadline = Clock::now() + options.timeout;
    } else if (Clock::now() >= deadline) {
      status = absl::UnavailableError(absl::StrCat(
          "read the tail of ", ToString(stream), ": nothing came for ", options.timeout.count(),
          " ms at offset ", next.value(), " of ", log.hi_offset.value()));
    }
    for (const KafkaMessage& message : batch.records) {
      if (!status.ok() || message.offset() >= log.hi_offset) break;
      next = message.offset() + 1;
      if (!compared) {
        compared = true;
        status = JudgeLastLedgered(
            options.producer, stream, *last,
            message.offset() == last_offset ? message.Header(kRecordHeaderKey) : std::nullopt,
            log.hi_offset);
        if (message.offset() == last_offset) continue;
      }
      if (status.ok()) status = TakeRecord(message, stream, options, take);
    }
    for (const EndOfLog& end : batch.ends) next = std::max(next, end.next_offset);
  }
  if (status.ok() && !compared) {
    status = JudgeLastLedgered(options.producer, stream, *last, std::nullopt, log.hi_offset);
  }
  status.Update(reader.Stop(stream));
  return status;
}

}  // namespace lockstep
