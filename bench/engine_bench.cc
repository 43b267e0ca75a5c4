// reorder/engine/…: the reorderer's decisions alone, no Kafka, no database. The baseline is the
// obvious way, a hash table of the records that wait, keyed by (producer, seq).
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/bursts.h"
#include "bench/ledger_writer.h"
#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "db-ledger/memory_ledger.h"
#include "reorder/parking/fifo_parking.h"
#include "reorder/resequencer.h"

namespace lockstep::bench {

namespace {

constexpr int64_t kValueBytes = 100;

// A ledger and a log in memory, in different orders.
struct Setting {
  std::vector<StreamPage> pages;  // All of the ledger.
  std::vector<std::string> names;
  std::vector<Term> terms;
  std::vector<Burst> ledger_order;
  std::vector<Burst> log_order;
  std::string value = std::string(kValueBytes, 'v');
  int64_t records = 0;
};

absl::StatusOr<Setting> MakeSetting(int64_t records, int64_t writers, int64_t burst_max) {
  Setting setting;
  std::mt19937_64 random(7);
  setting.records = records;
  setting.ledger_order = RandomBursts(random, records, writers, burst_max);
  setting.log_order = RandomBursts(random, records, writers, burst_max);
  LedgerState state(/*solo=*/true);
  MemoryLedger ledger(&state, kAllRules, "bench");
  std::vector<LedgerWriter> open;
  for (int64_t writer = 0; writer < writers; ++writer) {
    setting.names.push_back("W" + std::to_string(writer));
    LOCKSTEP_ASSIGN_OR_RETURN(
        const LedgerWriter one,
        LedgerWriter::Open(ledger, setting.names.back(), "engine", "bench-primary"));
    setting.terms.push_back(one.term());
    open.push_back(one);
  }
  Offset next(0);
  for (const Burst& burst : setting.ledger_order) {
    OffsetRanges offsets;
    offsets.Append(OffsetRange{next, next + burst.count});
    next = next + burst.count;
    LOCKSTEP_RETURN_IF_ERROR(open[static_cast<size_t>(burst.writer)].Append(offsets));
  }
  const Commit<BegunEpoch> begun = ledger.BeginEpoch({Epoch(1), true, "", "bench"});
  if (!begun.committed()) return begun.why;
  RunMarks marks;
  do {
    LOCKSTEP_ASSIGN_OR_RETURN(StreamPage page,
                              ledger.ReadStream({.stream = open.front().stream(), .after = marks}));
    for (const Run& run : page.runs) marks[run.producer] = {run.epoch, run.first_seq};
    setting.pages.push_back(std::move(page));
  } while (!setting.pages.back().more.empty());
  return setting;
}

absl::StatusOr<double> Resequence(const Setting& setting) {
  std::vector<StreamPage> pages = setting.pages;
  std::vector<Seq> next_seq(setting.names.size(), Seq(1));
  const std::string at = "98231";
  FifoParking parking;
  std::vector<ReadyRecord> out;
  int64_t emitted = 0;

  const Stopwatch watch;
  Resequencer engine({.stream = {"engine", 0}, .epoch = Epoch(2), .after = std::nullopt}, parking);
  for (StreamPage& page : pages) {
    LOCKSTEP_RETURN_IF_ERROR(engine.AddPage(std::move(page), out));
  }
  // As the program does: what is ready goes out in batches.
  const auto send = [&]() -> absl::Status {
    do {
      emitted += static_cast<int64_t>(out.size());
      out.clear();
      engine.Release();
      if (engine.drain_pending()) LOCKSTEP_RETURN_IF_ERROR(engine.DrainParked(out));
    } while (!out.empty());
    return absl::OkStatus();
  };
  Offset offset(0);
  for (const Burst& burst : setting.log_order) {
    const auto writer = static_cast<size_t>(burst.writer);
    for (int64_t i = 0; i < burst.count; ++i) {
      FetchedRecord record;
      record.header = {.term = setting.terms[writer],
                       .seq = next_seq[writer],
                       .at = at,
                       .producer = setting.names[writer]};
      record.view.log_offset = offset;
      record.view.at = at;
      record.view.value = setting.value;
      LOCKSTEP_ASSIGN_OR_RETURN(const Resequencer::Taken taken, engine.TakeFrozen(0, record, out));
      if (taken != Resequencer::Taken::kTaken) return absl::InternalError("the engine is blocked");
      ++next_seq[writer];
      ++offset;
      if (engine.drain_pending()) LOCKSTEP_RETURN_IF_ERROR(send());
    }
    LOCKSTEP_RETURN_IF_ERROR(send());
  }
  const double seconds = watch.Seconds();
  if (emitted != setting.records) return absl::DataLossError("the engine kept records");
  return static_cast<double>(emitted) / seconds;
}

struct Identity {
  int64_t writer;
  int64_t seq;
  bool operator==(const Identity&) const = default;
};
struct IdentityHash {
  size_t operator()(const Identity& id) const {
    return static_cast<size_t>(id.seq) * 0x9E3779B97F4A7C15u ^ static_cast<size_t>(id.writer);
  }
};

// Wait in a hash table, look the next one up.
absl::StatusOr<double> RunHashTable(const Setting& setting) {
  std::vector<int64_t> next_logged(setting.names.size(), 1);
  std::vector<int64_t> next_wanted(setting.names.size(), 1);
  std::unordered_map<Identity, std::string, IdentityHash> waiting;
  size_t burst = 0;
  int64_t in_burst = 0;
  int64_t emitted = 0;
  size_t checksum = 0;

  const Stopwatch watch;
  const auto wanted = [&]() -> Identity {
    const int64_t writer = setting.ledger_order[burst].writer;
    return {writer, next_wanted[static_cast<size_t>(writer)]};
  };
  const auto step = [&](std::string_view value) {
    checksum += value.size();
    ++emitted;
    ++next_wanted[static_cast<size_t>(setting.ledger_order[burst].writer)];
    if (++in_burst == setting.ledger_order[burst].count) {
      ++burst;
      in_burst = 0;
    }
  };
  for (const Burst& logged : setting.log_order) {
    for (int64_t i = 0; i < logged.count; ++i) {
      const Identity identity{logged.writer, next_logged[static_cast<size_t>(logged.writer)]++};
      if (identity != wanted()) {
        waiting.emplace(identity, setting.value);
        continue;
      }
      step(setting.value);
      while (emitted < setting.records) {
        const auto found = waiting.find(wanted());
        if (found == waiting.end()) break;
        step(found->second);
        waiting.erase(found);
      }
    }
  }
  const double seconds = watch.Seconds();
  if (emitted != setting.records || checksum == 0) return absl::DataLossError("records left");
  return static_cast<double>(emitted) / seconds;
}

absl::Status Measure(Site& site, const Report& report, int64_t writers, const std::string& name) {
  const int64_t records = site.Scale(50'000, 1'000'000, 10'000'000) / writers * writers;
  // The same number of bursts a writer must interleave, whatever their number.
  const int64_t burst_max = site.smoke() ? 50 : writers > 2 ? 100 : 10'000;
  LOCKSTEP_ASSIGN_OR_RETURN(const Setting setting, MakeSetting(records, writers, burst_max));
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair pair, RunPairs(
                                                 site.pairs(), [&] { return Resequence(setting); },
                                                 [&] { return RunHashTable(setting); }));
  report({.name = name,
          .value = pair.value,
          .baseline = "hash table of waiting records",
          .baseline_value = pair.baseline,
          .unit = "records/s",
          .better = Better::kHigher,
          .params = {{"records", records},
                     {"writers", writers},
                     {"burst_max", burst_max},
                     {"value_bytes", kValueBytes}}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunEngine(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(Measure(site, report, 2, "reorder/engine/2w"));
  return Measure(site, report, 1000, "reorder/engine/1000w");
}

}  // namespace lockstep::bench
