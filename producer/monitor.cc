#include "producer/monitor.h"

#include <chrono>

#include "absl/strings/str_cat.h"

#include "common/base/status_macros.h"

namespace lockstep {
namespace {

constexpr std::chrono::milliseconds kInterval{100};

template <typename Clock>
int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch())
      .count();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProducerMonitor>> ProducerMonitor::Start(Producer& producer,
                                                                        StopRequest& stop,
                                                                        const std::string& address,
                                                                        bool show_progress) {
  std::unique_ptr<ProducerMonitor> monitor(new ProducerMonitor(producer, stop));
  monitor->Export({});
  if (!address.empty()) {
    HealthChecks checks;
    checks.ready = [&producer] {
      return producer.progress().ready ? absl::OkStatus()
                                       : absl::UnavailableError("no tenure is under way");
    };
    LOCKSTEP_ASSIGN_OR_RETURN(monitor->server_,
                              MetricsServer::Start(address, monitor->metrics_, checks));
  }
  monitor->thread_ = std::thread([m = monitor.get(), show_progress] { m->Watch(show_progress); });
  return monitor;
}

void ProducerMonitor::End() {
  end_ = true;
  if (thread_.joinable()) thread_.join();
  server_.reset();
}

void ProducerMonitor::Watch(bool show_progress) {
  bool told = false;
  while (!end_) {
    if (told) {
      std::this_thread::sleep_for(kInterval);
    } else if (stop_.WaitFor(kInterval)) {
      producer_.Stop();
      told = true;
    }
    const ProducerProgress now = producer_.progress();
    Export(now);
    Show(now, show_progress);
  }
  bar_.reset();
}

// A full copy has an end, whether or not the producer has.
void ProducerMonitor::Show(const ProducerProgress& now, bool show_progress) {
  std::string label;
  int64_t done = now.records;
  int64_t total = 0;
  if (now.source && now.source->state == SourceState::kCopying) {
    label = "full copy, bytes received";
    done = static_cast<int64_t>(now.source->copy.received_bytes);
  } else if (now.source && now.source->state == SourceState::kWalking) {
    const auto left = now.source->copy.SecondsLeft();
    label = absl::StrCat("full copy, keys", left ? absl::StrCat(", ", *left, " s left") : "");
    done = now.source->copy.keys;
    total = now.source->copy.keys_estimated;
  } else if (show_progress) {
    label = "records";
  }
  if (label != bar_label_) {
    bar_.reset();
    if (!label.empty()) bar_.emplace(label, total);
    bar_label_ = label;
  }
  if (bar_) bar_->Update(done);
}

void ProducerMonitor::Export(const ProducerProgress& now) {
  const auto count = [&](const char* name, const char* help, int64_t before, int64_t after) {
    metrics_.Counter(name, help).Increment(static_cast<double>(after - before));
  };
  count("lockstep_records_total", "Records newly ledgered, durably", exported_.records,
        now.records);
  count("lockstep_adopted_records_total", "Records adopted from the logs' tails", exported_.adopted,
        now.adopted);
  count("lockstep_runs_total", "Ledger rows written", exported_.runs, now.runs);
  count("lockstep_ledger_commits_total", "Durable group commits", exported_.ledger_commits,
        now.ledger_commits);
  count("lockstep_tenures_total", "Tenures begun", exported_.tenures, now.tenures);
  count("lockstep_delivery_failures_total", "Tenures ended by a failed delivery",
        exported_.delivery_failures, now.delivery_failures);
  metrics_.Gauge("lockstep_in_flight_records", "Records between source and durable ledger row")
      .Set(static_cast<double>(now.in_flight_records));
  metrics_.Gauge("lockstep_solo_state", "1 while the epoch is solo: no standby confirms")
      .Set(now.solo ? 1 : 0);
  if (now.kafka) kafka_metrics_(*now.kafka);
  if (now.source) {
    using std::chrono::steady_clock;
    using std::chrono::system_clock;
    source_metrics_.Export(*now.source, NowMs<system_clock>(), NowMs<steady_clock>());
  }
  exported_ = now;
}

}  // namespace lockstep
