#include "producer/sources/pika_payload_source.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "producer/pika/pika_checkpoint.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/pika_link.h"
#include "producer/pika/run_notes.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using pika::BinlogPosition;
using pika::RunNotes;
using std::chrono::milliseconds;

constexpr milliseconds kLook{100};
constexpr milliseconds kPause{200};
constexpr size_t kItemsMax = 1000;
// A run that begins farther on is asked for, not read up to.
constexpr uint64_t kReadOnBytesMax = uint64_t{4} << 20;

class PikaPayloadSource final : public PayloadSource {
 public:
  PikaPayloadSource(const PikaSpec& spec, const PayloadSourceOptions& options)
      : spec_(spec), options_(options) {}

  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override {
    const bool reused = link_ != nullptr;  // It may be gone by now.
    auto events = ReadRun(request);
    if (absl::IsUnavailable(events.status()) && reused) {
      link_.reset();
      events = ReadRun(request);
    }
    if (events.ok()) return events;
    if (absl::IsUnavailable(events.status()) || absl::IsNotFound(events.status())) link_.reset();
    return Annotate(events.status(), absl::StrCat("the record ", missing_, " (source position)"));
  }

 private:
  struct Range {
    BinlogPosition first;
    BinlogPosition last;
  };

  absl::StatusOr<std::vector<SourceEvent>> ReadRun(const PayloadRequest& request) {
    missing_ = "at " + request.run.at_first;
    LOCKSTEP_ASSIGN_OR_RETURN(const Range range, RangeOf(request.run));
    auto notes =
        pika::DecodeRunNotes(request.run.payload, request.run.last_seq - request.run.first_seq + 1);
    if (!notes.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat(std::string(notes.status().message()),
                       "; its producer was an earlier version, it is of a full copy, or the "
                       "ledger has the payload itself (--payload ledger)"));
    }
    LOCKSTEP_RETURN_IF_ERROR(Connect(range.first, *notes));
    LOCKSTEP_RETURN_IF_ERROR(ReadItems(range));
    return MakeEvents(request, *notes);
  }

  static absl::StatusOr<Range> RangeOf(const Run& run) {
    Range range;
    for (const auto& [at, position] :
         {std::pair(&run.at_first, &range.first), std::pair(&run.at_last, &range.last)}) {
      const auto parsed = pika::ParsePikaPosition(*at);
      if (!parsed.ok()) return absl::FailedPreconditionError(parsed.status().message());
      if (parsed->snapshot_id != 0 || parsed->number != 0) {
        return absl::FailedPreconditionError(
            "it is of a full copy, or of a record of several commands: no binlog has it again");
      }
      *position = parsed->binlog;
    }
    return range;
  }

  // ---------------------------------------------------------------- reading

  // With a link that gives the entry which ends at `first`.
  absl::Status Connect(const BinlogPosition& first, const RunNotes& notes) {
    const bool had = !items_.empty() && items_.front().end <= first;
    const bool near = position_ < first && position_.filenum == first.filenum &&
                      first.offset - position_.offset <= kReadOnBytesMax;
    if (link_ != nullptr && (had || near) && notes.replication_hash == replication_hash_ &&
        notes.database == database_) {
      return absl::OkStatus();
    }
    const Clock::time_point deadline = Clock::now() + options_.patience;
    for (;;) {
      link_.reset();  // First: a slave that is there already is refused.
      link_ = pika::PikaLink::Open(ProtocolFor(notes), spec_.host, spec_.port, Slave(first, notes));
      absl::StatusOr<pika::PikaLink::Ready> ready = link_->AwaitReady(kLook);
      while (absl::IsUnavailable(ready.status()) && !link_->failed() && Clock::now() < deadline) {
        ready = link_->AwaitReady(kLook);
      }
      if (ready.ok()) {
        replication_id_ = ready->replication_id;
        replication_hash_ = notes.replication_hash;
        database_ = notes.database;
        position_ = BinlogPosition();
        items_.clear();
        return absl::OkStatus();
      }
      // One that lags may catch up.
      const bool may_come =
          absl::IsUnavailable(ready.status()) || absl::IsOutOfRange(ready.status());
      if (!may_come || Clock::now() + kPause >= deadline) return Judge(ready.status());
      std::this_thread::sleep_for(kPause);
    }
  }

  pika::Protocol ProtocolFor(const RunNotes& notes) const {
    switch (spec_.protocol) {
      case PikaProtocol::kPb:
        return pika::Protocol::kPb;
      case PikaProtocol::kLegacy:
        return pika::Protocol::kLegacy;
      default:
        return notes.protocol;
    }
  }

  pika::SlaveOptions Slave(const BinlogPosition& first, const RunNotes& notes) const {
    pika::SlaveOptions slave;
    slave.password = options_.source_password;
    slave.database = spec_.database.empty() ? notes.database : spec_.database;
    slave.position = first;
    slave.content_mark = notes.first_mark;
    slave.replication_hash = notes.replication_hash;
    return slave;
  }

  // What an error of the link means for who wants a record.
  static absl::Status Judge(const absl::Status& status) {
    switch (status.code()) {
      case absl::StatusCode::kAborted:             // Purged.
      case absl::StatusCode::kOutOfRange:          // Behind.
      case absl::StatusCode::kFailedPrecondition:  // Another history.
      case absl::StatusCode::kDataLoss:
        return absl::NotFoundError(status.message());
      default:
        return absl::UnavailableError(status.message());
    }
  }

  // Reads to the range's end; of the items what lies before it goes.
  absl::Status ReadItems(const Range& range) {
    Clock::time_point deadline = Clock::now() + options_.patience;
    while (position_ < range.last) {
      const size_t before = items_.size();
      const absl::Status status = link_->Take(kItemsMax, kLook, items_);
      if (items_.size() > before) {
        position_ = items_.back().end;
        deadline = Clock::now() + options_.patience;
      } else if (!status.ok()) {
        return Judge(status);
      } else if (Clock::now() >= deadline) {
        if (position_ >= range.first) missing_ = "behind " + ToString(position_);
        return absl::NotFoundError(absl::StrCat(
            "source behind ledger: its binlog has nothing more for ", options_.patience.count(),
            " ms, and ", ToString(range.last), " is in the ledger"));
      }
    }
    std::erase_if(items_, [&](const pika::ReceivedItem& item) { return item.end < range.first; });
    return absl::OkStatus();
  }

  // ---------------------------------------------------------------- making the events

  // Of the items read, the run's events as the master's producer made them.
  absl::StatusOr<std::vector<SourceEvent>> MakeEvents(const PayloadRequest& request,
                                                      const RunNotes& notes) {
    if (notes.replication_hash != 0 && replication_id_.empty()) {
      return absl::NotFoundError("it does not tell its replication id, which the event has");
    }
    pika::PikaEventWriter writer(
        {notes.source_id, notes.host, notes.port,
         notes.replication_hash == 0 ? "" : replication_id_, notes.protocol},
        notes.database, spec_.filter);
    std::vector<SourceEvent> all;
    for (const pika::ReceivedItem& item : items_) {
      if (CompareSourcePositions(ToString(item.end), request.run.at_last) > 0) break;
      if (item.bytes.empty() || item.part != 0) continue;
      LOCKSTEP_ASSIGN_OR_RETURN(std::optional<SourceEvent> event,
                                writer.Write(item.bytes, item.end));
      if (event) all.push_back(*std::move(event));
    }
    LOCKSTEP_ASSIGN_OR_RETURN(std::vector<SourceEvent> events,
                              SelectRunEvents(request, std::move(all), "its binlog"));
    return Renumber(notes, writer, std::move(events));
  }

  absl::StatusOr<std::vector<SourceEvent>> Renumber(const RunNotes& notes,
                                                    pika::PikaEventWriter& writer,
                                                    std::vector<SourceEvent> events) {
    auto item = items_.begin();
    uint64_t counted_from = 0;  // By this Pika.
    std::string bytes;
    for (size_t i = 0; i < events.size(); ++i) {
      while (ToString(item->end) != events[i].at) ++item;
      pika::BinlogItem entry = pika::ParseBinlogItem(item->bytes).value();
      if (i == 0) counted_from = entry.logic_id;
      entry.exec_time_s = notes.events[i].exec_time_s;
      entry.term_id = notes.events[i].term_id;
      entry.logic_id = notes.first_logic_id + (entry.logic_id - counted_from);
      bytes.clear();
      pika::AppendBinlogItem(entry, bytes);
      LOCKSTEP_ASSIGN_OR_RETURN(std::optional<SourceEvent> event, writer.Write(bytes, item->end));
      LOCKSTEP_CHECK(event.has_value(), "its numbers do not make an entry an event");
      events[i] = *std::move(event);
    }
    return events;
  }

  const PikaSpec spec_;
  const PayloadSourceOptions options_;
  std::unique_ptr<pika::PikaLink> link_;
  std::string replication_id_;  // The Pika's, and what the link was asked for.
  uint64_t replication_hash_ = 0;
  std::string database_;
  BinlogPosition position_;                // Read so far on link_.
  std::vector<pika::ReceivedItem> items_;  // Of them the last, contiguous.
  std::string missing_;                    // For messages: what can not be given.
};

}  // namespace

std::unique_ptr<PayloadSource> OpenPikaPayloadSource(const PikaSpec& spec,
                                                     const PayloadSourceOptions& options) {
  return std::make_unique<PikaPayloadSource>(spec, options);
}

}  // namespace lockstep
