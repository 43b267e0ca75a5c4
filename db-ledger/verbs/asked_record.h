// A record that somebody asks for by producer and seq: where the ledger has it, and whether a
// group's gate has let it out.
#ifndef LOCKSTEP_DB_LEDGER_VERBS_ASKED_RECORD_H_
#define LOCKSTEP_DB_LEDGER_VERBS_ASKED_RECORD_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "db-ledger/postgres_ledger.h"

namespace lockstep {

enum class Fate {
  kNotLedgered,  // Its source was told nothing of it.
  kWaits,        // It is ledgered, and no gate of the group has said that it would send it.
  kInDoubt,      // It may have left, or is just being sent.
  kSent,
};

struct AskedRecord {
  ProducerId id;
  std::string producer;
  Seq seq;
  Seq last_seq;                      // The producer's head.
  std::optional<Position> position;  // nullopt: not ledgered, or its row was pruned.
  Fate fate = Fate::kNotLedgered;

  bool pruned() const { return seq <= last_seq && !position.has_value(); }
  void PlaceBefore(const Cursor& cursor);
  void PlaceBefore(const SeqMark& mark);
  std::string Json() const;
  std::string Text() const;  // `(A, seq 4), 1:5,`
};

// `heads`: the stream's. NOT_FOUND: the producer has no tenure there.
absl::StatusOr<AskedRecord> FindRecord(PostgresLedger& ledger, const StreamInfo& stream,
                                       const std::vector<Head>& heads, const std::string& producer,
                                       Seq seq);

// What the cursor has of one producer.
SeqMark MarkOf(const SeqCursor& cursor, ProducerId producer);

struct SeqStanding {
  Head head;
  SeqMark mark;
};
// The producer of whom most is still to be sent. nullopt: the stream has none.
std::optional<SeqStanding> FurthestBehind(const SeqCursor& cursor, const std::vector<Head>& heads);

}  // namespace lockstep

#endif  // LOCKSTEP_DB_LEDGER_VERBS_ASKED_RECORD_H_
