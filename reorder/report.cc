#include "reorder/report.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "common/base/utf8.h"
#include "common/config/text_table.h"
#include "common/io/peak_memory.h"
#include "common/log/log.h"

namespace lockstep {
namespace {

using JsonWriter = rapidjson::Writer<rapidjson::StringBuffer>;

void Field(JsonWriter& writer, const char* name, int64_t value) {
  writer.Key(name);
  writer.Int64(value);
}
void Field(JsonWriter& writer, const char* name, const std::string& value) {
  writer.Key(name);
  writer.String(value.c_str(), static_cast<rapidjson::SizeType>(value.size()));
}

// An array with an object a stream, filled by `fill(writer, index)`.
template <class Fill>
std::string StreamsJson(const std::vector<StreamName>& streams, Fill fill) {
  rapidjson::StringBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartArray();
  for (size_t i = 0; i < streams.size(); ++i) {
    writer.StartObject();
    Field(writer, "stream", ToString(streams[i]));
    fill(writer, i);
    writer.EndObject();
  }
  writer.EndArray();
  return buffer.GetString();
}

// Adds one stream's buffers to the same buffers of all; their time is the longest one's.
void Add(const std::vector<BufferPlan>& one, std::vector<BufferPlan>& all) {
  if (all.empty()) {
    all = one;
    return;
  }
  for (size_t i = 0; i < one.size(); ++i) {
    ParkingStats& sum = all[i].parking;
    const ParkingStats& part = one[i].parking;
    sum.records_peak += part.records_peak;
    sum.bytes_peak += part.bytes_peak;
    sum.bytes_written += part.bytes_written;
    sum.bytes_reread += part.bytes_reread;
    sum.fetches += part.fetches;
    sum.fetches_bound += part.fetches_bound;
    sum.records_fetched += part.records_fetched;
    all[i].premise = all[i].premise && one[i].premise;
    all[i].estimated_seconds = std::max(all[i].estimated_seconds, one[i].estimated_seconds);
  }
}

// All streams' buffers together.
std::vector<BufferPlan> Together(const std::vector<StreamPlan>& plans, int cores) {
  std::vector<BufferPlan> all;
  for (const StreamPlan& one : plans) Add(one.buffers, all);
  for (size_t i = 0; i < all.size(); ++i) {
    double seconds = 0;
    for (const StreamPlan& one : plans) {
      if (!one.buffers.empty()) seconds += one.buffers[i].estimated_seconds;
    }
    all[i].estimated_seconds = std::max(all[i].estimated_seconds, seconds / cores);
  }
  return all;
}

bool IsComplete(const StreamPlan& plan) { return plan.why.ok() && !plan.missing.has_value(); }

std::string BuffersJson(const std::vector<BufferPlan>& plans) {
  rapidjson::StringBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartArray();
  for (const BufferPlan& plan : plans) {
    writer.StartObject();
    Field(writer, "buffer", plan.buffer);
    Field(writer, "peak_records", plan.parking.records_peak);
    Field(writer, "peak_bytes", plan.parking.bytes_peak);
    Field(writer, "spilled_bytes", plan.parking.bytes_written);
    Field(writer, "fetches", plan.parking.fetches);
    Field(writer, "fetches_bound", plan.parking.fetches_bound);
    Field(writer, "records_fetched", plan.parking.records_fetched);
    Field(writer, "bytes_reread", plan.parking.bytes_reread);
    writer.Key("bound_holds");
    writer.Bool(plan.premise);
    writer.Key("estimated_seconds");
    writer.Double(plan.estimated_seconds);
    writer.EndObject();
  }
  writer.EndArray();
  return buffer.GetString();
}

// What is said of all streams together; `buffers` are theirs.
Summary PlanHead(const std::vector<StreamName>& streams, const std::vector<StreamPlan>& plans,
                 const std::vector<BufferPlan>& buffers) {
  int64_t records = 0;
  int64_t polls = 0;
  for (const StreamPlan& one : plans) {
    records += one.records;
    polls += one.polls;
  }
  Summary summary;
  summary.Add("records", records);
  for (const BufferPlan& plan : buffers) {
    if (plan.buffer != "spill") continue;
    summary.Add("parked_peak_records", plan.parking.records_peak)
        .Add("parked_peak_bytes", plan.parking.bytes_peak)
        .Add("spilled_bytes", plan.parking.bytes_written);
  }
  summary.Add("polls", polls);
  summary.Add("complete", !plans.empty() && plans.size() == streams.size() &&
                              std::all_of(plans.begin(), plans.end(), IsComplete));
  return summary;
}

void AddRows(const std::string& stream, const std::vector<BufferPlan>& plans, TextTable& table) {
  for (const BufferPlan& plan : plans) {
    const ParkingStats& parking = plan.parking;
    const bool bounded = plan.buffer == "bounded";
    table.Add({stream, plan.buffer, WithSeparators(parking.records_peak),
               WithSeparators(parking.bytes_peak), WithSeparators(parking.bytes_written),
               WithSeparators(parking.bytes_reread),
               bounded ? WithSeparators(parking.fetches) : "-",
               bounded ? WithSeparators(parking.fetches_bound) : "-",
               bounded ? WithSeparators(parking.records_fetched) : "-",
               !bounded       ? "-"
               : plan.premise ? "yes"
                              : "no",
               ThreeDigits(plan.estimated_seconds)});
  }
}

int Rank(ExitCode code) {
  switch (code) {
    case ExitCode::kRefused:
      return 4;
    case ExitCode::kCouldNot:
      return 3;
    case ExitCode::kInterrupted:
      return 2;
    case ExitCode::kNo:
      return 1;
    case ExitCode::kYes:
      return 0;
  }
  return 0;
}

}  // namespace

Summary MakeSummary(const std::vector<StreamName>& streams,
                    const std::vector<StreamResult>& results, double seconds) {
  StreamResult all;
  for (const StreamResult& one : results) all.Add(one);
  Summary summary;
  summary.Add("emitted", all.emitted)
      .Add("replayed", all.replayed)
      .Add("first_hits", all.counts.first_hits)
      .Add("buffer_hits", all.counts.buffer_hits)
      .Add("parked_peak_records", all.parking.records_peak)
      .Add("parked_peak_bytes", all.parking.bytes_peak)
      .Add("polls", all.polls)
      .Add("spilled_bytes", all.parking.bytes_written)
      .Add("spill_peak_bytes", all.parking.store_bytes_peak)
      .Add("spill_longest_pause_ms", all.spill_pause.count())
      .Add("bytes_reread", all.parking.bytes_reread)
      .Add("fetches", all.parking.fetches)
      .Add("fetches_bound", all.parking.fetches_bound)
      .Add("records_fetched", all.parking.records_fetched)
      .Add("fetched_wire_bytes", all.wire_bytes)
      .Add("duplicates_dropped", all.counts.duplicates_dropped)
      .Add("void_dropped", all.counts.void_dropped)
      .Add("foreign_passed", all.counts.foreign_passed)
      .Add("in_doubt", all.in_doubt)
      .Add("peak_memory_bytes", PeakMemoryBytes())
      .Add("seconds", seconds);
  summary.AddJson("streams", StreamsJson(streams, [&](JsonWriter& writer, size_t i) {
                    const StreamResult& one = results[i];
                    Field(writer, "emitted", one.emitted);
                    Field(writer, "exit", ToInt(one.exit_code));
                    if (!one.why.ok()) Field(writer, "why", std::string(one.why.message()));
                    if (!one.checksum.empty()) Field(writer, "checksum", one.checksum);
                  }));
  return summary;
}

Summary MakePlanSummary(const std::vector<StreamName>& streams,
                        const std::vector<StreamPlan>& plans, int cores) {
  const std::vector<BufferPlan> buffers = Together(plans, cores);
  Summary summary = PlanHead(streams, plans, buffers);
  const std::vector<StreamName> planned(streams.begin(),
                                        streams.begin() + static_cast<ptrdiff_t>(plans.size()));
  summary.AddJson("buffers", BuffersJson(buffers));
  summary.AddJson("streams", StreamsJson(planned, [&](JsonWriter& writer, size_t i) {
                    const StreamPlan& one = plans[i];
                    Field(writer, "from", one.from.has_value() ? ToString(*one.from) : "start");
                    Field(writer, "records", one.records);
                    Field(writer, "first_hits", one.counts.first_hits);
                    Field(writer, "buffer_hits", one.counts.buffer_hits);
                    Field(writer, "duplicates", one.counts.duplicates_dropped);
                    Field(writer, "void", one.counts.void_dropped);
                    writer.Key("buffers");
                    const std::string json = BuffersJson(one.buffers);
                    writer.RawValue(json.data(), json.size(), rapidjson::kArrayType);
                    if (one.missing.has_value()) Field(writer, "missing", one.missing->Describe());
                    if (!one.why.ok()) Field(writer, "why", std::string(one.why.message()));
                  }));
  return summary;
}

std::string PlanText(const std::vector<StreamName>& streams, const std::vector<StreamPlan>& plans,
                     int cores) {
  TextTable read({"stream", "from", "records", "first hits", "buffer hits", "duplicates", "void"});
  TextTable cost({"stream", "buffer", "peak records", "peak bytes", "spilled bytes", "bytes reread",
                  "fetches", "of at most", "records fetched", "bound holds", "seconds"});
  std::string notes;
  const std::vector<BufferPlan> together = Together(plans, cores);
  if (plans.size() > 1) AddRows("all", together, cost);
  for (size_t i = 0; i < plans.size(); ++i) {
    const StreamPlan& one = plans[i];
    const std::string stream = ToString(streams[i]);
    read.Add({stream, one.from.has_value() ? ToString(*one.from) : "start",
              WithSeparators(one.records), WithSeparators(one.counts.first_hits),
              WithSeparators(one.counts.buffer_hits), WithSeparators(one.counts.duplicates_dropped),
              WithSeparators(one.counts.void_dropped)});
    AddRows(stream, one.buffers, cost);
    if (one.missing.has_value()) {
      notes += absl::StrCat("\n", stream, " waits for ", one.missing->Describe(), "\n");
    }
    if (!one.why.ok()) {
      notes += absl::StrCat("\n", stream,
                            " was not read to its end: ", std::string(one.why.message()), "\n");
    }
  }
  return absl::StrCat(PlanHead(streams, plans, together).Text(), "\n", read.Text(), "\n",
                      cost.Text(), notes);
}

void PrintInDoubt(const StreamName& stream, const StreamResult& result) {
  const std::vector<DoubtfulRecord>& list = result.in_doubt_records;
  const int64_t left_out = result.in_doubt - static_cast<int64_t>(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    if (i + 1 == list.size() && left_out > 0) {
      Log(LogLevel::kWarn, "in_doubt_more", {{"stream", stream}, {"records", left_out}});
    }
    const DoubtfulRecord& record = list[i];
    Log(LogLevel::kWarn, "in_doubt",
        {{"stream", stream},
         {"position", record.position},
         {"producer", record.producer},
         {"term", record.term},
         {"seq", record.seq},
         {"at", record.at},
         {"key", !record.key.has_value() ? "null"
                 : IsUtf8(*record.key)   ? *record.key
                                         : "(not text)"}});
  }
}

ExitCode WorstOf(const std::vector<StreamResult>& results) {
  ExitCode worst = ExitCode::kYes;
  for (const StreamResult& result : results) {
    if (Rank(result.exit_code) > Rank(worst)) worst = result.exit_code;
  }
  return worst;
}

ReorderMetrics::ReorderMetrics(Metrics& metrics, const std::vector<StreamName>& streams) {
  for (const StreamName& stream : streams) {
    const MetricLabels labels{{"stream", ToString(stream)}};
    streams_.push_back(
        {&metrics.Counter("lockstep_emitted_records_total", "Records sent outside", labels),
         &metrics.Gauge("lockstep_parked_records", "Records held until their turn", labels),
         &metrics.Gauge("lockstep_parked_bytes", "Bytes of parked records", labels),
         &metrics.Gauge("lockstep_spill_bytes", "Bytes on disk of parked records", labels),
         &metrics.Gauge("lockstep_waiting_seconds",
                        "Since when the stream waits for one record; 0: it does not", labels)});
  }
}

void ReorderMetrics::Update(const std::vector<std::unique_ptr<StreamProgress>>& progress) {
  const int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                             std::chrono::steady_clock::now().time_since_epoch())
                             .count();
  for (size_t i = 0; i < streams_.size(); ++i) {
    OfStream& stream = streams_[i];
    const int64_t emitted = progress[i]->emitted;
    stream.emitted->Increment(static_cast<double>(emitted - stream.counted));
    stream.counted = emitted;
    stream.parked_records->Set(static_cast<double>(progress[i]->parked_records.load()));
    stream.parked_bytes->Set(static_cast<double>(progress[i]->parked_bytes.load()));
    stream.spill_bytes->Set(static_cast<double>(progress[i]->spill_bytes.load()));
    const int64_t since_ms = progress[i]->waiting_since_ms;
    stream.waiting_seconds->Set(since_ms == 0 ? 0.0
                                              : static_cast<double>(now_ms - since_ms) / 1000.0);
  }
}

}  // namespace lockstep
