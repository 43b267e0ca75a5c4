#include "reorder/sinks/http_sink.h"

#include <httplib.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "reorder/sinks/jsonl_sink.h"

namespace lockstep {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kExcerptBytes = 200;
constexpr size_t kRequestBytesMax = 1 << 20;  // A request is closed when it has so many.
constexpr milliseconds kLookEvery{50};

std::string Shown(std::string_view text) {
  std::string shown(text.substr(0, kExcerptBytes));
  while (!shown.empty() && !IsUtf8(shown) && shown.size() + 4 > kExcerptBytes) shown.pop_back();
  return IsUtf8(shown) ? absl::StrCat("\"", shown, "\"") : "bytes that are no text";
}

std::unique_ptr<httplib::ClientImpl> MakeClient(const HttpTarget& target) {
  if (target.tls) return std::make_unique<httplib::SSLClient>(target.host, target.port);
  return std::make_unique<httplib::ClientImpl>(target.host, target.port);
}

}  // namespace

// One connection, and the thread that ends a request which takes too long as a whole: the library's
// own timeouts are one read's and one write's.
class HttpSink::Wire {
 public:
  explicit Wire(const HttpSinkOptions& options)
      : answer_max_(options.answer_max), client_(MakeClient(options.target)) {
    client_->set_connection_timeout(options.connect_max);
    const milliseconds longer = options.answer_max + std::chrono::seconds(1);
    client_->set_read_timeout(longer);
    client_->set_write_timeout(longer);
    client_->set_keep_alive(true);
    client_->set_tcp_nodelay(true);
    client_->set_follow_location(false);
    client_->set_url_encode(false);  // The path is as typed.
    client_->enable_server_certificate_verification(true);
    if (!options.ca_file.empty()) client_->set_ca_cert_path(options.ca_file);
    watcher_ = std::thread([this] { Watch(); });
  }
  ~Wire() {
    {
      MutexLock lock(mu_);
      ended_ = true;
    }
    changed_.NotifyAll();
    watcher_.join();
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  void Attach(SinkHost& host) {
    MutexLock lock(mu_);
    host_ = &host;
  }

  Answer Post(const std::string& path, const HttpHeaders& headers, const std::string& body) {
    Answer answer;
    httplib::Request request;
    request.method = "POST";
    request.path = path;
    for (const auto& [name, value] : headers) request.set_header(name, value);
    request.body = body;
    // However long: answer_max_ bounds it, and its beginning is enough.
    request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
      answer.excerpt.append(data, std::min(size, kExcerptBytes - answer.excerpt.size()));
      return true;
    };
    SetDeadline(Clock::now() + answer_max_);
    const httplib::Result result = client_->send(request);
    const bool ended = SetDeadline(std::nullopt);
    if (result) {
      answer.status = result->status;
      answer.location = result->get_header_value("Location");
      return answer;
    }
    answer.hopeless = result.error() == httplib::Error::SSLServerVerification ||
                      result.error() == httplib::Error::SSLLoadingCerts;
    answer.error = ended
                       ? "no answer in time"
                       : absl::StrCat("no whole answer (", httplib::to_string(result.error()), ")");
    return answer;
  }

 private:
  // Returns whether the request before was ended.
  bool SetDeadline(std::optional<Clock::time_point> deadline) {
    MutexLock lock(mu_);
    deadline_ = deadline;
    return std::exchange(ended_it_, false);
  }

  void Watch() {
    MutexLock lock(mu_);
    while (!ended_) {
      changed_.WaitFor(mu_, kLookEvery);
      if (!deadline_.has_value()) continue;
      const auto stop_by = host_ == nullptr ? std::nullopt : host_->StopBy();
      const Clock::time_point now = Clock::now();
      if (now < *deadline_ && (!stop_by.has_value() || now < *stop_by)) continue;
      client_->stop();  // Any thread may. Again and again: it may only be connecting yet.
      ended_it_ = true;
    }
  }

  const milliseconds answer_max_;
  const std::unique_ptr<httplib::ClientImpl> client_;
  Mutex mu_;
  CondVar changed_;
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  SinkHost* host_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::optional<Clock::time_point> deadline_ ABSL_GUARDED_BY(mu_);  // Of the request under way.
  bool ended_it_ ABSL_GUARDED_BY(mu_) = false;
  std::thread watcher_;
};

HttpSink::HttpSink(HttpSinkOptions options)
    : options_(std::move(options)),
      stream_text_(ToString(options_.stream)),
      wire_(std::make_unique<Wire>(options_)),
      repeats_({options_.stream, options_.target.Shown(), options_.pause_min, options_.pause_max}) {
}

HttpSink::~HttpSink() = default;

void HttpSink::Attach(SinkHost& host) {
  repeats_.Attach(host);
  wire_->Attach(host);
}

absl::Status HttpSink::Write(std::span<const ReadyRecord> records) {
  while (!records.empty()) {
    LOCKSTEP_RETURN_IF_ERROR(repeats_.CheckStop("in the middle of a batch"));
    const size_t count = CountOfRequest(records);
    MakeRequest(records.first(count));
    LOCKSTEP_RETURN_IF_ERROR(Deliver());
    done_ = request_.last;
    records = records.subspan(count);
  }
  return absl::OkStatus();
}

size_t HttpSink::CountOfRequest(std::span<const ReadyRecord> records) const {
  const ReadyRecord& first = records.front();
  size_t count = 0;
  size_t bytes = 0;
  while (count < records.size() && bytes < kRequestBytesMax &&
         static_cast<int64_t>(count) < options_.records_per_request) {
    const ReadyRecord& record = records[count];
    if (record.replayed != first.replayed) break;  // A request is all or nothing of that.
    if (options_.by_producer && record.producer != first.producer) break;
    bytes += record.view.key.value_or("").size() + record.view.value.value_or("").size();
    ++count;
  }
  return count;
}

void HttpSink::MakeRequest(std::span<const ReadyRecord> records) {
  const ReadyRecord& last = records.back();
  request_.first = records.front().position;
  request_.last = last.position;
  request_.key = IdempotencyKey(stream_text_, last.producer, last.seq.value());
  request_.body.clear();
  bool in_doubt = false;
  bool replayed = false;
  for (ReadyRecord record : records) {
    // In headers, so that a repeat has the same body: servers may compare what a key came with.
    in_doubt |= std::exchange(record.in_doubt, false);
    replayed |= std::exchange(record.replayed, false);
    AppendRecordLines({&record, 1}, stream_text_, writer_, headers_, request_.body);
  }
  const bool single = options_.records_per_request == 1;
  if (single) request_.body.pop_back();  // JSON, not a line of it.
  request_.headers = options_.headers;
  request_.headers.insert(request_.headers.end(),
                          {{"Content-Type", single ? "application/json" : "application/x-ndjson"},
                           {"Idempotency-Key", request_.key},
                           {"Lockstep-Stream", stream_text_},
                           {"Lockstep-Records", std::to_string(records.size())}});
  if (!options_.by_producer) {
    request_.headers.emplace_back("Lockstep-Last", ToString(request_.last));
  }
  if (in_doubt) request_.headers.emplace_back("Lockstep-In-Doubt", "true");
  if (replayed) request_.headers.emplace_back("Lockstep-Replayed", "true");
}

absl::Status HttpSink::Deliver() {
  while (true) {
    const Answer answer = wire_->Post(options_.target.path, request_.headers, request_.body);
    const HttpVerdict verdict = answer.status != 0 ? JudgeHttpStatus(answer.status)
                                : answer.hopeless  ? HttpVerdict::kStop
                                                   : HttpVerdict::kRepeat;
    if (verdict == HttpVerdict::kStop) return Refused(answer);
    if (verdict == HttpVerdict::kDone) {
      repeats_.Done(request_.key);
      return absl::OkStatus();
    }
    const std::string why =
        answer.status != 0 ? absl::StrCat("it answers ", answer.status, " ", Shown(answer.excerpt))
                           : answer.error;
    LOCKSTEP_RETURN_IF_ERROR(repeats_.Again(request_.key, why));
  }
}

absl::Status HttpSink::Refused(const Answer& answer) const {
  const std::string what = absl::StrCat(options_.target.Shown(), ": ");
  const std::string which = absl::StrCat(
      "the request of key ", request_.key, " (", ToString(request_.first),
      request_.first == request_.last ? "" : absl::StrCat(" to ", ToString(request_.last)), ")");
  if (answer.status == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, answer.error, " to ", which,
                     ": its certificate is not trusted; --sink-ca names a file with the "
                     "certificate of who signed it"));
  }
  if (answer.status >= 300 && answer.status < 400) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, "it answers ", answer.status, " to ", which,
                     ": redirects are not followed; give --sink the address that it names, ",
                     Shown(answer.location.substr(0, answer.location.find('?')))));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(what, "it refuses ", which, " with ", answer.status, " ", Shown(answer.excerpt),
                   "; nothing behind it was sent. Mend the server, the address or "
                   "--sink-header-file, then start again with --in-doubt=resend "
                   "--old-gate-is-dead"));
}

}  // namespace lockstep
