#include "db-ledger/verbs/asked_record.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/config/terminal.h"
#include "db-ledger/run_position.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {
namespace {

const char* NameOf(Fate fate) {
  switch (fate) {
    case Fate::kNotLedgered:
      return "not_ledgered";
    case Fate::kWaits:
      return "waits";
    case Fate::kInDoubt:
      return "in_doubt";
    case Fate::kSent:
      return "sent";
  }
  return "";
}

// Nothing (nullopt) is below every place.
template <class Place>
Fate FateOf(const Place& place, const Place& done, const Place& intent) {
  if (place <= done) return Fate::kSent;
  return place <= intent ? Fate::kInDoubt : Fate::kWaits;
}

absl::StatusOr<std::optional<Position>> FindPosition(PostgresLedger& ledger, StreamId stream,
                                                     ProducerId producer, Seq seq) {
  LOCKSTEP_ASSIGN_OR_RETURN(const RunMarks marks, ledger.MarksAfterSeqs(stream, {{producer, seq}}));
  LOCKSTEP_ASSIGN_OR_RETURN(const StreamPage page, ledger.ReadStream({stream, marks, 2, false}));
  for (const Run& run : page.runs) {
    if (run.producer == producer && run.first_seq <= seq && seq <= run.last_seq) {
      return PositionOf(run, seq);
    }
  }
  return std::nullopt;
}

}  // namespace

// Only what every group has sent is pruned.
void AskedRecord::PlaceBefore(const Cursor& cursor) {
  if (seq > last_seq) return;
  fate = pruned() ? Fate::kSent : FateOf(position, cursor.done, cursor.intent);
}

void AskedRecord::PlaceBefore(const SeqMark& mark) {
  if (seq <= last_seq) fate = FateOf(seq, mark.done, mark.intent);
}

std::string AskedRecord::Json() const {
  return Summary()
      .Add("producer", producer)
      .Add("seq", seq.value())
      .AddJson("position", JsonPosition(position))
      .Add("state", NameOf(fate))
      .Json();
}

std::string AskedRecord::Text() const {
  return absl::StrCat("(", producer, ", seq ", seq.value(), ")",
                      position.has_value() ? ", " + ToString(*position) + "," : "");
}

absl::StatusOr<AskedRecord> FindRecord(PostgresLedger& ledger, const StreamInfo& stream,
                                       const std::vector<Head>& heads, const std::string& producer,
                                       Seq seq) {
  const auto head = std::find_if(heads.begin(), heads.end(),
                                 [&](const Head& one) { return one.name == producer; });
  if (head == heads.end()) {
    return absl::NotFoundError(absl::StrCat("the ledger knows no producer ", producer, " on ",
                                            ToString(stream.name),
                                            "; lockstep-ledger status lists them"));
  }
  AskedRecord asked{head->producer, producer, seq, head->last_seq, std::nullopt};
  if (seq <= head->last_seq) {
    LOCKSTEP_ASSIGN_OR_RETURN(asked.position, FindPosition(ledger, stream.id, head->producer, seq));
  }
  return asked;
}

SeqMark MarkOf(const SeqCursor& cursor, ProducerId producer) {
  for (const SeqMark& mark : cursor.marks) {
    if (mark.producer == producer) return mark;
  }
  return {producer, Seq(0), Seq(0)};
}

std::optional<SeqStanding> FurthestBehind(const SeqCursor& cursor, const std::vector<Head>& heads) {
  std::optional<SeqStanding> furthest;
  for (const Head& head : heads) {
    const SeqMark mark = MarkOf(cursor, head.producer);
    if (!furthest || head.last_seq - mark.done > furthest->head.last_seq - furthest->mark.done) {
      furthest = SeqStanding{head, mark};
    }
  }
  return furthest;
}

}  // namespace lockstep
