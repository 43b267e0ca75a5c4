// lockstep-reorder: parse, look around, open, run one engine a stream, report.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"
#include "common/config/program.h"
#include "common/config/stop_request.h"
#include "common/config/terminal.h"
#include "common/kafka/group_membership.h"
#include "common/log/log.h"
#include "common/metrics/metrics.h"
#include "db-ledger/postgres_ledger.h"
#include "reorder/discover.h"
#include "reorder/group_runner.h"
#include "reorder/kafka_relay.h"
#include "reorder/options.h"
#include "reorder/plan.h"
#include "reorder/report.h"
#include "reorder/seq_stream_engine.h"
#include "reorder/sinks/make_sink.h"
#include "reorder/stream_end.h"
#include "reorder/stream_engine.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

absl::StatusOr<std::unique_ptr<PostgresLedger>> ConnectLedger(const CommonOptions& common) {
  return PostgresLedger::Connect({.ledger = common.ledger,
                                  .standby_ledger = common.standby_ledger,
                                  .application_name = "lockstep-reorder"});
}

// A stop that comes while ledger or brokers are not to be had is an interruption, and no failure.
absl::Status UnlessStopped(const absl::Status& status, bool stop_requested) {
  const bool away = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  if (!stop_requested || !away) return status;
  return absl::CancelledError(
      absl::StrCat("stopped before it was open: ", std::string(status.message())));
}

// ---------------------------------------------------------------- what a stream is told

// Each of very many streams fetches so much ahead all the same.
constexpr int32_t kAheadKbytesMin = 2 * 1024;
constexpr int32_t kAheadRecordsMin = 4'000;
// All of them together; with less, four streams went at two thirds of the speed.
constexpr int32_t kAheadRecordsAll = 100'000;

// `streams` share what parked records, and what is fetched ahead, may take.
StreamEngineOptions EngineOptions(const CommonOptions& common, const ReorderOptions& options,
                                  const Discovered& found, const StreamName& stream,
                                  size_t streams) {
  StreamEngineOptions engine = Placed(options.engine, common, found, stream);
  engine.buffer = options.Buffer(stream, streams);
  StreamReaderOptions& reader = engine.reader;
  const auto parts = static_cast<int32_t>(streams);
  reader.ahead_kbytes_max = std::max(reader.ahead_kbytes_max / parts, kAheadKbytesMin);
  reader.ahead_records_max =
      std::clamp(kAheadRecordsAll / parts, kAheadRecordsMin, reader.ahead_records_max);
  reader.batch_records_max = BatchRecordsMax(options.sink_spec);
  return engine;
}

// ---------------------------------------------------------------- --plan

// Where a run would begin: above the group's cursor, or what the Kafka sink's own rows say.
absl::StatusOr<std::optional<Position>> PlanAfter(const ReorderOptions& options,
                                                  const StreamEngineOptions& engine, StreamId id,
                                                  Ledger& ledger) {
  if (options.sink_spec.kind != SinkSpec::Kind::kKafka || engine.from_start) {
    return PlanStart(engine, id, ledger);
  }
  const StreamName& input = engine.reader.stream;
  const auto sent = RelaySentUpTo(ledger, options.group, input);
  if (!absl::IsNotFound(sent.status())) return sent;
  if (engine.mode == ReorderMode::kGate) return std::nullopt;
  return NoRelayError(options.group, input, options.sink_spec.target);
}

// What the run's reader would be told.
absl::StatusOr<StreamReaderOptions> PlanReader(const CommonOptions& common,
                                               const ReorderOptions& options,
                                               const Discovered& found, const StreamName& stream,
                                               Ledger& ledger) {
  StreamEngineOptions engine = EngineOptions(common, options, found, stream, found.streams.size());
  StreamReaderOptions& reader = engine.reader;
  LOCKSTEP_ASSIGN_OR_RETURN(const Ledger::Now now, ledger.ReadNow());
  reader.epoch = now.epoch;
  LOCKSTEP_ASSIGN_OR_RETURN(const std::vector<StreamInfo> streams,
                            ledger.FindStreams(stream.topic));
  for (const StreamInfo& info : streams) {
    if (info.name == stream) reader.stream_id = info.id;
  }
  if (reader.stream_id == StreamId()) {
    return absl::NotFoundError("the ledger knows no stream " + ToString(stream));
  }
  LOCKSTEP_ASSIGN_OR_RETURN(reader.after, PlanAfter(options, engine, reader.stream_id, ledger));
  return std::move(reader);
}

// One stream's, with a bar while its log is read.
StreamPlan PlanOne(const CommonOptions& common, const ReorderOptions& options,
                   const Discovered& found, const StreamName& stream, Ledger& ledger,
                   const StopRequest& stop) {
  auto reader = PlanReader(common, options, found, stream, ledger);
  if (!reader.ok()) {
    StreamPlan plan;
    plan.why = reader.status();
    return plan;
  }
  std::unique_ptr<ProgressBar> bar;
  PlanHooks hooks;
  hooks.stop_requested = [&] { return stop.requested(); };
  hooks.on_progress = [&](int64_t read, int64_t expected) {
    if (expected == 0) return;
    if (bar == nullptr) bar = std::make_unique<ProgressBar>("plan " + ToString(stream), expected);
    bar->Update(std::min(read, expected));
  };
  return PlanStream(*std::move(reader), ledger, options.Budget(found.streams.size()),
                    options.engine.stall_timeout, hooks);
}

void PrintPlan(const CommonOptions& common, const std::vector<StreamName>& streams,
               const std::vector<StreamPlan>& plans) {
  const auto cores = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1U));
  if (common.format == OutputFormat::kJson) {
    MakePlanSummary(streams, plans, cores).Print(common.format);
    return;
  }
  std::fputs(PlanText(streams, plans, cores).c_str(), stdout);
  std::fflush(stdout);
}

// One stream after the other, up to one that fails; what was read until then is said all the same.
int Plan(const CommonOptions& common, const ReorderOptions& options, const Discovered& found,
         Ledger& ledger, const StopRequest& stop) {
  std::vector<StreamPlan> plans;
  ExitCode exit = ExitCode::kYes;
  for (const StreamName& stream : found.streams) {
    StreamPlan& plan = plans.emplace_back(PlanOne(common, options, found, stream, ledger, stop));
    plan.why = UnlessStopped(plan.why, stop.requested());
    if (plan.missing.has_value()) exit = ExitCode::kNo;
    if (plan.why.ok()) continue;
    static_cast<void>(ExitWith("lockstep-reorder", plan.why));
    exit = StreamExitCode(plan.why);
    break;
  }
  PrintPlan(common, found.streams, plans);
  return ToInt(exit);
}

// ---------------------------------------------------------------- run

// Everything of one stream, on its own thread.
struct StreamThread {
  std::unique_ptr<PostgresLedger> ledger;
  std::unique_ptr<Sink> sink;
  std::unique_ptr<StreamRunner> engine;
  StreamResult result;
  std::atomic<bool> ended{false};
  std::thread thread;
};

using Progress = std::vector<std::unique_ptr<StreamProgress>>;

// `--sink kafka:…`: what an engine would be told, told to a producer.
std::unique_ptr<StreamRunner> MakeRelay(const CommonOptions& common, const ReorderOptions& options,
                                        const StreamEngineOptions& engine,
                                        StreamProgress& progress) {
  KafkaRelayOptions relay;
  relay.mode = engine.mode;
  relay.from_start = engine.from_start;
  relay.from_start_if_new = engine.from_start_if_new;
  relay.group = engine.group;
  relay.topic = options.sink_spec.target;
  relay.kafka = common.Kafka();
  if (!options.sink_spec.brokers.empty()) relay.kafka.brokers = options.sink_spec.brokers;
  relay.payload_in_ledger = options.payload_in_ledger;
  relay.foreign_passes = options.engine.reader.foreign == ForeignPolicy::kPass;
  relay.drain_timeout = engine.drain_timeout;
  relay.source.group = engine.group;
  relay.source.until_end = engine.until_end;
  relay.source.stall_timeout = engine.stall_timeout;
  relay.source.buffer = engine.buffer;
  relay.source.reader = engine.reader;
  return std::make_unique<KafkaRelay>(
      relay,
      [common]() -> absl::StatusOr<std::unique_ptr<Ledger>> { return ConnectLedger(common); },
      progress);
}

// One stream's engine; `sink` is null where the sink is a producer.
std::unique_ptr<StreamRunner> MakeEngine(const CommonOptions& common, const ReorderOptions& options,
                                         const StreamEngineOptions& engine, PostgresLedger& ledger,
                                         Sink* sink, StreamProgress& progress) {
  if (sink == nullptr) return MakeRelay(common, options, engine, progress);
  if (engine.mode == ReorderMode::kPerProducer) {
    return std::make_unique<SeqStreamEngine>(engine, ledger, ledger, *sink, progress);
  }
  return std::make_unique<StreamEngine>(engine, ledger, *sink, progress);
}

absl::StatusOr<std::vector<std::unique_ptr<StreamThread>>> OpenStreams(
    const CommonOptions& common, const ReorderOptions& options, const Discovered& found,
    Progress& progress) {
  LOCKSTEP_ASSIGN_OR_RETURN(auto sinks,
                            MakeSinks(options.sink_spec, found.streams, options.sink_settings));
  std::vector<std::unique_ptr<StreamThread>> threads;
  for (size_t i = 0; i < found.streams.size(); ++i) {
    auto thread = std::make_unique<StreamThread>();
    LOCKSTEP_ASSIGN_OR_RETURN(thread->ledger, ConnectLedger(common));
    thread->sink = std::move(sinks[i]);
    progress.push_back(std::make_unique<StreamProgress>());
    const StreamEngineOptions engine =
        EngineOptions(common, options, found, found.streams[i], found.streams.size());
    thread->engine =
        MakeEngine(common, options, engine, *thread->ledger, thread->sink.get(), *progress.back());
    threads.push_back(std::move(thread));
  }
  return threads;
}

// Of a stream that ends while others go on people hear now, and not when all have ended.
void LogEnd(const StreamName& stream, const StreamResult& result) {
  if (result.why.ok() || absl::IsCancelled(result.why)) return;
  Log(LogLevel::kError, "stream_ended",
      {{"stream", stream}, {"exit", ToInt(result.exit_code)}, {"why", result.why}});
}

// Until every stream has ended. One that failed ends the others: half a topic is not a state to
// run on in.
void Watch(std::vector<std::unique_ptr<StreamThread>>& threads, const Progress& progress,
           ReorderMetrics& metrics, bool has_end, StopRequest& stop) {
  std::unique_ptr<ProgressBar> bar;
  while (true) {
    bool all_ended = true;
    int64_t emitted = 0;
    int64_t expected = 0;
    for (size_t i = 0; i < threads.size(); ++i) {
      const bool ended = threads[i]->ended;
      all_ended = all_ended && ended;
      emitted += progress[i]->emitted + progress[i]->replayed;
      expected += progress[i]->expected;
      if (!ended) continue;
      const ExitCode code = threads[i]->result.exit_code;
      const bool failed = code == ExitCode::kRefused || code == ExitCode::kCouldNot ||
                          (code == ExitCode::kNo && !has_end);
      if (failed && !stop.requested()) stop.Request();
    }
    metrics.Update(progress);
    if (has_end && expected > 0 && bar == nullptr) {
      bar = std::make_unique<ProgressBar>("reorder", expected);
    }
    if (bar != nullptr) bar->Update(emitted);
    if (all_ended) return;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

absl::StatusOr<std::unique_ptr<MetricsServer>> ServeMetrics(const CommonOptions& common,
                                                            const Metrics& metrics,
                                                            std::function<absl::Status()> ready) {
  if (common.metrics.empty()) return nullptr;
  return MetricsServer::Start(common.metrics, metrics,
                              {.healthy = nullptr, .ready = std::move(ready)});
}

absl::Status AllReady(const Progress& progress) {
  const bool ready = std::all_of(progress.begin(), progress.end(),
                                 [](const auto& one) { return one->ready.load(); });
  return ready ? absl::OkStatus() : absl::UnavailableError("a gate is not open yet");
}

int Report(const CommonOptions& common, const ReorderOptions& options,
           const std::vector<StreamName>& streams, const std::vector<StreamResult>& results,
           steady_clock::time_point started) {
  const double seconds = std::chrono::duration<double>(steady_clock::now() - started).count();
  for (size_t i = 0; i < results.size(); ++i) {
    PrintInDoubt(streams[i], results[i]);
    if (!absl::IsCancelled(results[i].why)) {
      static_cast<void>(ExitWith("lockstep-reorder", results[i].why));
    }
  }
  MakeSummary(streams, results, seconds)
      .Print(common.format, TakesStdout(options.sink_spec) ? stderr : stdout);
  return ToInt(WorstOf(results));
}

// A run that ended before its first stream began: scripts get their object all the same.
int NeverBegan(const CommonOptions& common, const ReorderOptions& options, const absl::Status& why,
               const StopRequest& stop) {
  const int exit = ExitWith("lockstep-reorder", UnlessStopped(why, stop.requested()));
  Report(common, options, {}, {}, steady_clock::now());
  return exit;
}

int Run(const CommonOptions& common, const ReorderOptions& options, const Discovered& found,
        StopRequest& stop) {
  Progress progress;
  auto opened = OpenStreams(common, options, found, progress);
  if (!opened.ok()) return NeverBegan(common, options, opened.status(), stop);
  std::vector<std::unique_ptr<StreamThread>>& threads = *opened;
  Metrics registry;
  ReorderMetrics metrics(registry, found.streams);
  auto server = ServeMetrics(common, registry, [&] { return AllReady(progress); });
  if (!server.ok()) return NeverBegan(common, options, server.status(), stop);

  const auto started = steady_clock::now();
  for (size_t i = 0; i < threads.size(); ++i) {
    threads[i]->thread = std::thread([&, i] {
      StreamThread& stream = *threads[i];
      stream.result = stream.engine->Run([&stop] { return stop.requested(); });
      if (threads.size() > 1) LogEnd(found.streams[i], stream.result);
      stream.ended = true;
    });
  }
  Watch(threads, progress, metrics, options.engine.until_end, stop);
  std::vector<StreamResult> results;
  for (const auto& stream : threads) {
    stream->thread.join();
    results.push_back(std::move(stream->result));
  }

  return Report(common, options, found.streams, results, started);
}

// ---------------------------------------------------------------- the consumer group

// One stream that the group gave to this process, from its ledger connection to its sink.
StreamResult RunOne(const CommonOptions& common, const ReorderOptions& options,
                    const Discovered& found, const BudgetShare& share, const StreamName& stream,
                    StreamProgress& progress, const GroupRunner::StopRequested& stop_requested) {
  StreamResult result;
  auto ledger = ConnectLedger(common);
  auto sinks = MakeSinks(options.sink_spec, {stream}, options.sink_settings);
  result.why = !ledger.ok() ? ledger.status() : sinks.status();
  result.could_not_reach = absl::IsUnavailable(result.why);
  result.why = UnlessStopped(result.why, stop_requested());
  result.exit_code = ExitCodeOf(result.why);
  if (!result.why.ok()) return result;
  // A stream comes here in any state: new, or sent in part by another process.
  StreamEngineOptions engine =
      EngineOptions(common, options, found, stream, static_cast<size_t>(found.partition_count));
  engine.from_start_if_new = true;
  if (engine.buffer.kind != BufferOptions::Kind::kMemory) engine.share = &share;
  return MakeEngine(common, options, engine, **ledger, sinks->front().get(), progress)
      ->Run(stop_requested);
}

int RunGroup(const CommonOptions& common, const ReorderOptions& options, const Discovered& found,
             StopRequest& stop) {
  GroupRunnerOptions runner_options;
  runner_options.group = options.group;
  Progress progress;
  for (int32_t i = 0; i < found.partition_count; ++i) {
    runner_options.streams.push_back({common.Topic(), i});
    progress.push_back(std::make_unique<StreamProgress>());
  }
  const std::vector<StreamName> streams = runner_options.streams;
  KafkaMembershipOptions member;
  member.kafka = common.Kafka();
  member.group = options.group;
  member.topic = found.topics[0];
  member.accept_within = std::max(member.accept_within, 2 * common.drain_timeout);
  auto membership = JoinKafkaGroup(member);
  if (!membership.ok()) return NeverBegan(common, options, membership.status(), stop);
  BudgetShare share(options.Budget(1));
  GroupRunner runner(
      runner_options, **membership,
      [&](const StreamName& stream, StreamProgress& one, const GroupRunner::StopRequested& ended) {
        return RunOne(common, options, found, share, stream, one, ended);
      },
      progress);
  Metrics registry;
  ReorderMetrics metrics(registry, streams);
  auto server = ServeMetrics(common, registry, [&] { return runner.Ready(); });
  if (!server.ok()) return NeverBegan(common, options, server.status(), stop);

  const auto started = steady_clock::now();
  const absl::Status group_ended = runner.Run([&] { return stop.requested(); },
                                              [&] {
                                                share.set_streams(runner.held());
                                                metrics.Update(progress);
                                              });
  const int exit = Report(common, options, streams, runner.TakeResults(), started);
  return group_ended.ok() ? exit : ExitWith("lockstep-reorder", group_ended);
}

int Main(int argc, const char* const* argv) {
  Program program(
      {.name = "lockstep-reorder",
       .purpose = "Lets a topic's records out once each, in the ledger's order: at the primary as "
                  "the gate, at the standby after a failover.",
       .examples = {"lockstep-reorder --mode gate --group pay --topic orders --brokers p:9092 "
                    "--ledger 'host=db1,db2 dbname=lockstep' --sink table:pay.outbox",
                    "lockstep-reorder --mode recover --group pay --topic orders --brokers s:9092 "
                    "--ledger 'host=db2 dbname=lockstep' --sink table:pay.outbox",
                    "lockstep-reorder --mode recover --group pay --topic orders --brokers s:9092 "
                    "--ledger 'host=db2 dbname=lockstep' --plan --format json"}},
      kKafkaFlags | kLedgerFlags | kStreamFlags | kMirrorFlags | kDrainFlags | kMetricsFlags);
  ReorderOptions options;
  options.AddTo(program);
  const auto validate = [&] { return options.Validate(program.options()); };
  if (const auto exit = program.Parse(argc, argv, validate)) return ToInt(*exit);
  StopRequest& stop = StopRequest::Install();

  const CommonOptions& common = program.options();
  auto ledger = ConnectLedger(common);
  absl::Status looked = ledger.status();
  absl::StatusOr<Discovered> found;
  if (looked.ok()) {
    const bool ends = options.plan || options.engine.until_end;
    found = Discover(common, **ledger, ends ? Reads::kToTheEnd : Reads::kFollows);
    looked = found.status();
  }
  if (!looked.ok()) {
    if (!options.plan) return NeverBegan(common, options, looked, stop);
    PrintPlan(common, {}, {});
    return ExitWith("lockstep-reorder", UnlessStopped(looked, stop.requested()));
  }
  if (options.plan) return Plan(common, options, *found, **ledger, stop);
  ledger->reset();
  return options.by_group ? RunGroup(common, options, *found, stop)
                          : Run(common, options, *found, stop);
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) { return lockstep::Main(argc, argv); }
