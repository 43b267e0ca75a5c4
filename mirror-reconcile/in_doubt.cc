#include "mirror-reconcile/in_doubt.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

using Identity = std::tuple<std::string, Term, Seq>;

// In-doubt records lie near the log's end: it is read backwards, and not for ever.
constexpr int64_t kChunkRecords = 20'000;
constexpr int64_t kReadBackMax = 2'000'000;

absl::Status TakeFromLedger(LedgerView& view, const Cursor& cursor,
                            std::vector<InDoubtRecord>& records) {
  return view.ReadRuns(cursor.done, [&](const Run& run) {
    const Head* head = view.FindHead(run.producer);
    for (Seq seq = run.first_seq; seq <= run.last_seq && records.size() < kInDoubtMax; ++seq) {
      const Position position = PositionOf(run, seq);
      if (cursor.done && position <= *cursor.done) continue;
      if (position > *cursor.intent) break;  // Positions ascend within a run.
      records.push_back({cursor.group, view.stream().name, position, head->name, run.term, seq, "",
                         std::nullopt});
    }
  });
}

absl::Status TakeFromLedger(LedgerView& view, const std::string& group, const SeqMark& mark,
                            std::vector<InDoubtRecord>& records) {
  const Head* head = view.FindHead(mark.producer);
  for (Seq seq = mark.done + 1; head != nullptr && seq <= mark.intent;) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<Run> run, view.FindRun(*head, seq));
    if (!run) break;
    for (; seq <= std::min(run->last_seq, mark.intent); ++seq) {
      if (records.size() == kInDoubtMax) return absl::OkStatus();
      records.push_back({group, view.stream().name, PositionOf(*run, seq), head->name, run->term,
                         seq, "", std::nullopt});
    }
  }
  return absl::OkStatus();
}

absl::Status TakeFromLog(const SiteLog& log, std::multimap<Identity, InDoubtRecord*>& wanted) {
  LOCKSTEP_ASSIGN_OR_RETURN(const LogExtent extent, log.reader->Extent());
  const Offset stop = std::max(extent.lo, extent.hi - kReadBackMax);
  for (Offset end = extent.hi; end > stop && !wanted.empty();) {
    const Offset from = std::max(stop, end - kChunkRecords);
    LOCKSTEP_RETURN_IF_ERROR(log.reader->Read(from, end, [&](const LogRecord& record) {
      if (record.kind != LogRecord::Kind::kOurs) return;
      const auto [first, last] = wanted.equal_range(
          {std::string(record.header.producer), record.header.term, record.header.seq});
      for (auto it = first; it != last; ++it) {
        it->second->at = std::string(record.header.at);
        if (record.content != nullptr && record.content->key()) {
          it->second->key = std::string(*record.content->key());
        }
      }
      wanted.erase(first, last);
    }));
    end = from;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<InDoubtRecord>> FindInDoubt(LedgerView& view,
                                                       const std::vector<Cursor>& cursors,
                                                       const std::vector<SeqCursor>& seq_cursors,
                                                       const std::vector<SiteLog>& logs) {
  std::vector<InDoubtRecord> records;
  for (const Cursor& cursor : cursors) {
    if (cursor.stream != view.stream().id || !cursor.intent || cursor.done == cursor.intent) {
      continue;
    }
    LOCKSTEP_RETURN_IF_ERROR(TakeFromLedger(view, cursor, records));
  }
  for (const SeqCursor& cursor : seq_cursors) {
    if (cursor.stream != view.stream().id) continue;
    for (const SeqMark& mark : cursor.marks) {
      LOCKSTEP_RETURN_IF_ERROR(TakeFromLedger(view, cursor.group, mark, records));
    }
  }
  std::sort(records.begin(), records.end(), [](const InDoubtRecord& a, const InDoubtRecord& b) {
    return std::tie(a.group, a.position) < std::tie(b.group, b.position);
  });
  std::multimap<Identity, InDoubtRecord*> wanted;
  for (InDoubtRecord& record : records) {
    wanted.emplace(Identity{record.producer, record.term, record.seq}, &record);
  }
  for (const SiteLog& log : logs) {
    if (!wanted.empty()) LOCKSTEP_RETURN_IF_ERROR(TakeFromLog(log, wanted));
  }
  return records;
}

}  // namespace lockstep
