// TableSink inserts records into a PostgreSQL table, created if absent:
//
//   stream text, epoch bigint, "offset" bigint, producer text, term bigint, seq bigint, key bytea,
//   value bytea, headers jsonb, ts timestamptz, emitted bigserial, primary key (stream, epoch,
//   "offset")
//
// In the ledger's own database rows and cursor are one statement, so one transaction: nothing is
// ever in doubt, even across sites, because both stand in one WAL. A repeat after an unknown
// outcome meets its own rows (on conflict do nothing) and is harmless. In another database it can
// be asked for its last row, but does not fence; there Write repeats for itself, until the database
// takes the rows, refuses them for good, or a stop comes.
//
// In the ledger's database a commit is what shows the rows, so it is an effect (I3): while the
// primary waits for no standby, and the epoch is not solo, none is made; and one counts only when
// the witness vouches for it, as any change of the ledger. Whoever makes the primary stop waiting
// while a commit waits shows that commit's rows, one batch, before the standby has them.
//
// `headers` is an object, or [[name, value], …] when names repeat; values that are not UTF-8 are
// `{"b64": …}`.
#ifndef LOCKSTEP_REORDER_SINKS_TABLE_SINK_H_
#define LOCKSTEP_REORDER_SINKS_TABLE_SINK_H_

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "db-ledger/pg_connection.h"
#include "db-ledger/postgres_ledger.h"
#include "reorder/sinks/repeats.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

// `schema.table`, or `table` in schema public; letters, digits and `_`.
absl::StatusOr<std::string> QuoteTableName(std::string_view name);

struct TableSinkOptions {
  std::string conninfo = {};
  std::string table = {};  // Quoted.
  StreamName stream = {};
  bool with_cursor = false;         // It is the ledger's database.
  std::string standby_ledger = {};  // with_cursor: PostgresLedgerOptions::standby_ledger.
  // A statement, from its start to the proof that it is durable. A stop waits for it.
  std::chrono::milliseconds answer_max{30'000};
  std::chrono::milliseconds pause_min{100};  // Before Write repeats.
  std::chrono::milliseconds pause_max{10'000};
};

class TableSink final : public Sink {
 public:
  // Connects and creates the table if it is not there.
  static absl::StatusOr<std::unique_ptr<TableSink>> Open(TableSinkOptions options);

  void Attach(SinkHost& host) override;
  SinkKind kind() const override {
    return options_.with_cursor ? SinkKind::kTransactional : SinkKind::kQueryable;
  }
  absl::StatusOr<std::optional<Position>> Last() override;
  // Reads all of the stream's rows, once: an index on (stream, producer, seq) makes that quick.
  absl::StatusOr<std::map<std::string, Seq>> LastSeqs() override;
  // `emitted`'s sequence was never asked. Without a sequence nobody knows: false.
  absl::StatusOr<bool> NeverWritten() override;
  // INVALID_ARGUMENT, PERMISSION_DENIED: the database refuses; CANCELLED: a stop came and its time
  // was up.
  absl::Status Write(std::span<const ReadyRecord> records) override;
  absl::Status Sync() override { return absl::OkStatus(); }  // A commit is synchronous.
  Commit<Moved> WriteWithCursor(std::span<const ReadyRecord> records,
                                const MoveCursorRequest& move) override;
  Commit<Moved> WriteWithSeqCursor(std::span<const ReadyRecord> records,
                                   const MoveSeqCursorRequest& move) override;

 private:
  explicit TableSink(TableSinkOptions options, std::vector<PgHost> hosts);
  absl::Status CreateTable();
  // Connected; valid until the next call of anything.
  absl::StatusOr<PgConnection*> Connection();
  absl::StatusOr<PgRows> Ask(const PgStatement& statement, const PgParams& params);
  PgDeadline AnswerBy() const;
  // nullopt: the rows are there.
  absl::StatusOr<std::optional<std::string>> Insert(const PgParams& params);
  PgParams RowParams(std::span<const ReadyRecord> records);
  template <class Move>
  Commit<Moved> WriteAndMove(const PgStatement& statement, std::span<const ReadyRecord> records,
                             const Move& move);

  const TableSinkOptions options_;
  const std::vector<PgHost> hosts_;
  const std::string stream_text_;
  const std::string insert_sql_;
  const std::string insert_with_cursor_sql_;
  const std::string insert_with_seq_cursor_sql_;
  const std::string last_sql_;
  const std::string last_seqs_sql_;
  const std::string never_written_sql_;
  SinkHost* host_ = nullptr;
  Repeats repeats_;
  std::unique_ptr<PostgresLedger> ledger_;    // with_cursor …
  std::unique_ptr<PgConnection> connection_;  // … and else.
  std::vector<HeaderView> headers_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_TABLE_SINK_H_
