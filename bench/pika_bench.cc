// A Pika as the source.
//
// pika/incremental: a million SETs of 100 B, waiting in the log of a master that stands in for a
// Pika on loopback (same process, a thread of its own), through the whole producer until they are
// durable in the ledger. The baseline is a raw idempotent producer of the same event bytes. The
// clock of ours runs from the start of the producer, opening and the handshake included.
// pika/parse, pika/event: one core, from memory: taking the log's items and their commands apart
// against copying their bytes, and making the events against the base64 that is in them.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"

#include "bench/raw_kafka.h"
#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "common/model/record_header.h"
#include "producer/pika/binlog_item.h"
#include "producer/pika/pika_event.h"
#include "producer/pika/resp_command.h"
#include "producer/pika/run_notes.h"
#include "producer/producer.h"
#include "producer/sources/pika_source.h"
#include "tests/support/pika_master.h"

namespace lockstep::bench {

namespace {

constexpr size_t kValueBytes = 100;

std::string KeyOf(int64_t number) { return "key-" + std::to_string(number); }

// SETs as they lie in a log.
struct Items {
  explicit Items(int64_t count) {
    const std::string value(kValueBytes, 'v');
    pika::BinlogItem item;
    item.exec_time_s = 1'700'000'000;
    for (int64_t i = 0; i < count; ++i) {
      const std::string key = KeyOf(i);
      std::string content;
      const std::string_view args[] = {"SET", key, value};
      pika::AppendRespCommand(args, content);
      item.logic_id += 1;
      item.content = content;
      const size_t begin = bytes.size();
      pika::AppendBinlogItem(item, bytes);
      sizes.push_back(bytes.size() - begin);
      item.start.offset = pika::AdvanceBinlogOffset(item.start.offset, sizes.back());
      ends.push_back(item.start);
    }
  }

  std::string bytes;
  std::vector<size_t> sizes;
  std::vector<pika::BinlogPosition> ends;
};

// Calls take(item's bytes, its end) for each; items a second.
template <class Take>
absl::StatusOr<double> Rate(const Items& items, Take take) {
  const Stopwatch watch;
  std::string_view rest = items.bytes;
  for (size_t i = 0; i < items.sizes.size(); ++i) {
    LOCKSTEP_RETURN_IF_ERROR(take(rest.substr(0, items.sizes[i]), items.ends[i]));
    rest.remove_prefix(items.sizes[i]);
  }
  return static_cast<double>(items.sizes.size()) / watch.Seconds();
}

pika::PikaEventWriter MakeWriter() {
  return pika::PikaEventWriter({.source_id = "127.0.0.1:9221",
                                .host = "127.0.0.1",
                                .port = 9221,
                                .replication_id = "0123456789abcdef"},
                               "db0");
}

absl::Status MeasureParse(Site& site, const Report& report) {
  const Items items(site.Scale(10'000, 1'000'000, 4'000'000));
  std::vector<std::string_view> args;
  const auto parse = [&] {
    return Rate(items, [&](std::string_view bytes, const pika::BinlogPosition&) -> absl::Status {
      LOCKSTEP_ASSIGN_OR_RETURN(const pika::BinlogItem item, pika::ParseBinlogItem(bytes));
      LOCKSTEP_RETURN_IF_ERROR(pika::ParseRespCommand(item.content, args));
      return args.size() == 3 ? absl::OkStatus() : absl::InternalError("another command");
    });
  };
  std::string copy;
  const auto copy_it = [&] {
    return Rate(items, [&](std::string_view bytes, const pika::BinlogPosition&) {
      copy.assign(bytes);
      return absl::OkStatus();
    });
  };
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair parsed, RunPairs(site.pairs(), parse, copy_it));
  report({.name = "pika/parse",
          .value = parsed.value,
          .baseline = "copying the bytes",
          .baseline_value = parsed.baseline,
          .unit = "items/s",
          .better = Better::kHigher,
          .params = {{"items", static_cast<int64_t>(items.sizes.size())},
                     {"value_bytes", static_cast<int64_t>(kValueBytes)}}});

  pika::PikaEventWriter writer = MakeWriter();
  size_t event_bytes = 0;
  const auto events = [&] {
    return Rate(items,
                [&](std::string_view bytes, const pika::BinlogPosition& end) -> absl::Status {
                  LOCKSTEP_ASSIGN_OR_RETURN(const auto event, writer.Write(bytes, end));
                  if (!event || !event->payload.value) return absl::InternalError("no event");
                  event_bytes = event->payload.value->size();
                  return absl::OkStatus();
                });
  };
  std::string base64;
  const auto encode = [&] {
    return Rate(items, [&](std::string_view bytes, const pika::BinlogPosition&) {
      // The command whole and its arguments one by one.
      for (int i = 0; i < 2; ++i) {
        absl::Base64Escape({bytes.data() + pika::kBinlogItemHeaderBytes,
                            bytes.size() - pika::kBinlogItemHeaderBytes},
                           &base64);
      }
      return absl::OkStatus();
    });
  };
  LOCKSTEP_ASSIGN_OR_RETURN(const Pair written, RunPairs(site.pairs(), events, encode));
  report({.name = "pika/event",
          .value = written.value,
          .baseline = "base64 of the command twice",
          .baseline_value = written.baseline,
          .unit = "items/s",
          .better = Better::kHigher,
          .params = {{"items", static_cast<int64_t>(items.sizes.size())},
                     {"event_bytes", static_cast<int64_t>(event_bytes)}}});
  return absl::OkStatus();
}

// ---------------------------------------------------------------- the whole producer

absl::StatusOr<double> Stream(Site& site, const std::string& ledger_conninfo, int32_t port,
                              int64_t items) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string topic, site.NewTopic(1));
  LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<PostgresLedger> ledger, ConnectLedger(ledger_conninfo));
  SourceOptions source_options;
  source_options.until_end = true;
  LOCKSTEP_ASSIGN_OR_RETURN(
      std::unique_ptr<Source> source,
      OpenPikaSource({"127.0.0.1", port, "", PikaProtocol::kPb}, source_options));
  ProducerOptions options;
  options.name = "W" + topic;
  options.source = "pika://bench";
  options.encode_payload = pika::MakeRunNotesEncoder;
  options.topic = topic;
  options.partition = 0;
  options.kafka.brokers = site.brokers();
  Producer producer(options, std::move(source), std::move(ledger));
  const Stopwatch watch;
  LOCKSTEP_RETURN_IF_ERROR(producer.Run());
  const double seconds = watch.Seconds();
  site.DropTopic(topic);
  if (producer.progress().records != items) {
    return absl::DataLossError(std::to_string(producer.progress().records) +
                               " records ledgered of " + std::to_string(items));
  }
  return static_cast<double>(items) / seconds;
}

absl::StatusOr<double> ProduceRaw(Site& site, int64_t items) {
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string topic, site.NewTopic(1));
  const Items one(1);
  pika::PikaEventWriter writer = MakeWriter();
  LOCKSTEP_ASSIGN_OR_RETURN(const auto event, writer.Write(one.bytes, one.ends[0]));
  if (!event || !event->payload.key || !event->payload.value) {
    return absl::InternalError("no event");
  }
  // The key's bytes lie in the value here.
  const std::string value = *event->payload.key + *event->payload.value;
  const std::string producer = "W" + topic;
  std::string at;
  int64_t sent = 0;
  const auto next = [&](RawRecord& record) {
    if (sent == items) return false;
    ++sent;
    at = "0:" + std::to_string(sent * 170);
    record.header.clear();
    AppendRecordHeader({.term = Term(1), .seq = Seq(sent), .at = at, .producer = producer},
                       record.header);
    record.value = value;
    return true;
  };
  LOCKSTEP_ASSIGN_OR_RETURN(
      const double seconds,
      RawProduce({.brokers = site.brokers(), .topic = topic, .partition = 0}, next));
  site.DropTopic(topic);
  return static_cast<double>(items) / seconds;
}

absl::Status MeasureIncremental(Site& site, const Report& report) {
  const int64_t items = site.Scale(2'000, 300'000, 1'000'000);
  LOCKSTEP_ASSIGN_OR_RETURN(const std::string ledger, site.NewLedger());
  pika::PikaMaster master({.binlog_file_bytes = 100 << 20});
  const std::string value(kValueBytes, 'v');
  for (int64_t i = 0; i < items; ++i) master.Append("db0", {"SET", KeyOf(i), value});
  LOCKSTEP_ASSIGN_OR_RETURN(
      const Pair pair, RunPairs(
                           site.pairs(), [&] { return Stream(site, ledger, master.port(), items); },
                           [&] { return ProduceRaw(site, items); }));
  report({.name = "pika/incremental",
          .value = pair.value,
          .baseline = "raw idempotent producer of the same events",
          .baseline_value = pair.baseline,
          .unit = "records/s",
          .better = Better::kHigher,
          .params = {{"items", items}, {"value_bytes", static_cast<int64_t>(kValueBytes)}}});
  return absl::OkStatus();
}

}  // namespace

absl::Status RunPika(Site& site, const Report& report) {
  LOCKSTEP_RETURN_IF_ERROR(MeasureParse(site, report));
  LOCKSTEP_RETURN_IF_ERROR(MeasureIncremental(site, report));
  return RunPikaSnapshot(site, report);
}

}  // namespace lockstep::bench
