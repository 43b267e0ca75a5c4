#include "common/metrics/metrics.h"

#include <httplib.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/ids.h"

namespace lockstep {
namespace {

constexpr std::chrono::seconds kFetchTimeout{5};

void CheckName(const std::string& name, bool counter) {
  LOCKSTEP_CHECK(name.starts_with("lockstep_"), "metric names are written in our code");
  LOCKSTEP_CHECK(name.ends_with("_total") == counter, "counters, and only they, end in _total");
}

struct Address {
  std::string host;
  int port = 0;
};

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  const auto bad = [&] {
    return absl::InvalidArgumentError("--metrics \"" + std::string(text) + "\" is not HOST:PORT");
  };
  if (colon == std::string_view::npos) return bad();
  const auto port = ParseDecimal(text.substr(colon + 1));
  if (!port.ok() || *port > 65535) return bad();
  std::string host(text.substr(0, colon));
  if (host.empty()) host = "127.0.0.1";
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return Address{std::move(host), static_cast<int>(*port)};
}

class HttpServer : public MetricsServer {
 public:
  HttpServer(const Metrics& metrics, HealthChecks checks)
      : metrics_(metrics), checks_(std::move(checks)) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(2); };
    server_.set_keep_alive_max_count(1);  // Else stopping waits for idle clients.
    // The library's default, SO_REUSEPORT, would let two programs share a port in silence.
    server_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(metrics_.Text(), "text/plain; version=0.0.4");
    });
    server_.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
      Answer(checks_.healthy, response);
    });
    server_.Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
      Answer(checks_.ready, response);
    });
  }

  ~HttpServer() override {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

  absl::Status Bind(const Address& address) {
    port_ = address.port;
    if (address.port == 0) {
      port_ = server_.bind_to_any_port(address.host);
    } else if (!server_.bind_to_port(address.host, address.port)) {
      port_ = -1;
    }
    if (port_ <= 0) {
      return absl::UnavailableError("cannot serve metrics on " + address.host + ":" +
                                    std::to_string(address.port) +
                                    ": the address is taken or not this machine's");
    }
    thread_ = std::thread([this] {
      server_.listen_after_bind();
      ended_ = true;
    });
    // A stop() before the loop runs would be overlooked.
    while (!server_.is_running() && !ended_) std::this_thread::yield();
    return absl::OkStatus();
  }

  int port() const override { return port_; }

 private:
  static void Answer(const std::function<absl::Status()>& check, httplib::Response& response) {
    const absl::Status status = check ? check() : absl::OkStatus();
    response.status = status.ok() ? 200 : 503;
    response.set_content(status.ok() ? "ok\n" : std::string(status.message()) + "\n", "text/plain");
  }

  const Metrics& metrics_;
  const HealthChecks checks_;
  httplib::Server server_;
  int port_ = 0;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}

prometheus::Counter& Metrics::Counter(const std::string& name, const std::string& help,
                                      const MetricLabels& labels) {
  CheckName(name, true);
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Gauge& Metrics::Gauge(const std::string& name, const std::string& help,
                                  const MetricLabels& labels) {
  CheckName(name, false);
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Histogram& Metrics::Histogram(const std::string& name, const std::string& help,
                                          const std::vector<double>& bounds,
                                          const MetricLabels& labels) {
  CheckName(name, false);
  return prometheus::BuildHistogram()
      .Name(name)
      .Help(help)
      .Register(*registry_)
      .Add(labels, bounds);
}

std::string Metrics::Text() const {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, registry_->Collect());
  return out.str();
}

const std::vector<double>& DurationBounds() {
  static const auto& bounds = *new std::vector<double>{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
                                                       0.2,   0.5,   1,     2,    5,    10,   30};
  return bounds;
}

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(std::string_view address,
                                                                    const Metrics& metrics,
                                                                    HealthChecks checks) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(address));
  auto server = std::make_unique<HttpServer>(metrics, std::move(checks));
  LOCKSTEP_RETURN_IF_ERROR(server->Bind(parsed));
  return std::unique_ptr<MetricsServer>(std::move(server));
}

absl::StatusOr<MetricValues> FetchMetrics(std::string_view address) {
  LOCKSTEP_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(address));
  httplib::Client client(parsed.host, parsed.port);
  client.set_connection_timeout(kFetchTimeout);
  client.set_read_timeout(kFetchTimeout);
  const httplib::Result answer = client.Get("/metrics");
  const std::string where = "--metrics " + std::string(address);
  if (!answer) {
    return absl::UnavailableError(where +
                                  ": no answer; does a program run that serves them there?");
  }
  if (answer->status != 200) {
    return absl::UnavailableError(where + ": it answers " + std::to_string(answer->status) +
                                  "; is it a Lockstep program?");
  }
  absl::StatusOr<MetricValues> values = ParseMetrics(answer->body);
  if (!values.ok()) return Annotate(values.status(), where);
  return values;
}

absl::StatusOr<MetricValues> ParseMetrics(std::string_view text) {
  MetricValues values;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const size_t space = line.rfind(' ');  // A label's value may hold some.
    const std::string number(space == std::string_view::npos ? "" : line.substr(space + 1));
    char* end = nullptr;
    const double value = std::strtod(number.c_str(), &end);
    if (number.empty() || *end != '\0') {
      return absl::InvalidArgumentError("not a metric: \"" + std::string(line) + "\"");
    }
    values[std::string(line.substr(0, space))] = value;
  }
  return values;
}

}  // namespace lockstep
