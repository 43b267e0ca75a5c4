// HttpSink POSTs records as JSON (docs/formats/record-json.md) to a server (`http://…`,
// `https://…`).
//
// One record a request unless `records_per_request` says more: then a request holds up to so many
// lines, in order. Each carries
//
//   Idempotency-Key: STREAM/PRODUCER/SEQ   of its only, or its last, record
//   Lockstep-Stream: STREAM
//   Lockstep-Last: EPOCH:OFFSET            the position of that record; not with `by_producer`
//   Lockstep-Records: N
//   Lockstep-In-Doubt: true                iff one of them may have been sent before
//   Lockstep-Replayed: true                iff all of them were (replay mode): to be taken again
//
// Requests are serial, so a server that has done a request has done everything before it. That is
// why the key is the last record's: who knows it has all of the request. (The first one's would not
// do: after a crash requests are cut elsewhere, and one that begins with a known record may go on
// with unknown ones.) With one record a request the key is all that a server needs to drop repeats;
// with more it looks at the lines: those at or below the last Lockstep-Last of the stream it has.
//
// `by_producer` is for records that come in each producer's order and in no other (--mode
// per-producer). Then a request holds one producer's, so that its key vouches for no other's, and
// names no position: after a crash, or behind a row that came late, one with lower positions may be
// new. A server drops by producer and seq.
//
//   2xx                   done
//   409                   it had this key already: done
//   other 3xx, 4xx        stop (redirects are refused, too)
//   5xx, 408, 429, no or half an answer, no connection
//                         the very same request again, after a pause that doubles, with jitter
//
// Blind: a server cannot be asked. But where it drops repeats, `--in-doubt resend` is right.
//
// Threads: one of its own, which ends requests that take too long.
#ifndef LOCKSTEP_REORDER_SINKS_HTTP_SINK_H_
#define LOCKSTEP_REORDER_SINKS_HTTP_SINK_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "common/model/ids.h"
#include "common/model/record_json.h"
#include "reorder/sinks/http_target.h"
#include "reorder/sinks/repeats.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

struct HttpSinkOptions {
  HttpTarget target = {};
  StreamName stream = {};
  int64_t records_per_request = 1;
  bool by_producer = false;
  HttpHeaders headers = {};  // With every request.
  std::string ca_file = {};  // Certificates to trust (PEM); empty: the system's.
  std::chrono::milliseconds connect_max{5'000};
  std::chrono::milliseconds answer_max{30'000};  // From a request's start to its answer's end.
  std::chrono::milliseconds pause_min{100};
  std::chrono::milliseconds pause_max{10'000};
};

class HttpSink final : public Sink {
 public:
  // Speaks to nobody yet.
  explicit HttpSink(HttpSinkOptions options);
  ~HttpSink() override;
  HttpSink(const HttpSink&) = delete;
  HttpSink& operator=(const HttpSink&) = delete;

  SinkKind kind() const override { return SinkKind::kBlind; }
  absl::StatusOr<std::optional<Position>> Last() override {
    return absl::UnimplementedError("an HTTP server cannot be asked");
  }
  void Attach(SinkHost& host) override;
  // Returns when all are answered. INVALID_ARGUMENT: the server refuses; CANCELLED: a stop came and
  // its time was up.
  absl::Status Write(std::span<const ReadyRecord> records) override;
  absl::Status Sync() override { return absl::OkStatus(); }  // An answered request is done.
  std::optional<Position> KnownDone() const override { return done_; }

  struct Answer {
    int status = 0;  // 0: there was none, `error` says why.
    std::string error = {};
    bool hopeless = false;      // Of an error: its certificate is not trusted, or ours not read.
    std::string excerpt = {};   // The first bytes of the body.
    std::string location = {};  // Of a redirect.
  };

 private:
  class Wire;
  struct Request {
    std::string key;
    Position first;
    Position last;
    HttpHeaders headers;
    std::string body;
  };

  // How many of the first go into one request.
  size_t CountOfRequest(std::span<const ReadyRecord> records) const;
  void MakeRequest(std::span<const ReadyRecord> records);
  absl::Status Deliver();
  absl::Status Refused(const Answer& answer) const;

  const HttpSinkOptions options_;
  const std::string stream_text_;
  std::unique_ptr<Wire> wire_;
  Request request_;
  std::optional<Position> done_;
  Repeats repeats_;
  RecordJsonWriter writer_;
  std::vector<HeaderView> headers_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_HTTP_SINK_H_
