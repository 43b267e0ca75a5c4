// lockstep-producer: writes a source's events to Kafka and the ledger, in an order that survives
// the loss of the site.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/config/password_file.h"
#include "common/config/program.h"
#include "common/config/stop_request.h"
#include "common/config/units.h"
#include "common/io/peak_memory.h"
#include "common/log/log.h"
#include "common/model/record_header.h"
#include "db-ledger/postgres_ledger.h"
#include "producer/checkpointed_source.h"
#include "producer/monitor.h"
#include "producer/no_ledger.h"
#include "producer/pika/pika_checkpoint.h"
#include "producer/pika/run_notes.h"
#include "producer/producer.h"
#include "producer/sources/source.h"
#include "producer/status_command.h"
#include "producer/wal/wal_source.h"

namespace lockstep {
namespace {

struct Flags {
  std::string name;
  std::string source;
  std::string source_db;
  std::string source_password_file;
  std::string source_id;
  std::string snapshot_dir;
  bool full_copy = false;
  std::string stream_mode = "single";
  std::string snapshot_topic;
  bool transactional = false;
  std::string checkpoint_file;
  std::string checkpoint_topic;
  std::chrono::milliseconds checkpoint_interval = CheckpointOptions().interval;
  Size snapshot_rate;  // 0: as it comes.
  int32_t pika_slave_port = 0;
  std::string wal;
  Size wal_max{.amount = static_cast<int64_t>(WalLimits().max_bytes)};
  Size wal_keep{.amount = static_cast<int64_t>(WalLimits().keep_bytes)};
  int32_t partition = -1;
  bool until_end = false;
  std::string bad_lines = "stop";
  std::string foreign = "fail";
  std::string unknown = "pass";
  bool no_adopt = false;
  bool no_ledger = false;
  bool payload_in_ledger = false;
  std::chrono::milliseconds ledger_linger = ProducerOptions().ledger_linger;
  std::chrono::milliseconds outage = ProducerOptions().outage_wanted;
  bool create_topics = false;
  TopicCreation topics;
  int64_t in_flight = static_cast<int64_t>(ProducerOptions().in_flight_records_max);

  // Where what comes of a full copy goes; empty: where everything goes.
  std::string SnapshotTopic(const std::string& topic) const {
    if (stream_mode == "single" || !snapshot_topic.empty()) return snapshot_topic;
    return absl::StrCat(absl::StripSuffix(topic, ".binlog"), ".snapshot");
  }
  bool exports_checkpoint() const { return !checkpoint_file.empty() || !checkpoint_topic.empty(); }
};

void AddFlags(Program& program, Flags& flags) {
  CLI::App& app = program.app();
  app.add_option("--name", flags.name, "The producer's name; the same at both sites, for ever")
      ->group("Producer");
  app.add_option(
         "--source", flags.source,
         "jsonl:FILE, jsonl:-, table:schema.table?id=COLUMN&value=COLUMN[&key=COLUMN]"
         "[&xid=COLUMN][&where=CONDITION] or pika://HOST:PORT[?db=NAME]"
         "[&protocol=auto|pb|legacy][&FILTER] (commands=, types=, keys=: which events are passed "
         "on); never another one for the same --name (a Pika: another --source-id or FILTER)")
      ->group("Producer");
  app.add_option("--source-db", flags.source_db,
                 "table: the database to read, libpq syntax; default: --ledger's")
      ->group("Producer");
  app.add_option("--source-password-file", flags.source_password_file,
                 "pika: a file with the master's requirepass")
      ->type_name("FILE")
      ->group("Producer");
  app.add_option("--source-id", flags.source_id,
                 "pika: what the ledger, events and exported checkpoints call the source; to go on "
                 "at another Pika of the group give the one it had; default: HOST:PORT")
      ->type_name("ID")
      ->group("Producer");
  app.add_option("--snapshot-dir", flags.snapshot_dir,
                 "pika: a directory for a full copy of the database, made when the binlog does not "
                 "reach back; it needs as much room as the database")
      ->type_name("DIR")
      ->group("Producer");
  app.add_flag(
         "--full-copy", flags.full_copy,
         "pika: make a full copy at this start, though the binlog reaches back; a copy that is "
         "under way is gone on with")
      ->group("Producer");
  app.add_option("--checkpoint-file", flags.checkpoint_file,
                 "pika: the ledger's checkpoint is written there as JSON, for others to read")
      ->type_name("FILE")
      ->group("Checkpoint");
  app.add_option("--checkpoint-topic", flags.checkpoint_topic,
                 "pika: and to this compacted topic of one partition, behind the file, e.g. "
                 "__pika_port_kafka_offsets")
      ->type_name("TOPIC")
      ->group("Checkpoint");
  program
      .AddDuration(app, "--checkpoint-interval", flags.checkpoint_interval,
                   "Not more often than this")
      ->group("Checkpoint");
  program
      .AddSize(app, "--snapshot-rate", flags.snapshot_rate,
               "pika: a full copy is fetched with so many bytes a second at most; 0: as they come. "
               "Before 3.5 the master's db-sync-speed is the rate")
      ->group("Producer");
  app.add_option(
         "--pika-slave-port", flags.pika_slave_port,
         "pika: the port that this slave declares. A Pika before 3.1 dials back to the one "
         "1000 above it, one before 3.5 pushes a full copy to the one 1000 above it (before "
         "3.1: 3000); default: any that is free")
      ->check(CLI::Range(1, 62'535))
      ->default_str("")
      ->group("Producer");
  app.add_option("--wal", flags.wal,
                 "pika: a directory that keeps events from their receipt on, so that the master is "
                 "read on while Kafka or the ledger is away")
      ->type_name("DIR")
      ->group("WAL");
  program
      .AddSize(app, "--wal-max", flags.wal_max,
               "So much that the ledger has not got; then the master waits")
      ->group("WAL");
  program
      .AddSize(app, "--wal-keep", flags.wal_keep,
               "So much that the ledger has, for re-injection (--payload wal:DIR)")
      ->group("WAL");
  app.add_flag("--until-end", flags.until_end,
               "Stop at what is there at the start, instead of following the source")
      ->group("Producer");
  app.add_option("--partition", flags.partition,
                 "All records go there; default: by key (murmur2, as Java clients), else by "
                 "source position")
      ->check(CLI::Range(0, 1'000'000))
      ->default_str("")
      ->group("Producer");
  app.add_option("--bad-lines", flags.bad_lines, "jsonl: stop at a bad line, or skip it")
      ->check(CLI::IsMember({"stop", "skip"}))
      ->capture_default_str()
      ->group("Producer");
  app.add_option(
         "--unknown", flags.unknown,
         "pika: commands that this version does not know: hand them on as they are, or stop")
      ->check(CLI::IsMember({"pass", "stop"}))
      ->capture_default_str()
      ->group("Producer");
  program
      .AddDuration(app, "--ledger-linger", flags.ledger_linger,
                   "A group of records gathers so long before it is ledgered")
      ->group("Ledger");
  app.add_flag("--payload-in-ledger", flags.payload_in_ledger,
               "Keep compressed payloads in the ledger rows (sources that do not survive the site)")
      ->group("Ledger");
  app.add_flag(
         "--no-ledger", flags.no_ledger,
         "pika: without a ledger; checkpoint file, else topic, decide where to resume. At least "
         "once, and no order survives the site")
      ->group("Ledger");
  app.add_option(
         "--stream-mode", flags.stream_mode,
         "pika: dual sends what comes of a full copy to a topic of its own; with --no-ledger only, "
         "for between two topics no order is kept")
      ->check(CLI::IsMember({"single", "dual"}))
      ->capture_default_str()
      ->group("Kafka");
  app.add_flag("--transactional", flags.transactional,
               "With --no-ledger: events and checkpoint topic in Kafka transactions; exactly once "
               "for consumers with isolation.level=read_committed")
      ->group("Kafka");
  app.add_option("--snapshot-topic", flags.snapshot_topic,
                 "That topic; default: --topic with .snapshot in place of .binlog, or behind it")
      ->type_name("TOPIC")
      ->group("Kafka");
  app.add_flag("--no-adopt", flags.no_adopt,
               "Send again what an earlier process left in Kafka, instead of ledgering it as it is")
      ->group("Ledger");
  app.add_option("--foreign", flags.foreign,
                 "Records without Lockstep's header in the topic's tail: fail or pass")
      ->check(CLI::IsMember({"fail", "pass"}))
      ->capture_default_str()
      ->group("Kafka");
  program
      .AddDuration(app, "--outage", flags.outage,
                   "The longest outage to survive; the topic's retention must be longer")
      ->group("Kafka");
  app.add_flag("--create-topics", flags.create_topics,
               "Create the topics that are missing, with the settings that are asked for (kept for "
               "twice --outage); an existing one is never changed")
      ->group("Kafka");
  app.add_option("--topic-partitions", flags.topics.partition_count,
                 "With so many partitions, for as long as the stream lives; a checkpoint topic has "
                 "one")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str()
      ->group("Kafka");
  app.add_option("--topic-replication", flags.topics.replication,
                 "On so many brokers; default: what the broker's is")
      ->check(CLI::Range(1, 100))
      ->default_str("")
      ->group("Kafka");
  app.add_option("--in-flight", flags.in_flight,
                 "Records at most between the source and their durable ledger row")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000'000}))
      ->capture_default_str()
      ->group("Kafka");
}

std::vector<std::string> Validate(const CommonOptions& common, const Flags& flags) {
  std::vector<std::string> complaints;
  const auto need = [&](bool given, const char* flag) {
    if (!given) complaints.push_back(std::string(flag) + " is required");
  };
  need(!flags.name.empty(), "--name");
  need(!flags.source.empty(), "--source");
  need(!common.brokers.empty(), "--brokers");
  need(!common.ledger.empty() || flags.no_ledger, "--ledger");
  need(!common.Topic().empty(), "--topic or --stream");
  if (!flags.name.empty() && !ValidProducerName(flags.name)) {
    complaints.emplace_back("--name must have 1 to 255 bytes");
  }
  if (!flags.source.empty()) {
    const auto spec = ParseSourceSpec(flags.source);
    if (!spec.ok()) {
      complaints.emplace_back(std::string(spec.status().message()));
    } else if (!std::holds_alternative<PikaSpec>(spec->kind) &&
               (flags.exports_checkpoint() || !flags.wal.empty() || flags.stream_mode == "dual")) {
      complaints.emplace_back(
          "--checkpoint-file, --checkpoint-topic, --wal and --stream-mode dual are for pika:// "
          "sources");
    }
  }
  if (!IsUtf8(flags.source_id) || flags.source_id.size() > 255 ||
      flags.source_id.find('?') != std::string::npos) {
    complaints.emplace_back("--source-id must be text of at most 255 bytes without '?'");
  }
  if (flags.snapshot_rate.unit != Size::Unit::kBytes) {
    complaints.emplace_back("--snapshot-rate is bytes a second, e.g. 50MiB");
  }
  if (common.streams.size() > 1) {
    complaints.emplace_back("--stream can be given once here; for all partitions give --topic");
  }
  if (common.streams.size() == 1 && flags.partition >= 0 &&
      common.streams[0].partition != flags.partition) {
    complaints.emplace_back("--stream and --partition name different partitions");
  }
  if (flags.no_ledger) {
    if (!common.ledger.empty() || !common.standby_ledger.empty() || flags.payload_in_ledger ||
        flags.no_adopt) {
      complaints.emplace_back(
          "--no-ledger goes without --ledger, --standby-ledger, --payload-in-ledger and "
          "--no-adopt");
    }
    if (!flags.exports_checkpoint()) {
      complaints.emplace_back("--no-ledger needs --checkpoint-file or --checkpoint-topic");
    }
  }
  const TopicCreation unset;
  if (!flags.create_topics && (flags.topics.partition_count != unset.partition_count ||
                               flags.topics.replication != unset.replication)) {
    complaints.emplace_back("--topic-partitions and --topic-replication go with --create-topics");
  }
  const int32_t partition = common.streams.empty() ? flags.partition : common.streams[0].partition;
  if (flags.create_topics && partition >= flags.topics.partition_count) {
    complaints.push_back(absl::StrCat("--create-topics for partition ", partition,
                                      " needs --topic-partitions ", partition + 1, " or more"));
  }
  if (flags.stream_mode == "dual" && !flags.no_ledger) {
    complaints.emplace_back(
        "--stream-mode dual goes with --no-ledger only: the ledger keeps the order of one topic, "
        "and a copy and what follows it are in order only there");
  }
  if (flags.full_copy && flags.snapshot_dir.empty()) {
    complaints.emplace_back("--full-copy needs --snapshot-dir");
  }
  if (flags.transactional && (!flags.no_ledger || flags.checkpoint_topic.empty())) {
    complaints.emplace_back(
        "--transactional goes with --no-ledger and --checkpoint-topic; with a ledger the "
        "checkpoint is committed with the order there");
  }
  if (!flags.snapshot_topic.empty() && flags.stream_mode != "dual") {
    complaints.emplace_back("--snapshot-topic goes with --stream-mode dual");
  }
  for (const Size& size : {flags.wal_max, flags.wal_keep}) {
    if (size.unit != Size::Unit::kBytes) {
      complaints.emplace_back("--wal-max and --wal-keep are bytes, e.g. 4GiB");
      break;
    }
  }
  return complaints;
}

std::vector<std::string> ValidateStatus(const CommonOptions& common, const Flags& flags) {
  std::vector<std::string> complaints;
  if (flags.name.empty()) complaints.emplace_back("--name is required");
  if (common.ledger.empty()) {
    complaints.emplace_back(
        "--ledger is required; of a producer with --no-ledger its --metrics endpoint and its "
        "checkpoint file tell");
  }
  return complaints;
}

pika::CheckpointOwner OwnerOf(const PikaSpec& pika, const Flags& flags) {
  return {flags.source_id.empty() ? pika.Address() : flags.source_id, pika.database, flags.name};
}

// The checkpoint topic's record as the last one of a transaction.
ProducerOptions::KeyedRecord CheckpointRecord(const std::string& topic,
                                              const pika::CheckpointOwner& owner,
                                              const std::string& checkpoint) {
  const auto parsed = pika::ParsePikaCheckpoint(checkpoint);
  LOCKSTEP_CHECK(parsed.ok(), "a Pika source formats its checkpoints itself");
  return {topic, pika::CheckpointKey(owner),
          pika::CheckpointJson(owner, *parsed, RealClock().NowMs())};
}

ProducerOptions MakeOptions(const SourceSpec& spec, const CommonOptions& common,
                            const Flags& flags) {
  ProducerOptions options;
  options.name = flags.name;
  options.source = RegisteredSource(spec, flags.source_id);
  options.topic = common.Topic();
  if (flags.transactional) {
    options.transactional_id = "lockstep-producer-" + flags.name;
    options.checkpoint_record = std::bind_front(CheckpointRecord, flags.checkpoint_topic,
                                                OwnerOf(std::get<PikaSpec>(spec.kind), flags));
  }
  options.snapshot_topic = flags.SnapshotTopic(options.topic);
  options.is_snapshot = pika::IsSnapshotEvent;
  if (flags.partition >= 0) options.partition = flags.partition;
  if (!common.streams.empty()) options.partition = common.streams[0].partition;
  options.kafka = common.Kafka();
  options.adopt = !flags.no_adopt && !flags.no_ledger;
  options.identity = !flags.no_ledger;
  options.payload_in_ledger = flags.payload_in_ledger;
  if (std::holds_alternative<PikaSpec>(spec.kind) && !flags.no_ledger) {
    options.encode_payload = pika::MakeRunNotesEncoder;
  }
  options.foreign_passes = flags.foreign == "pass" || flags.no_ledger;
  options.ledger_linger = flags.ledger_linger;
  options.drain_timeout = common.drain_timeout;
  if (flags.create_topics) options.create_topics = flags.topics;
  options.outage_wanted = flags.outage;
  options.in_flight_records_max = static_cast<size_t>(flags.in_flight);
  return options;
}

// Sources whose events may be lost with the site, unless the ledger keeps them (I6).
void WarnOfPayloads(const SourceSpec& spec, const Flags& flags) {
  if (!std::holds_alternative<PikaSpec>(spec.kind) || flags.payload_in_ledger || flags.no_ledger) {
    return;
  }
  Log(LogLevel::kWarn, "payload_not_kept",
      {{"source", spec.text},
       {"hint",
        "what the mirror loses with the site can then be re-injected only from a Pika replica "
        "that has received it, which is asynchronous; --payload-in-ledger keeps it"}});
}

// Filters after which keys stay with the consumers that the Pika has deleted.
void WarnOfFilters(const SourceSpec& spec) {
  const auto* pika = std::get_if<PikaSpec>(&spec.kind);
  if (pika == nullptr || pika->filter.Passes("del", pika::DataType::kKey, std::nullopt)) return;
  Log(LogLevel::kWarn, "deletions_filtered",
      {{"source", spec.text},
       {"hint",
        "DEL does not pass: consumers keep what the Pika deletes. With types= it passes by the "
        "type key, with commands= by del"}});
}

std::unique_ptr<Source> WithCheckpoints(std::unique_ptr<Source> source, const SourceSpec& spec,
                                        const CommonOptions& common, const Flags& flags) {
  static RealClock clock;
  if (!flags.exports_checkpoint()) return source;
  CheckpointOptions options;
  options.owner = OwnerOf(std::get<PikaSpec>(spec.kind), flags);
  options.topic_in_transaction = flags.transactional;
  options.file = flags.checkpoint_file;
  options.interval = flags.checkpoint_interval;
  options.decide = flags.no_ledger;
  if (!flags.checkpoint_topic.empty()) {
    options.topic = OpenCheckpointTopic(
        common.Kafka(), flags.checkpoint_topic, ProducerOptions().kafka_timeout,
        flags.create_topics ? std::optional<int32_t>(flags.topics.replication) : std::nullopt,
        flags.transactional);
  }
  return ExportCheckpoints(std::move(source), std::move(options), RealFileSystem(), clock);
}

absl::StatusOr<std::unique_ptr<Producer>> Open(const CommonOptions& common, const Flags& flags) {
  LOCKSTEP_ASSIGN_OR_RETURN(const SourceSpec spec, ParseSourceSpec(flags.source));
  SourceOptions source_options;
  source_options.until_end = flags.until_end;
  source_options.bad_lines = flags.bad_lines == "skip" ? BadLines::kSkip : BadLines::kStop;
  if (!flags.source_password_file.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        source_options.source_password,
        ReadPasswordFile("--source-password-file", flags.source_password_file));
  }
  source_options.source_id = flags.source_id;
  source_options.full_copy = flags.full_copy;
  source_options.unknown_stops = flags.unknown == "stop";
  source_options.snapshot_dir = flags.snapshot_dir;
  source_options.snapshot_rate = static_cast<uint64_t>(flags.snapshot_rate.amount);
  source_options.pika_slave_port = flags.pika_slave_port;
  WarnOfPayloads(spec, flags);
  WarnOfFilters(spec);
  source_options.source_db = flags.source_db.empty() ? common.ledger : flags.source_db;
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<Source> source, OpenSource(spec, source_options));
  if (!flags.wal.empty()) {
    LOCKSTEP_ASSIGN_OR_RETURN(
        std::unique_ptr<Wal> wal,
        Wal::Open(flags.wal, {flags.name, RegisteredSource(spec, flags.source_id)}));
    source = ReadThroughWal(std::move(source), std::move(wal),
                            {.max_bytes = static_cast<uint64_t>(flags.wal_max.amount),
                             .keep_bytes = static_cast<uint64_t>(flags.wal_keep.amount)});
  }
  source = WithCheckpoints(std::move(source), spec, common, flags);
  if (flags.no_ledger) {
    return std::make_unique<Producer>(MakeOptions(spec, common, flags), std::move(source),
                                      OpenNoLedger());
  }
  PostgresLedgerOptions ledger_options;
  ledger_options.ledger = common.ledger;
  ledger_options.standby_ledger = common.standby_ledger;
  ledger_options.application_name = "lockstep-producer";
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<PostgresLedger> ledger,
                            PostgresLedger::Connect(ledger_options));
  return std::make_unique<Producer>(MakeOptions(spec, common, flags), std::move(source),
                                    std::move(ledger));
}

absl::Status RunProducer(const CommonOptions& common, const Flags& flags, StopRequest& stop) {
  const auto start = std::chrono::steady_clock::now();
  LOCKSTEP_ASSIGN_OR_RETURN(const std::unique_ptr<Producer> producer, Open(common, flags));
  LOCKSTEP_ASSIGN_OR_RETURN(
      const std::unique_ptr<ProducerMonitor> monitor,
      ProducerMonitor::Start(*producer, stop, common.metrics, flags.until_end));
  absl::Status status = producer->Run();
  const ProducerProgress progress = producer->progress();
  if (status.ok() && flags.until_end && !progress.source_ended) {
    status = absl::CancelledError("interrupted before the source's end; all taken in is durable");
  }
  monitor->End();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  Summary()
      .Add("records", progress.records)
      .Add("adopted", progress.adopted)
      .Add("runs", progress.runs)
      .Add("ledger_commits", progress.ledger_commits)
      .Add("tenures", progress.tenures)
      .Add("solo", progress.solo)
      .Add("peak_memory_bytes", PeakMemoryBytes())
      .Add("seconds", seconds.count())
      .Print(common.format);
  return status;
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
  lockstep::Program program(
      {.name = "lockstep-producer",
       .purpose = "Writes a source's events to Kafka and the ledger, in an order that survives the "
                  "loss of the site.",
       .examples =
           {"lockstep-producer --name A --topic orders --brokers P:9092 --ledger 'host=db1,db2 "
            "dbname=lockstep' --source 'table:public.outbox?id=id&value=payload'",
            "lockstep-producer --name B … --source jsonl:/data/orders.jsonl --until-end",
            "lockstep-producer status --name A --ledger 'host=db1,db2 dbname=lockstep' --metrics "
            "127.0.0.1:9464"}},
      lockstep::kKafkaFlags | lockstep::kLedgerFlags | lockstep::kStreamFlags |
          lockstep::kDrainFlags | lockstep::kMetricsFlags);
  lockstep::Flags flags;
  lockstep::AddFlags(program, flags);
  lockstep::StatusOptions status;
  CLI::App& status_command = program.AddCommand(
      "status", "Only look: what the ledger knows of --name, what the running one's --metrics say");
  status_command.add_flag("--watch", status.watch, "Again and again, until Ctrl-C");
  program.AddDuration(status_command, "--interval", status.interval, "Between two screens");
  program.app().require_subcommand(0, 1);
  const auto exit = program.Parse(argc, argv, [&] {
    return program.command().empty() ? lockstep::Validate(program.options(), flags)
                                     : lockstep::ValidateStatus(program.options(), flags);
  });
  if (exit) return lockstep::ToInt(*exit);
  if (!program.command().empty()) {
    status.name = flags.name;
    return lockstep::ExitWith("lockstep-producer", lockstep::RunStatus(program.options(), status));
  }
  lockstep::StopRequest& stop = lockstep::StopRequest::Install();
  return lockstep::ExitWith("lockstep-producer",
                            lockstep::RunProducer(program.options(), flags, stop));
}
