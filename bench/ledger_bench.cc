// What the ledger costs: bytes on disk, bytes of WAL that cross to the standby, and a commit's
// time.
//
// Two writers share a log at 300,000 records/s and commit every so many milliseconds. *Batched*:
// their Kafka batches take turns, 5 ms of one writer each (750 records), as linger.ms=5 gives.
// *Alternating*: every single record changes writer, the worst there is. The baseline is what one
// would write down without runs: a row a record with a primary key.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "bench/ledger_writer.h"
#include "bench/suites.h"
#include "common/base/status_macros.h"

namespace lockstep::bench {

namespace {

constexpr int64_t kRecordsPerSecond = 300'000;
constexpr int64_t kWriters = 2;
constexpr int64_t kRecordsPerBatch = kRecordsPerSecond / kWriters * 5 / 1000;

struct Shape {
  const char* name;
  int64_t records_in_a_row;
};
constexpr Shape kBatched{"batched", kRecordsPerBatch};
constexpr Shape kAlternating{"alternating", 1};

// One commit of each writer: `count` records each, taking turns.
std::vector<OffsetRanges> Interleave(const Shape& shape, int64_t count, Offset& next) {
  std::vector<OffsetRanges> offsets(kWriters);
  for (int64_t done = 0; done < count;) {
    const int64_t piece = std::min(shape.records_in_a_row, count - done);
    for (OffsetRanges& writer : offsets) {
      writer.Append(OffsetRange{next, next + piece});
      next = next + piece;
    }
    done += piece;
  }
  return offsets;
}

struct Cost {
  double bytes_per_record = 0;
  double wal_bytes_per_record = 0;
};

// What a run of the suite has gathered besides the medians.
struct Gathered {
  std::vector<double> commit_ms;
  std::vector<double> wal;
  std::vector<double> baseline_wal;
};

class LedgerSuite {
 public:
  LedgerSuite(Site& site, const Report& report) : site_(site), report_(report) {}

  absl::Status Run() {
    LOCKSTEP_ASSIGN_OR_RETURN(conninfo_, site_.NewLedger());
    LOCKSTEP_RETURN_IF_ERROR(site_
                                 .Sql(conninfo_,
                                      "create table public.naive (stream bigint, \"offset\" "
                                      "bigint, producer int, term bigint, "
                                      "seq bigint, primary key (stream, \"offset\"))")
                                 .status());
    for (int64_t i = 0; i < kWriters; ++i) {
      LOCKSTEP_ASSIGN_OR_RETURN(ledgers_.emplace_back(), ConnectLedger(conninfo_));
    }
    LOCKSTEP_RETURN_IF_ERROR(Measure(kBatched, 20, "ledger/batched/bytes_per_record", true));
    LOCKSTEP_RETURN_IF_ERROR(
        Measure(kAlternating, 20, "ledger/alternating/bytes_per_record", false));
    for (const int64_t interval_ms : {1, 5, 50, 100}) {
      const std::string suffix = "/" + std::to_string(interval_ms) + "ms";
      LOCKSTEP_RETURN_IF_ERROR(
          Measure(kBatched, interval_ms, "ledger/batched/bytes_per_record" + suffix, false));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Measure(const Shape& shape, int64_t interval_ms, const std::string& name,
                       bool report_wal) {
    const int64_t per_commit = kRecordsPerSecond / kWriters * interval_ms / 1000;
    // Enough that bytes, not the rounding to pages, are what is measured.
    const int64_t commits =
        shape.records_in_a_row == 1 ? site_.Scale(10, 60, 300) : site_.Scale(20, 300, 2000);
    Gathered gathered;
    const auto ours = [&]() -> absl::StatusOr<double> {
      LOCKSTEP_ASSIGN_OR_RETURN(const Cost cost,
                                Append(shape, per_commit, commits, gathered.commit_ms));
      gathered.wal.push_back(cost.wal_bytes_per_record);
      return cost.bytes_per_record;
    };
    const auto baseline = [&]() -> absl::StatusOr<double> {
      LOCKSTEP_ASSIGN_OR_RETURN(const Cost cost, AppendNaive(per_commit));
      gathered.baseline_wal.push_back(cost.wal_bytes_per_record);
      return cost.bytes_per_record;
    };
    LOCKSTEP_ASSIGN_OR_RETURN(const Pair pair, RunPairs(site_.pairs(), ours, baseline));
    const Params params = {{"writers", kWriters},
                           {"records_per_second", kRecordsPerSecond},
                           {"commit_interval_ms", interval_ms},
                           {"records_per_commit", per_commit},
                           {"commits", commits},
                           {"commit_p50_ms", Quantile(gathered.commit_ms, 0.5)},
                           {"commit_p99_ms", Quantile(gathered.commit_ms, 0.99)},
                           {"wal_bytes_per_record", Median(gathered.wal)}};
    report_({.name = name,
             .value = pair.value,
             .baseline = "a row a record",
             .baseline_value = pair.baseline,
             .unit = "B/record",
             .better = Better::kLower,
             .params = params});
    if (report_wal) {
      report_({.name = "ledger/wal_bytes_per_record",
               .value = Median(gathered.wal),
               .baseline = "a row a record",
               .baseline_value = Median(gathered.baseline_wal),
               .unit = "B/record",
               .better = Better::kLower,
               .params = params});
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Cost> Append(const Shape& shape, int64_t per_commit, int64_t commits,
                              std::vector<double>& commit_ms) {
    const std::string topic = "bench-" + std::to_string(++serial_);
    std::vector<LedgerWriter> writers;
    for (const std::unique_ptr<PostgresLedger>& ledger : ledgers_) {
      const std::string producer = "W" + std::to_string(writers.size()) + topic;
      LOCKSTEP_ASSIGN_OR_RETURN(LedgerWriter writer,
                                LedgerWriter::Open(*ledger, producer, topic, "bench"));
      writers.push_back(writer);
    }
    LOCKSTEP_ASSIGN_OR_RETURN(const Cost before, Sizes("lockstep"));
    Offset next(0);
    for (int64_t i = 0; i < commits; ++i) {
      const std::vector<OffsetRanges> offsets = Interleave(shape, per_commit, next);
      for (size_t writer = 0; writer < writers.size(); ++writer) {
        const Stopwatch watch;
        LOCKSTEP_RETURN_IF_ERROR(writers[writer].Append(offsets[writer]));
        commit_ms.push_back(watch.Seconds() * 1000);
      }
    }
    return Growth("lockstep", before, per_commit * kWriters * commits);
  }

  // The same records a row each, one commit of both writers; 100,000 rows are enough to know.
  absl::StatusOr<Cost> AppendNaive(int64_t per_commit) {
    LOCKSTEP_RETURN_IF_ERROR(site_.Sql(conninfo_, "truncate public.naive").status());
    LOCKSTEP_ASSIGN_OR_RETURN(const Cost before, Sizes("public"));
    const int64_t rows = per_commit * kWriters;
    const int64_t commits = std::max<int64_t>(1, site_.Scale(20'000, 100'000, 100'000) / rows);
    for (int64_t i = 0; i < commits; ++i) {
      LOCKSTEP_RETURN_IF_ERROR(
          site_
              .Sql(conninfo_,
                   "insert into public.naive select 1, o, o % 2, 1, o / 2 from generate_series(" +
                       std::to_string(i * rows) + ", " + std::to_string((i + 1) * rows - 1) + ") o")
              .status());
    }
    return Growth("public", before, rows * commits);
  }

  // Bytes of a schema's tables with TOAST and indexes, and of WAL so far.
  absl::StatusOr<Cost> Sizes(const std::string& schema) {
    const std::string tables =
        "select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c join pg_namespace "
        "n "
        "on n.oid = c.relnamespace where c.relkind = 'r' and n.nspname = '" +
        schema + "'";
    LOCKSTEP_ASSIGN_OR_RETURN(const std::string bytes, site_.Sql(conninfo_, tables));
    LOCKSTEP_ASSIGN_OR_RETURN(
        const std::string wal,
        site_.Sql(conninfo_, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"));
    return Cost{.bytes_per_record = std::stod(bytes), .wal_bytes_per_record = std::stod(wal)};
  }

  absl::StatusOr<Cost> Growth(const std::string& schema, const Cost& before, int64_t records) {
    LOCKSTEP_ASSIGN_OR_RETURN(const Cost after, Sizes(schema));
    const auto n = static_cast<double>(records);
    return Cost{
        .bytes_per_record = (after.bytes_per_record - before.bytes_per_record) / n,
        .wal_bytes_per_record = (after.wal_bytes_per_record - before.wal_bytes_per_record) / n};
  }

  Site& site_;
  const Report& report_;
  std::string conninfo_;
  std::vector<std::unique_ptr<PostgresLedger>> ledgers_;
  int64_t serial_ = 0;
};

}  // namespace

absl::Status RunLedger(Site& site, const Report& report) { return LedgerSuite(site, report).Run(); }

}  // namespace lockstep::bench
