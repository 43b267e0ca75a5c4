// lockstep-ledger status, epochs, cursor list: what the ledger says now.
#include <unistd.h>

#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include <rapidjson/document.h>

#include "common/base/status_macros.h"
#include "common/config/stop_request.h"
#include "common/config/terminal.h"
#include "db-ledger/verbs/snapshot.h"
#include "db-ledger/verbs/verbs.h"

namespace lockstep {
namespace {

std::map<StreamId, std::string> NamesOf(const std::vector<StreamInfo>& streams) {
  std::map<StreamId, std::string> names;
  for (const StreamInfo& stream : streams) names[stream.id] = ToString(stream.name);
  return names;
}

bool InDoubt(const Cursor& cursor) { return cursor.intent != cursor.done; }

std::string CursorJson(const Cursor& cursor, const std::string& stream) {
  return Summary()
      .Add("group", cursor.group)
      .Add("stream", stream)
      .Add("term", cursor.term.value())
      .AddJson("intent", JsonPosition(cursor.intent))
      .AddJson("done", JsonPosition(cursor.done))
      .Add("in_doubt", InDoubt(cursor))
      .Json();
}

// One that keeps a seq per producer has no position: no `intent`, no `done` of its own.
std::string CursorJson(const SeqCursor& cursor, const std::string& stream,
                       const std::map<ProducerId, std::string>& producers) {
  std::vector<std::string> marks;
  for (const SeqMark& mark : cursor.marks) {
    marks.push_back(Summary()
                        .Add("producer", producers.at(mark.producer))
                        .Add("intent", mark.intent.value())
                        .Add("done", mark.done.value())
                        .Add("in_doubt", InDoubt(mark))
                        .Json());
  }
  return Summary()
      .Add("group", cursor.group)
      .Add("stream", stream)
      .Add("term", cursor.term.value())
      .AddJson("producers", JsonArray(marks))
      .Add("in_doubt", InDoubt(cursor))
      .Json();
}

// `A done 41, B done 7 intent 9`
std::string TextMarks(const SeqCursor& cursor, const std::map<ProducerId, std::string>& producers) {
  std::string text;
  for (const SeqMark& mark : cursor.marks) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", producers.at(mark.producer), " done ",
                    mark.done.value());
    if (InDoubt(mark)) absl::StrAppend(&text, " intent ", mark.intent.value());
  }
  return text.empty() ? "-" : text;
}

std::string HeadJson(const Head& head) {
  return Summary()
      .Add("producer", head.name)
      .Add("term", head.term.value())
      .Add("closed", head.closed.value())
      .Add("last_seq", head.last_seq.value())
      .Add("last_at", head.last_at)
      .Json();
}

std::string LogJson(const LogInfo& log) {
  return Summary()
      .Add("epoch", log.epoch.value())
      .Add("cluster_id", log.cluster_id)
      .Add("topic", log.topic)
      .Add("start", log.start.value())
      .Json();
}

Summary ToSummary(const Snapshot& snapshot) {
  const auto& health = snapshot.health;
  std::vector<std::string> standbys, streams, cursors;
  for (const auto& standby : health.standbys) {
    standbys.push_back(
        Summary()
            .Add("name", standby.name)
            .Add("state", standby.state)
            .Add("sync_state", standby.sync_state)
            .AddJson("lag_bytes", standby.lag_bytes ? std::to_string(*standby.lag_bytes) : "null")
            .Json());
  }
  std::map<StreamId, std::string> names;
  for (const auto& stream : snapshot.streams) {
    std::vector<std::string> heads, logs;
    for (const Head& head : stream.heads) heads.push_back(HeadJson(head));
    for (const LogInfo& log : stream.logs) logs.push_back(LogJson(log));
    names[stream.info.id] = ToString(stream.info.name);
    streams.push_back(Summary()
                          .Add("stream", ToString(stream.info.name))
                          .Add("partition_count", stream.info.partition_count)
                          .AddJson("heads", JsonArray(heads))
                          .AddJson("logs", JsonArray(logs))
                          .Json());
  }
  for (const Cursor& cursor : snapshot.cursors) {
    const auto name = names.find(cursor.stream);
    if (name != names.end()) cursors.push_back(CursorJson(cursor, name->second));
  }
  for (const SeqCursor& cursor : snapshot.seq_cursors) {
    const auto name = names.find(cursor.stream);
    if (name == names.end()) continue;
    cursors.push_back(CursorJson(cursor, name->second, snapshot.producers));
  }
  return Summary()
      .Add("epoch", snapshot.now.epoch.value())
      .Add("solo", snapshot.now.solo)
      .Add("ledger", health.ledger_host)
      .Add("in_recovery", health.primary.in_recovery)
      .Add("timeline", health.primary.timeline)
      .AddJson("standbys", JsonArray(standbys))
      .AddJson("witness", Summary()
                              .Add("host", health.witness_host)
                              .Add("durable", snapshot.durable())
                              .Add("why", health.judgement.why)
                              .Json())
      .AddJson("streams", JsonArray(streams))
      .AddJson("cursors", JsonArray(cursors));
}

void PrintScreen(const Snapshot& snapshot) {
  const auto& health = snapshot.health;
  std::printf("epoch %lld%s at %s%s\n", static_cast<long long>(snapshot.now.epoch.value()),
              snapshot.now.solo ? " (SOLO: no standby has a copy)" : "", health.ledger_host.c_str(),
              health.primary.in_recovery ? " (a standby)" : "");
  for (const auto& standby : health.standbys) {
    std::printf(
        "standby %s: %s, %s%s\n", standby.name.c_str(), standby.state.c_str(),
        standby.sync_state.c_str(),
        standby.lag_bytes ? absl::StrCat(", ", *standby.lag_bytes, " B behind").c_str() : "");
  }
  std::printf("witness %s: %s\n", health.witness_host.empty() ? "-" : health.witness_host.c_str(),
              snapshot.durable() ? "has flushed all" : health.judgement.why.c_str());
  std::map<StreamId, std::string> names;
  for (const auto& stream : snapshot.streams) {
    names[stream.info.id] = ToString(stream.info.name);
    for (const Head& head : stream.heads) {
      std::printf("%-24s %-16s seq %-12lld term %lld%s at %s\n", ToString(stream.info.name).c_str(),
                  head.name.c_str(), static_cast<long long>(head.last_seq.value()),
                  static_cast<long long>(head.term.value()),
                  HasOpenTerms(head) ? " (starting: earlier terms are open)" : "",
                  head.last_at.empty() ? "-" : head.last_at.c_str());
    }
  }
  for (const Cursor& cursor : snapshot.cursors) {
    const auto name = names.find(cursor.stream);
    if (name == names.end()) continue;
    std::printf("%-24s group %-10s done %s%s\n", name->second.c_str(), cursor.group.c_str(),
                TextPosition(cursor.done).c_str(),
                InDoubt(cursor) ? (", intent " + TextPosition(cursor.intent)).c_str() : "");
  }
  for (const SeqCursor& cursor : snapshot.seq_cursors) {
    const auto name = names.find(cursor.stream);
    if (name == names.end()) continue;
    std::printf("%-24s group %-10s per producer: %s\n", name->second.c_str(), cursor.group.c_str(),
                TextMarks(cursor, snapshot.producers).c_str());
  }
}

void Show(const Snapshot& snapshot, OutputFormat format) {
  if (format == OutputFormat::kJson) {
    ToSummary(snapshot).Print(OutputFormat::kJson);
  } else {
    PrintScreen(snapshot);
    std::fflush(stdout);
  }
}

// What a failover left in its recorded steps: the gap, and how long its last run took.
struct EpochCost {
  std::optional<int64_t> gap_records;
  std::optional<double> seconds;
};

EpochCost CostOf(const std::vector<StepInfo>& steps) {
  EpochCost cost;
  for (const StepInfo& step : steps) {
    rapidjson::Document detail;
    detail.Parse(step.detail.data(), step.detail.size());
    if (detail.HasParseError() || !detail.IsObject()) continue;
    if (detail.HasMember("gap_records") && detail["gap_records"].IsInt64()) {
      cost.gap_records = cost.gap_records.value_or(0) + detail["gap_records"].GetInt64();
    }
    if (detail.HasMember("seconds") && detail["seconds"].IsNumber()) {
      cost.seconds = cost.seconds.value_or(0) + detail["seconds"].GetDouble();
    }
  }
  return cost;
}

}  // namespace

absl::StatusOr<ExitCode> RunStatus(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, true));
  if (!context.arguments.watch) {
    LOCKSTEP_ASSIGN_OR_RETURN(const Snapshot snapshot, ReadSnapshot(*ledger, context.common));
    Show(snapshot, context.common.format);
    return ExitCode::kYes;
  }
  StopRequest& stop = StopRequest::Install();
  LOCKSTEP_ASSIGN_OR_RETURN(const auto metrics, LookMetrics::Serve(context.common.metrics));
  do {
    const auto snapshot = ReadSnapshot(*ledger, context.common);
    metrics->Looked(snapshot.status());
    if (snapshot.ok()) {
      Export(*snapshot, *metrics);
      if (isatty(STDOUT_FILENO) != 0) std::printf("\033[H\033[2J");
      Show(*snapshot, context.common.format);
    } else if (absl::IsUnavailable(snapshot.status())) {
      std::fprintf(stderr, "lockstep-ledger: %s\n", snapshot.status().ToString().c_str());
    } else {
      return snapshot.status();
    }
  } while (!stop.WaitFor(context.arguments.interval));
  return ExitCode::kYes;
}

absl::StatusOr<ExitCode> RunEpochs(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, true));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto epochs, ledger->ReadEpochs());
  std::vector<std::string> rows;
  for (const EpochInfo& epoch : epochs) {
    LOCKSTEP_ASSIGN_OR_RETURN(const auto steps, ledger->ReadSteps(epoch.epoch));
    const EpochCost cost = CostOf(steps);
    const std::string gap = cost.gap_records ? std::to_string(*cost.gap_records) : "null";
    if (context.common.format == OutputFormat::kText) {
      std::printf("%-4lld %s by %s%s: %s%s%s\n", static_cast<long long>(epoch.epoch.value()),
                  UtcTime(epoch.began_ms).c_str(), epoch.role.c_str(), epoch.solo ? ", solo" : "",
                  epoch.reason.c_str(), cost.gap_records ? (", gap " + gap).c_str() : "",
                  cost.seconds ? absl::StrCat(", took ", *cost.seconds, " s").c_str() : "");
    }
    rows.push_back(Summary()
                       .Add("epoch", epoch.epoch.value())
                       .Add("began", UtcTime(epoch.began_ms))
                       .Add("by", epoch.role)
                       .Add("cluster_id", epoch.cluster_id)
                       .Add("reason", epoch.reason)
                       .Add("solo", epoch.solo)
                       .AddJson("gap_records", gap)
                       .AddJson("seconds", cost.seconds ? absl::StrCat(*cost.seconds) : "null")
                       .Json());
  }
  if (context.common.format == OutputFormat::kJson) {
    Summary().AddJson("epochs", JsonArray(rows)).Print(OutputFormat::kJson);
  }
  return ExitCode::kYes;
}

absl::StatusOr<ExitCode> RunCursorList(const VerbContext& context) {
  LOCKSTEP_ASSIGN_OR_RETURN(const auto ledger, ConnectLedger(context, true));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto streams, NamedStreams(*ledger, context.common));
  LOCKSTEP_ASSIGN_OR_RETURN(const auto cursors, ledger->ReadCursors());
  LOCKSTEP_ASSIGN_OR_RETURN(const auto seq_cursors, ledger->ReadSeqCursors());
  LOCKSTEP_ASSIGN_OR_RETURN(const auto producers, ProducerNames(*ledger));
  const auto names = NamesOf(streams);
  const std::string& only = context.arguments.group;
  int64_t count = 0, in_doubt = 0;
  for (const Cursor& cursor : cursors) {
    const auto name = names.find(cursor.stream);
    if (name == names.end()) continue;
    if (!only.empty() && cursor.group != only) continue;
    ++count;
    in_doubt += InDoubt(cursor) ? 1 : 0;
    if (context.common.format == OutputFormat::kJson) {
      std::printf("%s\n", CursorJson(cursor, name->second).c_str());
    } else {
      std::printf("%-16s %-24s term %-6lld intent %-16s done %s%s\n", cursor.group.c_str(),
                  name->second.c_str(), static_cast<long long>(cursor.term.value()),
                  TextPosition(cursor.intent).c_str(), TextPosition(cursor.done).c_str(),
                  InDoubt(cursor) ? "  IN DOUBT" : "");
    }
  }
  for (const SeqCursor& cursor : seq_cursors) {
    const auto name = names.find(cursor.stream);
    if (name == names.end() || (!only.empty() && cursor.group != only)) continue;
    ++count;
    in_doubt += InDoubt(cursor) ? 1 : 0;
    if (context.common.format == OutputFormat::kJson) {
      std::printf("%s\n", CursorJson(cursor, name->second, producers).c_str());
    } else {
      std::printf("%-16s %-24s term %-6lld per producer: %s%s\n", cursor.group.c_str(),
                  name->second.c_str(), static_cast<long long>(cursor.term.value()),
                  TextMarks(cursor, producers).c_str(), InDoubt(cursor) ? "  IN DOUBT" : "");
    }
  }
  Summary().Add("cursors", count).Add("in_doubt", in_doubt).Print(context.common.format, stderr);
  return ExitCode::kYes;
}

}  // namespace lockstep
