#include "producer/sources/table_source.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "producer/run_builder.h"
#include "producer/sources/table_reader.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kRecentRowsMax = 10'000;  // Watched for rows that come late.
constexpr milliseconds kRecentCheckInterval{1000};
constexpr milliseconds kIdleWaitMax{50};
constexpr milliseconds kNameAgainAfter{60'000};

class TableSource final : public Source {
 public:
  TableSource(const TableSpec& spec, const SourceOptions& options)
      : spec_(spec), options_(options) {}

  absl::Status Start(const ResumePoint& point) override;
  absl::Status Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) override;
  bool ended() const override { return ended_; }

 private:
  bool with_xid() const { return spec_.xid.has_value(); }
  absl::Status Connect();
  absl::Status Advance();
  absl::Status AdvanceById();
  absl::Status AdvanceByXid();
  absl::Status WaitForHolders();
  absl::Status NameLongWriter();
  absl::Status CheckRecent();
  absl::Status PollConnected(size_t max, milliseconds timeout, std::vector<SourceEvent>& events);
  void Delivered(const std::vector<SourceEvent>& events, size_t from);

  const TableSpec spec_;
  const SourceOptions options_;
  std::unique_ptr<TableReader> reader_;
  bool ended_ = false;

  TableKey position_;                 // Delivered up to here.
  TableKey through_;                  // Rows up to here are final; what of them is left is next.
  std::optional<TableKey> last_key_;  // until_end: the end. Set by the first Advance.

  // The wait of the rule: these may yet commit ids up to candidate_.
  int64_t candidate_ = 0;
  std::vector<TableReader::Holder> holders_;
  Clock::time_point waiting_since_;
  Clock::time_point named_at_;

  std::deque<TableKey> recent_;  // The last rows delivered, all of them in a row.
  Clock::time_point recent_checked_at_;
  milliseconds idle_wait_{1};
};

absl::Status TableSource::Connect() {
  LOCKSTEP_ASSIGN_OR_RETURN(
      std::unique_ptr<TableReader> reader,
      TableReader::Connect(spec_, options_.source_db, TableReader::Role::kPrimary));
  LOCKSTEP_RETURN_IF_ERROR(reader->CheckOrder());
  LOCKSTEP_ASSIGN_OR_RETURN(const bool reaches, reader->Reaches(position_));
  if (!reaches) {
    return absl::FailedPreconditionError(
        absl::StrCat("source behind ledger: table ", spec_.schema, ".", spec_.table,
                     " ends below position ", FormatTableKey(position_, with_xid()),
                     ", which is in the ledger; is this an older copy of the database?"));
  }
  reader_ = std::move(reader);
  return absl::OkStatus();
}

absl::Status TableSource::Start(const ResumePoint& point) {
  // `seen` first, so that Connect compares the table's end with it.
  LOCKSTEP_ASSIGN_OR_RETURN(position_, ParseTableKey(point.seen, with_xid()));
  LOCKSTEP_RETURN_IF_ERROR(Connect());
  if (!with_xid() && !reader_->ids_from_sequence()) {
    Log(LogLevel::kWarn, "ids_without_sequence",
        {{"table", spec_.schema + "." + spec_.table},
         {"column", spec_.id},
         {"hint",
          "no sequence gives these ids, so a row may come late, and one that does stops the "
          "producer; "
          "if several transactions write at a time use &xid=COLUMN"}});
  }
  LOCKSTEP_ASSIGN_OR_RETURN(position_, ParseTableKey(point.floor, with_xid()));
  through_ = position_;
  return absl::OkStatus();
}

absl::Status TableSource::Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) {
  if (reader_ == nullptr) {
    LOCKSTEP_RETURN_IF_ERROR(Connect());
  }
  const absl::Status status = PollConnected(max, timeout, events);
  if (!status.ok()) {
    // Whatever was known of locks and snapshots went with the connection.
    reader_.reset();
    through_ = position_;
    holders_.clear();
  }
  return status;
}

absl::Status TableSource::PollConnected(size_t max, milliseconds timeout,
                                        std::vector<SourceEvent>& events) {
  const Clock::time_point deadline = Clock::now() + timeout;
  const size_t before = events.size();
  for (;;) {
    LOCKSTEP_RETURN_IF_ERROR(CheckRecent());
    if (position_ < through_) {
      LOCKSTEP_ASSIGN_OR_RETURN(const size_t count,
                                reader_->Read(position_, through_, max, events));
      Delivered(events, before);
      if (count < max) position_ = std::max(position_, through_);
      if (count > 0) {
        idle_wait_ = milliseconds(1);
        return absl::OkStatus();
      }
    }
    if (last_key_ && position_ >= *last_key_) {
      ended_ = true;
      return absl::OkStatus();
    }
    LOCKSTEP_RETURN_IF_ERROR(Advance());
    if (Clock::now() >= deadline) return absl::OkStatus();
    // The horizon moves with every transaction of the cluster, rows or not; so no hurry then.
    if (position_ < through_ && (!with_xid() || last_key_)) continue;
    std::this_thread::sleep_for(std::min<Clock::duration>(idle_wait_, deadline - Clock::now()));
    idle_wait_ = std::min(idle_wait_ * 2, kIdleWaitMax);
  }
}

void TableSource::Delivered(const std::vector<SourceEvent>& events, size_t from) {
  for (size_t i = from; i < events.size(); ++i) {
    // The reader wrote it, so it parses.
    recent_.push_back(ParseTableKey(events[i].at, with_xid()).value());
  }
  while (recent_.size() > kRecentRowsMax) recent_.pop_front();
  if (events.size() > from) position_ = recent_.back();
}

absl::Status TableSource::Advance() { return with_xid() ? AdvanceByXid() : AdvanceById(); }

absl::Status TableSource::AdvanceById() {
  if (!holders_.empty()) return WaitForHolders();
  LOCKSTEP_ASSIGN_OR_RETURN(TableReader::Frontier frontier, reader_->ReadFrontier());
  if (options_.until_end && !last_key_) last_key_ = TableKey{0, frontier.greatest_id};
  if (frontier.greatest_id <= position_.id) return absl::OkStatus();
  candidate_ = frontier.greatest_id;
  holders_ = std::move(frontier.holders);
  waiting_since_ = Clock::now();
  named_at_ = Clock::time_point();
  if (holders_.empty()) through_ = TableKey{0, candidate_};
  return absl::OkStatus();
}

absl::Status TableSource::WaitForHolders() {
  LOCKSTEP_ASSIGN_OR_RETURN(holders_, reader_->StillHolding(holders_));
  if (holders_.empty()) {
    through_ = TableKey{0, candidate_};
    return absl::OkStatus();
  }
  return NameLongWriter();
}

absl::Status TableSource::AdvanceByXid() {
  LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t horizon, reader_->ReadXidHorizon());
  const TableKey through{horizon - 1, kGreatestId};
  if (options_.until_end && !last_key_) last_key_ = through;
  if (through > through_) {
    through_ = through;
    waiting_since_ = Clock::now();
    named_at_ = Clock::time_point();
    return absl::OkStatus();
  }
  return NameLongWriter();
}

absl::Status TableSource::NameLongWriter() {
  const Clock::time_point now = Clock::now();
  if (now - waiting_since_ < options_.long_writer_after) return absl::OkStatus();
  if (named_at_ != Clock::time_point() && now - named_at_ < kNameAgainAfter) {
    return absl::OkStatus();
  }
  std::string who;
  if (with_xid()) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<std::string> holder,
                              reader_->DescribeHorizonHolder(through_.xid + 1));
    if (!holder) return absl::OkStatus();
    who = *holder;
  } else {
    LOCKSTEP_ASSIGN_OR_RETURN(who, reader_->DescribeHolder(holders_.front()));
  }
  Log(LogLevel::kWarn, "long_writer",
      {{"table", spec_.schema + "." + spec_.table},
       {"holder", who},
       {"holders", with_xid() ? size_t{1} : holders_.size()},
       {"position", FormatTableKey(position_, with_xid())},
       {"waited_ms", std::chrono::duration_cast<milliseconds>(now - waiting_since_).count()},
       {"hint", "rows behind it wait until this transaction ends"}});
  named_at_ = now;
  return absl::OkStatus();
}

absl::Status TableSource::CheckRecent() {
  const Clock::time_point now = Clock::now();
  if (recent_.empty() || now - recent_checked_at_ < kRecentCheckInterval) return absl::OkStatus();
  recent_checked_at_ = now;
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t count, reader_->Count(recent_.front(), recent_.back()));
  if (count == static_cast<int64_t>(recent_.size())) return absl::OkStatus();
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<TableKey> keys,
                            reader_->Keys(recent_.front(), recent_.back()));
  for (const TableKey& key : keys) {
    if (std::binary_search(recent_.begin(), recent_.end(), key)) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "source table ", spec_.schema, ".", spec_.table, ": row ", FormatTableKey(key, with_xid()),
        " came late, after position ", FormatTableKey(position_, with_xid()),
        " was delivered. Ids that are not taken from the sequence within the INSERT need "
        "&xid=COLUMN; so do rows that come to match where= later"));
  }
  recent_.assign(keys.begin(), keys.end());  // Fewer than before: some were deleted.
  return absl::OkStatus();
}

// Runs are asked for in ascending order, and there may be hundreds of small ones a second of the
// past: rows are read ahead and serve several.
class TablePayloadSource final : public PayloadSource {
 public:
  TablePayloadSource(const TableSpec& spec, std::string source_db)
      : spec_(spec), source_db_(std::move(source_db)) {}

  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override {
    if (reader_ == nullptr) {
      LOCKSTEP_ASSIGN_OR_RETURN(reader_,
                                TableReader::Connect(spec_, source_db_, TableReader::Role::kAny));
    }
    absl::StatusOr<std::vector<SourceEvent>> events = ReadRows(request);
    if (!events.ok()) {
      reader_.reset();
    } else {
      events =
          SelectRunEvents(request, *std::move(events), "table " + spec_.schema + "." + spec_.table);
    }
    if (!events.ok()) Forget();  // A later look may find more.
    return events;
  }

 private:
  static constexpr size_t kGreatestLimit = 100'000'000;
  static constexpr size_t kAheadRowsFirst = 100;
  static constexpr size_t kAheadRowsMax = 10'000;
  static constexpr size_t kAheadBytes = size_t{8} << 20;

  absl::StatusOr<std::vector<SourceEvent>> ReadRows(const PayloadRequest& request) {
    const bool with_xid = spec_.xid.has_value();
    LOCKSTEP_ASSIGN_OR_RETURN(TableKey after, ParseTableKey(request.run.at_first, with_xid));
    LOCKSTEP_ASSIGN_OR_RETURN(const TableKey last, ParseTableKey(request.run.at_last, with_xid));
    --after.id;  // Ids are 1 or greater.
    if (after < after_ || last > through_) LOCKSTEP_RETURN_IF_ERROR(ReadAhead(after, last));
    const auto begin = std::upper_bound(keys_.begin(), keys_.end(), after) - keys_.begin();
    const auto end = std::upper_bound(keys_.begin(), keys_.end(), last) - keys_.begin();
    return std::vector<SourceEvent>(rows_.begin() + begin, rows_.begin() + end);
  }

  // At least the rows with after < key ≤ last.
  absl::Status ReadAhead(const TableKey& after, const TableKey& last) {
    Forget();
    const TableKey greatest{UINT64_MAX, kGreatestId};
    LOCKSTEP_RETURN_IF_ERROR(reader_->Read(after, greatest, ahead_rows_, rows_).status());
    LOCKSTEP_RETURN_IF_ERROR(NoteKeys());
    const TableKey reached = keys_.empty() ? after : keys_.back();
    if (rows_.size() == ahead_rows_ && reached < last) {
      LOCKSTEP_RETURN_IF_ERROR(reader_->Read(reached, last, kGreatestLimit, rows_).status());
      LOCKSTEP_RETURN_IF_ERROR(NoteKeys());
    }
    after_ = after;
    through_ = std::max(reached, last);
    size_t bytes = rows_.size();
    for (const SourceEvent& row : rows_) bytes += ContentBytes(row.payload);
    if (!rows_.empty()) {
      ahead_rows_ = std::clamp<size_t>(kAheadBytes / (bytes / rows_.size()), 1, kAheadRowsMax);
    }
    return absl::OkStatus();
  }

  absl::Status NoteKeys() {
    while (keys_.size() < rows_.size()) {
      LOCKSTEP_ASSIGN_OR_RETURN(keys_.emplace_back(),
                                ParseTableKey(rows_[keys_.size()].at, spec_.xid.has_value()));
    }
    return absl::OkStatus();
  }

  void Forget() {
    rows_.clear();
    keys_.clear();
    after_ = {UINT64_MAX, kGreatestId};
    through_ = {};
  }

  const TableSpec spec_;
  const std::string source_db_;
  std::unique_ptr<TableReader> reader_;
  size_t ahead_rows_ = kAheadRowsFirst;
  // All rows with after_ < key ≤ through_, and perhaps some behind, with their keys.
  std::vector<SourceEvent> rows_;
  std::vector<TableKey> keys_;
  TableKey after_{UINT64_MAX, kGreatestId};
  TableKey through_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenTableSource(const TableSpec& spec,
                                                        const SourceOptions& options) {
  if (options.source_db.empty()) {
    return absl::InvalidArgumentError("a table source needs --source-db CONNINFO");
  }
  return std::make_unique<TableSource>(spec, options);
}

absl::StatusOr<std::unique_ptr<PayloadSource>> OpenTablePayloadSource(
    const TableSpec& spec, const std::string& source_db) {
  if (source_db.empty()) {
    return absl::InvalidArgumentError("a table payload source needs --source-db CONNINFO");
  }
  return std::make_unique<TablePayloadSource>(spec, source_db);
}

}  // namespace lockstep
