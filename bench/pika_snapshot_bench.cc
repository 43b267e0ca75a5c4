// The full copy of a Pika.
//
// pika/snapshot: the keys of a dump that the page cache has, made events of, on one core. The
// baseline reads the same records with a RocksDB iterator and copies them.
// pika/fetch: a dump through the snapshot port of a master on loopback (same process, a thread of
// its own), written and synced. The baseline copies the same files and syncs them.
// pika/copy/hash: the whole program with a dump that is one large hash, until it is ledgered: what
// matters is the greatest memory, beside the 300 MiB that are allowed.
// pika/backlog: the same with a binlog that waits.
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include <rocksdb/db.h>

#include "bench/pika_dump.h"
#include "bench/program.h"
#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "producer/pika/dump_reader.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/snapshot_fetch.h"
#include "tests/support/pika_master.h"

namespace lockstep::bench {

namespace {

namespace fs = std::filesystem;

constexpr double kMemoryAllowed = 300.0 * (1 << 20);

// A directory that ends with this object.
class Scratch {
 public:
  Scratch() {
    std::string name = fs::temp_directory_path() / "lockstep-bench-XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string operator/(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

absl::StatusOr<double> Walk(const std::string& dump, int64_t keys) {
  const Stopwatch watch;
  LOCKSTEP_ASSIGN_OR_RETURN(const auto reader, pika::DumpReader::Open(dump, 1'700'000'000'000));
  pika::PikaEventWriter writer({.source_id = "127.0.0.1:9221",
                                .host = "127.0.0.1",
                                .port = 9221,
                                .replication_id = "0123456789abcdef"},
                               "db0");
  pika::PikaEventWriter::SnapshotPlace place{1'700'000'000, {}, 0, 0};
  std::vector<SourceEvent> events;
  pika::DumpBatch batch;
  for (;;) {
    LOCKSTEP_ASSIGN_OR_RETURN(const bool more, reader->Next(batch));
    if (!more) break;
    events.clear();
    writer.WriteSnapshot(batch, place, events);
  }
  if (reader->keys() != keys) return absl::DataLossError("not all keys");
  return static_cast<double>(keys) / watch.Seconds();
}

absl::StatusOr<double> Iterate(const std::string& dump, int64_t keys) {
  const Stopwatch watch;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly({}, dump + "/strings", &opened);
  if (!status.ok()) return absl::UnknownError(status.ToString());
  const std::unique_ptr<rocksdb::DB> db(opened);
  const std::unique_ptr<rocksdb::Iterator> record(db->NewIterator({}));
  std::string copy;
  int64_t count = 0;
  for (record->SeekToFirst(); record->Valid(); record->Next(), ++count) {
    copy.assign(record->key().data(), record->key().size());
    copy.append(record->value().data(), record->value().size());
  }
  if (count != keys) return absl::DataLossError("not all keys");
  return static_cast<double>(keys) / watch.Seconds();
}

absl::Status MeasureWalk(Site& site, const Report& report) {
  const int64_t keys = site.Scale(10'000, 1'000'000, 4'000'000);
  const Scratch scratch;
  const std::string dump = scratch / "dump";
  LOCKSTEP_RETURN_IF_ERROR(MakePikaDump(dump, keys, 0));
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair pair, RunPairs(
                                                 site.pairs(), [&] { return Walk(dump, keys); },
                                                 [&] { return Iterate(dump, keys); }));
  report({.name = "pika/snapshot",
          .value = pair.value,
          .baseline = "a RocksDB iterator over the same",
          .baseline_value = pair.baseline,
          .unit = "keys/s",
          .better = Better::kHigher,
          .params = {{"keys", keys}, {"value_bytes", int64_t{100}}}});
  return absl::OkStatus();
}

double BytesIn(const std::string& directory) {
  double bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) bytes += static_cast<double>(entry.file_size());
  }
  return bytes;
}

absl::StatusOr<double> CopyFiles(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::remove_all(to, error);
  const Stopwatch watch;
  fs::copy(from, to, fs::copy_options::recursive, error);
  if (error) return absl::UnknownError("copy: " + error.message());
  for (const auto& entry : fs::recursive_directory_iterator(to)) {
    if (!entry.is_regular_file()) continue;
    const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    fsync(file);
    close(file);
  }
  return BytesIn(from) / watch.Seconds();
}

absl::StatusOr<double> Fetch(int32_t port, const std::string& from, const std::string& to) {
  const Stopwatch watch;
  pika::SnapshotFetch fetch("127.0.0.1", port, "db0", to, 0);
  while (!fetch.done()) usleep(1'000);
  LOCKSTEP_RETURN_IF_ERROR(fetch.status());
  const double seconds = watch.Seconds();
  if (static_cast<double>(fetch.received_bytes()) != BytesIn(from)) {
    return absl::DataLossError(std::to_string(fetch.received_bytes()) + " bytes received");
  }
  return BytesIn(from) / seconds;
}

absl::Status MeasureFetch(Site& site, const Report& report) {
  const int64_t keys = site.Scale(10'000, 4'000'000, 10'000'000);
  const Scratch scratch;
  const std::string dump = scratch / "dump";
  LOCKSTEP_RETURN_IF_ERROR(MakePikaDump(dump, keys, 0));
  // 16 MiB: what a real master puts into an answer, if it is asked for so much.
  pika::PikaMaster master({.piece_bytes_max = 16 << 20});
  master.SetDump("db0", dump, {1, 0});
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Pair pair,
      RunPairs(
          site.pairs(), [&] { return Fetch(master.port(), dump, scratch / "fetched"); },
          [&] { return CopyFiles(dump, scratch / "copied"); }));
  report({.name = "pika/fetch",
          .value = pair.value / 1e6,
          .baseline = "copying the files",
          .baseline_value = pair.baseline / 1e6,
          .unit = "MB/s",
          .better = Better::kHigher,
          .params = {{"bytes", static_cast<int64_t>(BytesIn(dump))}}});
  return absl::OkStatus();
}

// ---------------------------------------------------------------- memory

struct Copied {
  double records = 0;
  double seconds = 0;
  double peak_memory_bytes = 0;
};

absl::StatusOr<Copied> RunOurProgram(Site& site, int32_t port, const std::string& snapshot_dir) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string topic, site.NewTopic(1));
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string ledger, site.NewLedger());
  LOCKSTEP_ASSIGN_OR_RETURN(
      const rapidjson::Document summary,
      RunProgram({site.options().program_dir + "/lockstep-producer", "--name", "W", "--topic",
                  topic, "--brokers", site.brokers(), "--ledger", ledger, "--source",
                  "pika://127.0.0.1:" + std::to_string(port) + "?protocol=pb", "--snapshot-dir",
                  snapshot_dir, "--until-end", "--format", "json", "-X",
                  "message.max.bytes=8000000"}));
  site.DropTopic(topic);
  return Copied{Number(summary, "records"), Number(summary, "seconds"),
                Number(summary, "peak_memory_bytes")};
}

void ReportMemory(const Report& report, const char* name, const Copied& copied, Params params) {
  params.emplace_back("records", static_cast<int64_t>(copied.records));
  params.emplace_back("seconds", copied.seconds);
  report({.name = name,
          .value = copied.peak_memory_bytes / (1 << 20),
          .baseline = "what is allowed",
          .baseline_value = kMemoryAllowed / (1 << 20),
          .unit = "MiB",
          .better = Better::kLower,
          .params = std::move(params)});
}

absl::Status MeasureMemory(Site& site, const Report& report) {
  const Scratch scratch;
  const int64_t fields = site.Scale(10'000, 5'000'000, 5'000'000);
  {
    const std::string dump = scratch / "dump";
    LOCKSTEP_RETURN_IF_ERROR(MakePikaDump(dump, 0, fields));
    pika::PikaMaster master({.piece_bytes_max = 16 << 20});
    // Its log begins there, so only a copy helps.
    master.SetDump("db0", dump, {1, 0});
    LOCKSTEP_ASSIGN_OR_RETURN(const Copied copied,
                              RunOurProgram(site, master.port(), scratch / "copy"));
    ReportMemory(report, "pika/copy/hash", copied, {{"fields", fields}});
  }
  const int64_t entries = site.Scale(2'000, 1'000'000, 4'000'000);
  pika::PikaMaster master({.binlog_file_bytes = 100 << 20});
  const std::string value(100, 'v');
  for (int64_t i = 0; i < entries; ++i) {
    master.Append("db0", {"SET", "key-" + std::to_string(i), value});
  }
  LOCKSTEP_ASSIGN_OR_RETURN(const Copied copied,
                            RunOurProgram(site, master.port(), scratch / "none"));
  ReportMemory(report, "pika/backlog", copied, {{"entries", entries}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunPikaSnapshot(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(MeasureWalk(site, report));
  LOCKSTEP_RETURN_IF_ERROR(MeasureFetch(site, report));
  return MeasureMemory(site, report);
}

}  // namespace lockstep::bench
