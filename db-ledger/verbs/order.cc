// lockstep-ledger order: the primary's order, a record a line.
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "db-ledger/order_reader.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {
namespace {

// Lines are gathered before they are written: there may be millions.
class Lines {
 public:
  ~Lines() { Flush(); }
  std::string& buffer() { return buffer_; }
  void EndLine() {
    buffer_ += '\n';
    if (buffer_.size() >= kFlushBytes) Flush();
  }
  void Flush() {
    std::fwrite(buffer_.data(), 1, buffer_.size(), stdout);
    std::fflush(stdout);
    buffer_.clear();
  }

 private:
  static constexpr size_t kFlushBytes = 64 << 10;
  std::string buffer_;
};

struct Bounds {
  std::optional<Position> from;
  std::optional<Position> to;  // Inclusive.
};

absl::StatusOr<Bounds> ParseBounds(const LedgerArguments& arguments) {
  Bounds bounds;
  if (!arguments.from.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(bounds.from, ParsePosition(arguments.from));
  }
  if (!arguments.to.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(bounds.to, ParsePosition(arguments.to));
  }
  return bounds;
}

absl::StatusOr<int64_t> PrintRecords(OrderReader& reader, const Bounds& bounds,
                                     const std::string& stream) {
  Lines lines;
  int64_t records = 0;
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(const auto range, reader.NextRange());
    if (!range) return records;
    const std::string head = absl::StrCat(
        "{\"stream\":", stream, ",\"epoch\":", range->first.epoch.value(), ",\"offset\":");
    const std::string middle = absl::StrCat(",\"producer\":", JsonString(*range->producer),
                                            ",\"term\":", range->term.value(), ",\"seq\":");
    for (int64_t i = 0; i < range->records; ++i) {
      if (bounds.to && Position{range->first.epoch, range->first.offset + i} > *bounds.to) {
        return records;
      }
      absl::StrAppend(&lines.buffer(), head, range->first.offset.value() + i, middle,
                      range->first_seq.value() + i, "}");
      lines.EndLine();
      ++records;
    }
  }
}

absl::StatusOr<int64_t> PrintRuns(OrderReader& reader, const Bounds& bounds,
                                  const std::string& stream) {
  Lines lines;
  int64_t runs = 0;
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(const auto run, reader.NextRun());
    if (!run) return runs;
    if (bounds.to && Position{run->epoch, run->offsets.first()} > *bounds.to) return runs;
    absl::StrAppend(&lines.buffer(), "{\"stream\":", stream, ",\"epoch\":", run->epoch.value(),
                    ",\"producer\":", JsonString(reader.NameOf(run->producer)),
                    ",\"first_seq\":", run->first_seq.value(),
                    ",\"last_seq\":", run->last_seq.value(), ",\"term\":", run->term.value());
    absl::StrAppend(&lines.buffer(), ",\"offsets\":\"", run->offsets.ToString(),
                    "\",\"at_first\":", JsonString(run->at_first),
                    ",\"at_last\":", JsonString(run->at_last), ",\"digest\":\"",
                    absl::StrFormat("%016x", run->digest), "\"}");
    lines.EndLine();
    ++runs;
  }
}

}  // namespace

absl::StatusOr<ExitCode> RunOrder(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Bounds bounds, ParseBounds(context.arguments));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, true));
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamInfo stream, NamedStream(*ledger, context.common));
  OrderReader reader(ledger.get(), stream.id, bounds.from);
  const std::string name = JsonString(ToString(stream.name));
  const bool runs = context.arguments.runs;
  LOCKSTEP_ASSIGN_OR_RETURN(const int64_t count, runs ? PrintRuns(reader, bounds, name)
                                                      : PrintRecords(reader, bounds, name));
  Summary().Add(runs ? "runs" : "records", count).Print(context.common.format, stderr);
  return ExitCode::kYes;
}

}  // namespace lockstep
