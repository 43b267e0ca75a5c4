// ExecSink gives records to a command, a consumer in any language (`exec:COMMAND`).
//
// The command is started once a stream, by /bin/sh -c, with LOCKSTEP_SINK_STREAM in its
// environment. It
// reads records as JSON lines on its standard input (docs/formats/record-json.md), in order, and
// writes a line {"stream":"orders/0","done":"EPOCH:OFFSET"}, a record's position, to its standard
// output once that record and everything that it was given before has had its effect, a record or a
// batch at a time; `stream` may be left out. (Where no order is kept between producers, positions
// do not ascend; the answer means the same.) Standard error is ours. At the end its input is
// closed; it answers what is left and ends.
//
// Blind: a command that dies leaves what it has not answered in doubt, and nothing else. What it
// has answered counts, also what is still in the pipe when it dies or is stopped.
#ifndef LOCKSTEP_REORDER_SINKS_EXEC_SINK_H_
#define LOCKSTEP_REORDER_SINKS_EXEC_SINK_H_

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "common/model/record_json.h"
#include "reorder/sinks/sink.h"

namespace lockstep {

struct ExecSinkOptions {
  std::string command;
  StreamName stream;
  std::chrono::milliseconds answer_max{60'000};  // Without a byte taken or a line answered.
  std::chrono::milliseconds end_max{5'000};      // Between the end of its input and SIGKILL.
};

class ExecSink final : public Sink {
 public:
  // Starts the command. Its shell dies with this process. REQUIRES: SIGPIPE is ignored
  // (StopRequest).
  static absl::StatusOr<std::unique_ptr<ExecSink>> Start(ExecSinkOptions options);
  ~ExecSink() override;
  ExecSink(const ExecSink&) = delete;
  ExecSink& operator=(const ExecSink&) = delete;

  SinkKind kind() const override { return SinkKind::kBlind; }
  absl::StatusOr<std::optional<Position>> Last() override {
    return absl::UnimplementedError("a command cannot be asked");
  }
  // Errors name the command: UNAVAILABLE, it has ended; DEADLINE_EXCEEDED, it hangs;
  // INVALID_ARGUMENT, its answer makes no sense; CANCELLED, a stop was requested and it has not
  // answered all in time, however busily it answers. All are final.
  void Attach(SinkHost& host) override { host_ = &host; }
  absl::Status Write(std::span<const ReadyRecord> records) override;
  absl::Status Sync() override;
  // What it has answered.
  std::optional<Position> KnownDone() const override { return done_; }

 private:
  ExecSink(ExecSinkOptions options, pid_t pid, int in, int out);
  // Writes and reads until all is written, and answered if `and_answered`.
  absl::Status Pump(bool and_answered);
  // Whether it has kept us waiting too long: its own time, or ours.
  absl::Status CheckPatience(std::chrono::steady_clock::time_point moved_at);
  absl::Status WriteSome();
  absl::Status ReadSome();
  // Takes the answers that are in the pipe by now, without waiting; returns how many bytes. An
  // error is in nonsense_.
  ssize_t ReadRest();
  absl::Status TakeAnswers(std::string_view bytes);
  absl::Status TakeAnswer(std::string_view line);
  absl::Status Ended();
  int Reap();
  std::string SoFar() const;

  const ExecSinkOptions options_;
  const std::string stream_text_;
  pid_t pid_;
  int in_;   // The command's standard input.
  int out_;  // Its standard output.
  SinkHost* host_ = nullptr;
  std::deque<Position> unanswered_;
  std::optional<Position> sent_;  // Last.
  std::optional<Position> done_;  // Answered last.
  absl::Status broken_;           // The first failure.
  std::string lines_;             // Not yet written, from written_ on.
  size_t written_ = 0;
  std::string answers_;    // An unfinished line.
  absl::Status nonsense_;  // Of the first answer that makes none; later ones are not looked at.
  RecordJsonWriter writer_;
  std::vector<HeaderView> headers_;
};

}  // namespace lockstep

#endif  // LOCKSTEP_REORDER_SINKS_EXEC_SINK_H_
