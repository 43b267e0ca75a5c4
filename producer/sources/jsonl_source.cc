#include "producer/sources/jsonl_source.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "common/model/ids.h"
#include "common/model/record_json.h"
#include "producer/sources/line_reader.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kIdleWait{20};

uint64_t HashLine(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

// LINE:BYTE:HASH, taken apart.
struct LineCheckpoint {
  int64_t line = 0;
  uint64_t start = 0;
  uint64_t hash = 0;
};

std::string FormatLineCheckpoint(const SourceEvent& event) {
  return absl::StrCat(event.at, ":", event.resume[0], ":", event.resume[1]);
}

absl::StatusOr<LineCheckpoint> ParseLineCheckpoint(const std::string& text) {
  const size_t first = text.find(':');
  const size_t second = first == std::string::npos ? first : text.find(':', first + 1);
  LineCheckpoint checkpoint;
  if (second == std::string::npos || !absl::SimpleAtoi(text.substr(0, first), &checkpoint.line) ||
      !absl::SimpleAtoi(text.substr(first + 1, second - first - 1), &checkpoint.start) ||
      !absl::SimpleAtoi(text.substr(second + 1), &checkpoint.hash)) {
    return absl::FailedPreconditionError("the ledger's checkpoint '" + text +
                                         "' is not LINE:BYTE:HASH; was this producer's source "
                                         "something else than JSON lines?");
  }
  return checkpoint;
}

// One line as an event. A Status says what is bad about it, without its text.
absl::StatusOr<SourceEvent> EventOf(const LineReader::Line& line) {
  if (line.too_long) {
    return absl::InvalidArgumentError(absl::StrCat("longer than ", kLineBytesMax, " bytes"));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(SourceLine parsed, ParseSourceLine(line.text));
  SourceEvent event;
  event.at = std::to_string(line.number);
  event.payload = std::move(parsed.payload);
  event.partition = parsed.partition;
  event.resume = {line.start, HashLine(line.text)};
  return event;
}

class JsonlSource final : public Source {
 public:
  JsonlSource(const JsonlSpec& spec, const SourceOptions& options)
      : spec_(spec), options_(options) {}

  absl::Status Start(const ResumePoint& point) override {
    LOCKSTEP_ASSIGN_OR_RETURN(reader_, LineReader::Open(spec_.path));
    if (point.checkpoint) {
      LOCKSTEP_ASSIGN_OR_RETURN(checkpoint_, ParseLineCheckpoint(*point.checkpoint));
    }
    seen_ = checkpoint_.line;
    if (!point.seen.empty()) {
      LOCKSTEP_ASSIGN_OR_RETURN(const int64_t seen, ParseDecimal(point.seen));
      seen_ = std::max(seen_, seen);
    }
    if (checkpoint_.line > 0 && reader_->regular_file()) {
      LOCKSTEP_ASSIGN_OR_RETURN(const uint64_t size, reader_->Size());
      if (size <= checkpoint_.start) {
        return Behind(absl::StrCat("it has ", size, " bytes; line ", checkpoint_.line,
                                   " began at byte ", checkpoint_.start));
      }
      reader_->Seek(checkpoint_.start, checkpoint_.line);
      last_line_ = checkpoint_.line - 1;
    }
    return absl::OkStatus();
  }

  absl::Status Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) override {
    const Clock::time_point deadline = Clock::now() + timeout;
    const size_t before = events.size();
    while (!ended_ && events.size() - before < max) {
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
      const bool wait = events.size() == before && left > milliseconds(0);
      LOCKSTEP_ASSIGN_OR_RETURN(
          const std::optional<LineReader::Line> line,
          reader_->Next(wait ? left : milliseconds(0), options_.until_end || !regular()));
      if (line) {
        LOCKSTEP_RETURN_IF_ERROR(Take(*line, events));
        continue;
      }
      if (reader_->at_end()) {
        LOCKSTEP_RETURN_IF_ERROR(AtEnd());
      }
      if (!wait) break;
      if (regular() && !ended_)
        std::this_thread::sleep_for(std::min<Clock::duration>(kIdleWait, left));
    }
    return absl::OkStatus();
  }

  bool ended() const override { return ended_; }

  std::function<std::string(const SourceEvent&)> FormatCheckpoint() const override {
    return FormatLineCheckpoint;
  }

 private:
  bool regular() const { return reader_->regular_file(); }

  absl::Status Behind(const std::string& why) const {
    return absl::FailedPreconditionError("source behind ledger: " + spec_.path + ": " + why);
  }

  absl::Status Take(const LineReader::Line& line, std::vector<SourceEvent>& events) {
    last_line_ = line.number;
    if (line.number == checkpoint_.line &&
        (line.start != checkpoint_.start || HashLine(line.text) != checkpoint_.hash)) {
      return Behind(absl::StrCat("line ", line.number,
                                 " is not what it was when it was ledgered; the file was changed"));
    }
    if (line.number <= checkpoint_.line) return absl::OkStatus();
    absl::StatusOr<SourceEvent> event = EventOf(line);
    if (event.ok()) {
      events.push_back(*std::move(event));
      return absl::OkStatus();
    }
    const std::string where = absl::StrCat("bad line ", line.number, " of ", spec_.path);
    if (options_.bad_lines == BadLines::kStop) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": ", std::string(event.status().message()),
          ". Correct the line if nothing of it was read yet, or pass --bad-lines skip"));
    }
    Log(LogLevel::kWarn, "bad_line_skipped",
        {{"file", spec_.path}, {"line", line.number}, {"why", event.status()}});
    return absl::OkStatus();
  }

  absl::Status AtEnd() {
    LOCKSTEP_RETURN_IF_ERROR(reader_->CheckSameFile());
    if (last_line_ + (reader_->has_unterminated() ? 1 : 0) < seen_) {
      return Behind(
          absl::StrCat("it ends at line ", last_line_, "; line ", seen_, " is in the ledger"));
    }
    ended_ = options_.until_end || !regular();
    return absl::OkStatus();
  }

  const JsonlSpec spec_;
  const SourceOptions options_;
  std::unique_ptr<LineReader> reader_;
  LineCheckpoint checkpoint_;  // Lines up to it are ledgered. 0: none.
  int64_t seen_ = 0;           // The greatest line that is ledgered.
  int64_t last_line_ = 0;
  bool ended_ = false;
};

// Remembers where every so many lines begin, so that going back (runs of several streams overlap)
// costs a short read.
class JsonlPayloadSource final : public PayloadSource {
 public:
  explicit JsonlPayloadSource(const JsonlSpec& spec) : spec_(spec) {}

  absl::StatusOr<std::vector<SourceEvent>> Read(const PayloadRequest& request) override {
    LOCKSTEP_ASSIGN_OR_RETURN(const int64_t first, ParseDecimal(request.run.at_first));
    LOCKSTEP_ASSIGN_OR_RETURN(const int64_t last, ParseDecimal(request.run.at_last));
    if (reader_ == nullptr) {
      LOCKSTEP_ASSIGN_OR_RETURN(reader_, LineReader::Open(spec_.path));
    }
    SeekBelow(first);
    std::vector<SourceEvent> events;
    while (next_line_ <= last) {
      LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<LineReader::Line> line,
                                reader_->Next(milliseconds(0), true));
      if (!line) {
        const int64_t missing = std::max(next_line_, first);
        reader_.reset();
        next_line_ = 1;
        marks_.clear();
        return absl::NotFoundError(absl::StrCat(
            spec_.path, " ends before line ", missing, "; producer '", request.producer, "' on ",
            ToString(request.stream.name), " needs lines ", first, " to ", last, " for seqs ",
            ToString(request.run.first_seq), " to ", ToString(request.run.last_seq)));
      }
      if (line->number % kLinesPerMark == 1 &&
          static_cast<size_t>(line->number / kLinesPerMark) == marks_.size()) {
        marks_.push_back(line->start);
      }
      next_line_ = line->number + 1;
      if (line->number < first) continue;
      absl::StatusOr<SourceEvent> event = EventOf(*line);
      if (event.ok()) events.push_back(*std::move(event));
    }
    return SelectRunEvents(request, std::move(events), spec_.path);
  }

 private:
  static constexpr int64_t kLinesPerMark = 1000;

  // Continues where the last request ended if that is below `line` and no mark is nearer.
  void SeekBelow(int64_t line) {
    const auto mark = std::min(static_cast<int64_t>(marks_.size()) - 1, (line - 1) / kLinesPerMark);
    const int64_t marked_line = mark * kLinesPerMark + 1;
    if (mark < 0 || (next_line_ <= line && next_line_ >= marked_line)) return;
    reader_->Seek(marks_[static_cast<size_t>(mark)], marked_line);
    next_line_ = marked_line;
  }

  const JsonlSpec spec_;
  std::unique_ptr<LineReader> reader_;
  int64_t next_line_ = 1;
  std::vector<uint64_t> marks_;  // Byte at which line i × kLinesPerMark + 1 begins.
};

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> OpenJsonlSource(const JsonlSpec& spec,
                                                        const SourceOptions& options) {
  return std::make_unique<JsonlSource>(spec, options);
}

absl::StatusOr<std::unique_ptr<PayloadSource>> OpenJsonlPayloadSource(const JsonlSpec& spec) {
  if (spec.standard_input()) {
    return absl::InvalidArgumentError(
        "standard input cannot be read a second time: name a file that holds the same lines");
  }
  return std::make_unique<JsonlPayloadSource>(spec);
}

}  // namespace lockstep
