// A source's way through the whole producer: sequencing, Kafka, runs, ledger, durable answer. The
// baseline is a raw idempotent producer of the same bytes, header included, which keeps no order
// and promises nothing across sites.
//
// `local`: both databases on this machine. `rtt20ms`: 20 ms between them and before the witness.
// The clock starts at the first event asked for, just before the Kafka handle is made, and stops
// when everything is durable in the ledger; opening, adoption and closing come before it and are
// told as `start_seconds`. The baseline's clock starts before its handle is made, too.
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/raw_kafka.h"
#include "bench/suites.h"
#include "common/base/status_macros.h"
#include "common/model/record_header.h"
#include "producer/producer.h"
#include "producer/sources/source.h"

namespace lockstep::bench {

namespace {

constexpr int64_t kRoundTripMs = 20;

// `count` events of `value_bytes` each, from memory.
class MemorySource final : public Source {
 public:
  MemorySource(int64_t count, int64_t value_bytes, std::optional<Stopwatch>* first_poll)
      : count_(count), value_(static_cast<size_t>(value_bytes), 'v'), first_poll_(first_poll) {}

  absl::Status Start(const ResumePoint&) override { return absl::OkStatus(); }

  absl::Status Poll(size_t max, std::chrono::milliseconds,
                    std::vector<SourceEvent>& events) override {
    if (!first_poll_->has_value()) first_poll_->emplace();
    for (size_t i = 0; i < max && given_ < count_; ++i) {
      SourceEvent& event = events.emplace_back();
      event.at = std::to_string(++given_);
      event.payload.value = value_;
    }
    return absl::OkStatus();
  }

  bool ended() const override { return given_ == count_; }

 private:
  const int64_t count_;
  const std::string value_;
  std::optional<Stopwatch>* const first_poll_;
  int64_t given_ = 0;
};

struct Case {
  const char* name;
  int64_t value_bytes;
  bool far;
};
constexpr Case kCases[] = {
    {"producer/100B/local", 100, false},
    {"producer/1kB/local", 1000, false},
    {"producer/100B/rtt20ms", 100, true},
    {"producer/1kB/rtt20ms", 1000, true},
};

class ProducerSuite {
 public:
  ProducerSuite(Site& site, const Report& report) : site_(site), report_(report) {}

  absl::Status Run() {
    LOCKSTEP_ASSIGN_OR_RETURN(ledger_, site_.NewLedger());
    for (const Case& c : kCases) {
      LOCKSTEP_RETURN_IF_ERROR(Annotate(Measure(c), c.name));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Measure(const Case& c) {
    const int64_t records = c.value_bytes > 500 ? site_.Scale(2'000, 300'000, 1'500'000)
                                                : site_.Scale(20'000, 1'000'000, 5'000'000);
    std::vector<double> starts;
    ProducerProgress progress;
    LOCKSTEP_ASSIGN_OR_RETURN(
        const Pair pair, RunPairs(
                             site_.pairs(), [&] { return RunOurs(c, records, starts, progress); },
                             [&] { return RunRaw(c, records); }));
    report_({.name = c.name,
             .value = pair.value,
             .baseline = "raw idempotent producer",
             .baseline_value = pair.baseline,
             .unit = "records/s",
             .better = Better::kHigher,
             .params = {{"records", records},
                        {"value_bytes", c.value_bytes},
                        {"round_trip_ms", c.far ? kRoundTripMs : int64_t{0}},
                        {"ledger_commits", progress.ledger_commits},
                        {"runs", progress.runs},
                        {"start_seconds", Median(starts)}}});
    return absl::OkStatus();
  }

  absl::StatusOr<double> RunOurs(const Case& c, int64_t records, std::vector<double>& starts,
                                 ProducerProgress& progress) {
    std::string conninfo = ledger_;
    if (c.far) {
      LOCKSTEP_ASSIGN_OR_RETURN(conninfo, site_.FarLedger(ledger_));
      LOCKSTEP_RETURN_IF_ERROR(site_.SetRoundTrip(kRoundTripMs));
    }
    LOCKSTEP_ASSIGN_OR_RETURN(const std::string topic, site_.NewTopic(1));
    LOCKSTEP_ASSIGN_OR_RETURN(std::unique_ptr<PostgresLedger> ledger, ConnectLedger(conninfo));
    std::optional<Stopwatch> first_poll;
    ProducerOptions options;
    options.name = "W" + topic;
    options.source = "bench";
    options.topic = topic;
    options.partition = 0;
    options.kafka.brokers = site_.brokers();
    Producer producer(options, std::make_unique<MemorySource>(records, c.value_bytes, &first_poll),
                      std::move(ledger));
    const Stopwatch whole;
    LOCKSTEP_RETURN_IF_ERROR(producer.Run());
    if (!first_poll) return absl::InternalError("the producer never asked its source");
    const double seconds = first_poll->Seconds();
    starts.push_back(whole.Seconds() - seconds);
    progress = producer.progress();
    if (c.far) LOCKSTEP_RETURN_IF_ERROR(site_.SetRoundTrip(0));
    site_.DropTopic(topic);
    if (progress.records != records) {
      return absl::DataLossError(std::to_string(progress.records) + " records ledgered of " +
                                 std::to_string(records));
    }
    return static_cast<double>(records) / seconds;
  }

  absl::StatusOr<double> RunRaw(const Case& c, int64_t records) {
    LOCKSTEP_ASSIGN_OR_RETURN(const std::string topic, site_.NewTopic(1));
    const std::string producer = "W" + topic;
    const std::string value(static_cast<size_t>(c.value_bytes), 'v');
    std::string at;
    int64_t sent = 0;
    const auto next = [&](RawRecord& record) {
      if (sent == records) return false;
      at = std::to_string(++sent);
      record.header.clear();
      AppendRecordHeader({.term = Term(1), .seq = Seq(sent), .at = at, .producer = producer},
                         record.header);
      record.value = value;
      return true;
    };
    LOCKSTEP_ASSIGN_OR_RETURN(
        const double seconds,
        RawProduce({.brokers = site_.brokers(), .topic = topic, .partition = 0}, next));
    site_.DropTopic(topic);
    return static_cast<double>(records) / seconds;
  }

  Site& site_;
  const Report& report_;
  std::string ledger_;
};

}  // namespace

absl::Status RunProducer(Site& site, const Report& report) {
  return ProducerSuite(site, report).Run();
}

}  // namespace lockstep::bench
