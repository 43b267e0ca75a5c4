#include "reorder/options.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lockstep {
namespace {

constexpr int64_t kBufferMemoryMin = int64_t{1} << 20;

// Another file name for every name.
std::string FileName(std::string_view name) {
  std::string file_name;
  for (const char c : name) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_') {
      file_name.push_back(c);
    } else {
      absl::StrAppendFormat(&file_name, "%%%02x", static_cast<unsigned char>(c));
    }
  }
  return file_name;
}

// One of a flag's words, or a complaint.
template <class T>
void Choose(const char* flag, const std::string& typed,
            const std::vector<std::pair<const char*, T>>& choices, T& chosen,
            std::vector<std::string>& complaints) {
  std::string words;
  for (const auto& [word, value] : choices) {
    if (typed == word) {
      chosen = value;
      return;
    }
    absl::StrAppend(&words, words.empty() ? "" : ", ", word);
  }
  complaints.push_back(absl::StrCat(flag, " \"", typed, "\" is not one of ", words));
}

}  // namespace

void ReorderOptions::AddTo(Program& program) {
  CLI::App& app = program.app();
  app.add_option("--mode", mode,
                 "gate: at the primary, lets a record out once everything up to it is settled and "
                 "durable; recover: after a failover, goes on where the dead site's gate stood, in "
                 "its order; replay: gives the sink what was sent before again, marked, then goes "
                 "on; per-producer: at either site, keeps each producer's own order and no other")
      ->group("Reorder");
  app.add_option("--group", group, "Consumer group, the cursor's name")->group("Reorder");
  app.add_option("--from", from,
                 "cursor: go on where the group stands; start: a group that has sent nothing "
                 "begins at the first record; EPOCH:OFFSET: replay begins there")
      ->capture_default_str()
      ->group("Reorder");
  AddBufferTo(program, app);
  AddRunTo(program, app);
  AddSinkTo(app);
  AddHttpTo(program, app);
  AddDoubtTo(app);
}

void ReorderOptions::AddBufferTo(Program& program, CLI::App& app) {
  app.add_option("--buffer", buffer,
                 "Where records wait that are not next: memory (without a bound); spill (in memory "
                 "up to --buffer-memory, the rest in --spill-dir); bounded (in memory up to "
                 "--buffer-memory, the rest is read from Kafka again; no disk); auto (spill, which "
                 "touches the disk only when it must)")
      ->capture_default_str()
      ->group("Reorder");
  program
      .AddSize(app, "--buffer-memory", buffer_memory,
               "Memory for parked records, of all streams together; or their number, "
               "20000records")
      ->group("Reorder");
  app.add_option("--spill-dir", spill_dir,
                 "Where the rest waits: a directory on a disk, with room for what is parked; not "
                 "needed after the process ends. Default for auto: the system's temporary one")
      ->type_name("DIR")
      ->group("Reorder");
  program
      .AddSize(app, "--spill-max", spill_max,
               "What they may take on disk, of all streams together; beyond it is exit 2, and "
               "nothing is lost. 0: no limit")
      ->group("Reorder");
}

void ReorderOptions::AddRunTo(Program& program, CLI::App& app) {
  app.add_option("--assignment", assignment,
                 "all: this process has all of the topic's streams; group: the processes of this "
                 "--group share them (Kafka's consumer group, cooperative-sticky)")
      ->capture_default_str()
      ->group("Reorder");
  app.add_option("--foreign", foreign,
                 "A record without Lockstep's header: fail, or pass (step over it)")
      ->capture_default_str()
      ->group("Reorder");
  app.add_flag("--until-end", engine.until_end,
               "Stop when all that the ledger names at the start was sent; a record that is "
               "missing or stays unsettled is exit 1 with its name")
      ->group("Reorder");
  program
      .AddDuration(
          app, "--stall-timeout", engine.stall_timeout,
          "How long --until-end waits for a record to be settled, and a gate without it for "
          "one that the ledger names above the log's end (then exit 3)")
      ->group("Reorder");
  app.add_flag("--plan", plan,
               "Read once beside the ledger and say for every buffer what a run with these flags "
               "would park, spill and fetch, and about how long it would take, all streams side "
               "by side on this machine's cores; changes nothing")
      ->group("Reorder");
}

void ReorderOptions::AddSinkTo(CLI::App& app) {
  app.add_option(
         "--sink", sink,
         "jsonl:FILE, jsonl:- (standard output), table:schema.table, exec:COMMAND (records on "
         "its stdin, answers on its stdout), http://HOST:PORT/PATH or https://… (POST with an "
         "Idempotency-Key), kafka:TOPIC[@BROKERS] (a producer of its own, with ledger rows of its "
         "own), null (counts and checksums)")
      ->group("Sink");
  app.add_option("--sink-db", sink_db,
                 "Where the table is (libpq conninfo); default: the ledger's database, where rows "
                 "and cursor are one transaction")
      ->group("Sink");
  app.add_flag("--payload-in-ledger", payload_in_ledger,
               "kafka: what is written is kept in its ledger rows as well, compressed, so that it "
               "can be re-injected after the loss of the site")
      ->group("Sink");
}

void ReorderOptions::AddHttpTo(Program& program, CLI::App& app) {
  app.add_option("--sink-batch", sink_batch,
                 "http: records a request, at most; 1: each is a request of its own, and its key "
                 "alone tells a repeat")
      ->check(CLI::Range(int64_t{1}, int64_t{10'000}))
      ->capture_default_str()
      ->group("Sink");
  app.add_option("--sink-header-file", sink_header_file,
                 "http: a file of lines `Name: value` that go with every request (credentials)")
      ->type_name("FILE")
      ->group("Sink");
  app.add_option("--sink-ca", sink_ca,
                 "https: the certificates to trust (PEM); default: the system's")
      ->type_name("FILE")
      ->group("Sink");
  program
      .AddDuration(app, "--sink-timeout", sink_timeout,
                   "http: how long a request may take before it is made again")
      ->group("Sink");
}

void ReorderOptions::AddDoubtTo(CLI::App& app) {
  app.add_option("--in-doubt", in_doubt,
                 "What may have been sent before a crash: hold (print it, exit 3), resend, skip. "
                 "Not asked where the sink knows")
      ->capture_default_str()
      ->group("Sink");
  app.add_flag("--old-gate-is-dead", engine.old_gate_is_dead,
               "You made sure that no earlier gate of this group can still send")
      ->group("Sink");
}

std::vector<std::string> ReorderOptions::Validate(const CommonOptions& common) {
  std::vector<std::string> complaints;
  const auto require = [&](bool given, const char* what) {
    if (!given) complaints.push_back(absl::StrCat(what, " is required"));
  };
  require(!mode.empty(), "--mode gate, recover, replay or per-producer");
  require(!group.empty(), "--group");
  require(!common.brokers.empty(), "--brokers");
  require(!common.ledger.empty(), "--ledger");
  require(!common.topic.empty() || !common.streams.empty(), "--topic or --stream");
  require(!sink.empty() || plan, "--sink");
  if (!mode.empty()) {
    Choose<ReorderMode>("--mode", mode,
                        {{"gate", ReorderMode::kGate},
                         {"recover", ReorderMode::kRecover},
                         {"replay", ReorderMode::kReplay},
                         {"per-producer", ReorderMode::kPerProducer}},
                        engine.mode, complaints);
  }
  ValidateFrom(complaints);
  Choose<InDoubtPolicy>("--in-doubt", in_doubt,
                        {{"hold", InDoubtPolicy::kHold},
                         {"resend", InDoubtPolicy::kResend},
                         {"skip", InDoubtPolicy::kSkip}},
                        engine.in_doubt, complaints);
  Choose<ForeignPolicy>("--foreign", foreign,
                        {{"fail", ForeignPolicy::kFail}, {"pass", ForeignPolicy::kPass}},
                        engine.reader.foreign, complaints);
  Choose<BufferKind>("--buffer", buffer,
                     {{"auto", BufferKind::kAuto},
                      {"memory", BufferKind::kMemory},
                      {"spill", BufferKind::kSpill},
                      {"bounded", BufferKind::kBounded}},
                     buffer_kind, complaints);
  require(buffer_kind != BufferKind::kSpill || !spill_dir.empty(),
          "--spill-dir (for --buffer spill)");
  const bool in_bytes = buffer_memory.unit == Size::Unit::kBytes;
  if (buffer_memory.amount < (in_bytes ? kBufferMemoryMin : 1)) {
    complaints.emplace_back("--buffer-memory must be 1MiB or more, or a number of records");
  }
  if (spill_max.unit != Size::Unit::kBytes || spill_max.amount < 0) {
    complaints.emplace_back("--spill-max must be an amount of bytes");
  }
  if (!sink.empty()) {
    if (auto spec = ParseSinkSpec(sink); spec.ok()) {
      sink_spec = *spec;
    } else {
      complaints.push_back(absl::StrCat("--sink ", std::string(spec.status().message())));
    }
  }
  if (const char* const why = WhyNotReplayed(sink_spec);
      engine.mode == ReorderMode::kReplay && why != nullptr) {
    complaints.push_back(absl::StrCat("--mode replay with --sink ", sink, ": ", why));
  }
  if (engine.mode == ReorderMode::kPerProducer) ValidatePerProducer(complaints);
  ValidateAssignment(common, complaints);
  if (!sink_db.empty() && sink_spec.kind != SinkSpec::Kind::kTable) {
    complaints.emplace_back("--sink-db belongs to --sink table:…");
  }
  CheckHttp(complaints);
  CheckKafka(common, complaints);
  engine.group = group;
  engine.drain_timeout = common.drain_timeout;
  sink_settings.ledger = common.ledger;
  sink_settings.standby_ledger = common.standby_ledger;
  sink_settings.sink_db = sink_db;
  sink_settings.http_by_producer = engine.mode == ReorderMode::kPerProducer;
  return complaints;
}

// Replay begins at the first record unless a position is named; it has no other use for --from.
void ReorderOptions::ValidateFrom(std::vector<std::string>& complaints) {
  const auto position = ParsePosition(from);
  if (!position.ok()) {
    Choose<bool>("--from", from, {{"cursor", false}, {"start", true}}, engine.from_start,
                 complaints);
  } else if (engine.mode == ReorderMode::kReplay) {
    engine.replay_from = *position;
  } else {
    complaints.emplace_back(
        "--from EPOCH:OFFSET belongs to --mode replay; `lockstep-ledger cursor set` moves a "
        "cursor");
  }
  if (engine.mode == ReorderMode::kReplay) engine.from_start = false;
}

void ReorderOptions::CheckKafka(const CommonOptions& common,
                                std::vector<std::string>& complaints) const {
  if (sink_spec.kind != SinkSpec::Kind::kKafka) {
    if (payload_in_ledger) complaints.emplace_back("--payload-in-ledger belongs to --sink kafka:…");
    return;
  }
  if (sink_spec.target == common.Topic()) {
    complaints.push_back(absl::StrCat("--sink ", sink, " writes to the topic that it reads"));
  }
  if (mode != "gate" && mode != "recover" && mode != "replay") {  // Replay says why itself.
    complaints.emplace_back("--sink kafka:… goes with --mode gate or recover");
  }
  if (in_doubt != "hold") {
    complaints.emplace_back(
        "--in-doubt: with --sink kafka:… nothing is ever in doubt, its ledger rows say what was "
        "sent");
  }
}

void ReorderOptions::CheckHttp(std::vector<std::string>& complaints) {
  const bool http = sink_spec.kind == SinkSpec::Kind::kHttp;
  const bool typed = sink_batch != 1 || !sink_header_file.empty() || !sink_ca.empty() ||
                     sink_timeout != HttpSinkOptions().answer_max;
  if (!http && typed) {
    complaints.emplace_back(
        "--sink-batch, --sink-header-file, --sink-ca and --sink-timeout belong to --sink http://… "
        "or https://…");
  }
  if (!sink_ca.empty() && http && !sink_spec.http.tls) {
    complaints.emplace_back("--sink-ca belongs to --sink https://…");
  }
  if (!sink_ca.empty() && !std::filesystem::is_regular_file(sink_ca)) {
    complaints.push_back(absl::StrCat("--sink-ca ", sink_ca, " is not a file"));
  }
  if (sink_timeout <= std::chrono::milliseconds(0)) {
    complaints.emplace_back("--sink-timeout must be above 0");
  }
  sink_settings.http_records_per_request = sink_batch;
  sink_settings.http_ca_file = sink_ca;
  sink_settings.http_answer_max = sink_timeout;
  if (sink_header_file.empty()) return;
  if (auto headers = ReadHttpHeaders("--sink-header-file", sink_header_file); headers.ok()) {
    sink_settings.http_headers = *std::move(headers);
  } else {
    complaints.emplace_back(headers.status().message());
  }
}

// What goes by position, or by the ledger's order, says nothing in this mode.
void ReorderOptions::ValidatePerProducer(std::vector<std::string>& complaints) const {
  const auto refuse = [&](bool typed, const char* what) {
    if (typed) complaints.push_back(absl::StrCat("--mode per-producer does not go with ", what));
  };
  const SinkSpec::Kind kind = sink_spec.kind;
  refuse(
      kind == SinkSpec::Kind::kKafka || (kind == SinkSpec::Kind::kJsonl && !TakesStdout(sink_spec)),
      "a sink that tells how far it is by position (jsonl:FILE, kafka): table, exec, http or "
      "jsonl:-");
  refuse(buffer_kind == BufferKind::kBounded,
         "--buffer bounded, which needs the ledger's order: auto, spill or memory");
  refuse(plan, "--plan: nothing is put in order");
}

void ReorderOptions::ValidateAssignment(const CommonOptions& common,
                                        std::vector<std::string>& complaints) {
  Choose<bool>("--assignment", assignment, {{"all", false}, {"group", true}}, by_group, complaints);
  if (!by_group) return;
  const auto refuse = [&](bool typed, const char* what) {
    if (typed) complaints.push_back(absl::StrCat("--assignment group does not go with ", what));
  };
  refuse(!common.streams.empty(), "--stream: the group gives out all streams of a --topic");
  refuse(engine.until_end, "--until-end: a group has none, a stream may come at any time");
  refuse(engine.mode == ReorderMode::kReplay,
         "--mode replay: it would begin anew wherever a stream goes");
  refuse(sink_spec.kind == SinkSpec::Kind::kJsonl && !TakesStdout(sink_spec),
         "--sink jsonl:FILE: one process has the file, and the next one could not go on in it");
  refuse(sink_spec.kind == SinkSpec::Kind::kKafka,
         "--sink kafka: each stream's sink is a producer of its own, and a process does not hand a "
         "producer over to another one; give each process its streams by --stream instead");
}

ParkingBudget ReorderOptions::Budget(size_t streams) const {
  const int64_t part = std::max<int64_t>(buffer_memory.amount / static_cast<int64_t>(streams), 1);
  ParkingBudget budget;
  (buffer_memory.unit == Size::Unit::kBytes ? budget.bytes : budget.records) = part;
  return budget;
}

BufferOptions ReorderOptions::Buffer(const StreamName& stream, size_t streams) const {
  BufferOptions options;
  if (buffer_kind == BufferKind::kMemory) return options;
  options.budget = Budget(streams);
  if (buffer_kind == BufferKind::kBounded) {
    options.kind = BufferOptions::Kind::kBounded;
    return options;
  }
  options.kind = BufferOptions::Kind::kSpill;
  const std::filesystem::path directory =
      spill_dir.empty() ? std::filesystem::temp_directory_path() / "lockstep-reorder"
                        : std::filesystem::path(spill_dir);
  options.spill_directory =
      directory / absl::StrCat(FileName(group), ".", FileName(stream.topic), ".", stream.partition);
  options.spill_at_once = buffer_kind == BufferKind::kSpill;
  if (spill_max.amount > 0) {
    options.spill_bytes_max = spill_max.amount / static_cast<int64_t>(streams);
  }
  return options;
}

}  // namespace lockstep
