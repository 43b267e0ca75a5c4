#include "producer/checkpointed_source.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/log/log.h"
#include "producer/checkpoint_export.h"

namespace lockstep {
namespace {

using pika::PikaCheckpoint;
using std::chrono::milliseconds;
using Place = CheckpointExport::Place;

constexpr int64_t kFailureLogEveryMs = 30'000;

class CheckpointedSource final : public Source {
 public:
  CheckpointedSource(std::unique_ptr<Source> source, CheckpointOptions options, FileSystem& fs,
                     Clock& clock)
      : source_(std::move(source)),
        options_(std::move(options)),
        fs_(fs),
        clock_(clock),
        export_(!options_.file.empty(), options_.topic != nullptr && !options_.topic_in_transaction,
                options_.interval.count()) {}

  ~CheckpointedSource() override {
    TakeTopicResult(options_.end_wait);
    WriteWhatIsDue(true);
    TakeTopicResult(options_.end_wait);
  }

  absl::Status Start(const ResumePoint& point) override {
    if (!read_) {
      LOCKSTEP_ASSIGN_OR_RETURN(file_, ReadFile());
      LOCKSTEP_ASSIGN_OR_RETURN(topic_, ReadTopic());
      if (!options_.decide) {
        LOCKSTEP_RETURN_IF_ERROR(Compare(point, "file", file_));
        LOCKSTEP_RETURN_IF_ERROR(Compare(point, "topic", topic_));
        if (point.checkpoint) export_.OnDurable(*point.checkpoint);
      }
      read_ = true;
    }
    return source_->Start(options_.decide ? Decide() : point);
  }

  absl::Status Poll(size_t max, milliseconds timeout, std::vector<SourceEvent>& events) override {
    TakeTopicResult(milliseconds(0));
    WriteWhatIsDue(false);
    return source_->Poll(max, timeout, events);
  }

  bool ended() const override { return source_->ended(); }

  void Acknowledge(std::string_view at, std::string_view checkpoint) override {
    source_->Acknowledge(at, checkpoint);
    if (!checkpoint.empty()) export_.OnDurable(checkpoint);
    WriteWhatIsDue(false);
  }

  std::function<std::string(const SourceEvent&)> FormatCheckpoint() const override {
    return source_->FormatCheckpoint();
  }

  std::optional<SourceStatus> Status() const override { return source_->Status(); }

 private:
  // ---------------------------------------------------------------- the start

  using Exported = std::optional<PikaCheckpoint>;

  absl::StatusOr<Exported> ReadFile() {
    if (options_.file.empty()) return std::nullopt;
    const std::string what = "checkpoint file " + options_.file;
    LOCKSTEP_RETURN_IF_ERROR(Annotate(fs_.SyncDirectory(options_.file), what));
    const absl::StatusOr<std::string> json = fs_.Read(options_.file);
    if (absl::IsNotFound(json.status())) return std::nullopt;
    LOCKSTEP_RETURN_IF_ERROR(Annotate(json.status(), what));
    return Parse(*json, what, "remove the file, or name another --checkpoint-file");
  }

  absl::StatusOr<Exported> ReadTopic() {
    if (options_.topic == nullptr) return std::nullopt;
    const std::string key = CheckpointKey(options_.owner);
    LOCKSTEP_ASSIGN_OR_RETURN(const std::optional<std::string> json, options_.topic->ReadLast(key));
    if (!json) return std::nullopt;
    return Parse(*json, absl::StrCat("checkpoint topic ", options_.topic->name(), ", key ", key),
                 "write a record with this key and no value to it, or name another "
                 "--checkpoint-topic");
  }

  absl::StatusOr<Exported> Parse(const std::string& json, const std::string& what,
                                 const char* way_out) {
    const absl::StatusOr<PikaCheckpoint> exported = pika::ParseCheckpointJson(json, options_.owner);
    if (exported.ok()) return *exported;
    const char* decides =
        options_.decide ? "without it the source resumes by the file, else by the topic, else "
                          "from its beginning: "
                        : "it is an export, the ledger decides where to resume: ";
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": ", std::string(exported.status().message()), "; ", decides, way_out));
  }

  absl::Status Compare(const ResumePoint& point, const char* place, const Exported& exported) {
    if (!exported) return absl::OkStatus();
    LOCKSTEP_ASSIGN_OR_RETURN(const pika::PikaPosition ledger, pika::ResumePosition(point));
    LOCKSTEP_ASSIGN_OR_RETURN(const pika::ExportStands stands,
                              pika::CompareWithLedger(*exported, point));
    if (stands == pika::ExportStands::kBehindLedger) {
      Log(LogLevel::kInfo, "checkpoint_behind_ledger",
          {{"place", place}, {"position", exported->position}, {"ledger", ledger}});
    } else if (stands == pika::ExportStands::kAheadOfLedger) {
      Log(LogLevel::kError, "checkpoint_ahead_of_ledger",
          {{"place", place},
           {"position", exported->position},
           {"ledger", ledger},
           {"hint",
            "the ledger decides, so events are read again that were exported as done: is it the "
            "right ledger, was it restored from a backup?"}});
    }
    return absl::OkStatus();
  }

  // Where a source without a ledger resumes.
  ResumePoint Decide() const {
    const bool by_topic = topic_ && (!file_ || options_.topic_in_transaction);
    if (file_ && topic_ && file_->position != topic_->position) {
      Log(LogLevel::kInfo, "checkpoints_differ",
          {{"file", file_->position},
           {"topic", topic_->position},
           {"hint", by_topic ? "the topic decides" : "the file decides"}});
    }
    const Exported& decides = by_topic ? topic_ : file_;
    Log(LogLevel::kWarn, "no_ledger",
        {{"resumes_by", !decides   ? "none"
                        : by_topic ? "topic"
                                   : "file"},
         {"position", decides ? ToString(decides->position) : ""},
         {"hint", options_.topic_in_transaction
                      ? "exactly once for who reads what is committed"
                      : "events since then come again: at least once, by event_id"}});
    if (!decides) return {};
    return {ToString(*decides), "", ""};
  }

  // ---------------------------------------------------------------- the exports

  void WriteWhatIsDue(bool last) {
    if (const auto checkpoint = export_.Begin(Place::kFile, clock_.SteadyMs(), last)) {
      const absl::Status written = ReplaceFile(fs_, options_.file, Json(*checkpoint));
      export_.End(Place::kFile, written.ok(), clock_.SteadyMs());
      Report("file", written, file_failed_ms_);
    }
    if (const auto checkpoint = export_.Begin(Place::kTopic, clock_.SteadyMs(), last)) {
      options_.topic->Write(CheckpointKey(options_.owner), Json(*checkpoint));
    }
  }

  void TakeTopicResult(milliseconds timeout) {
    if (options_.topic == nullptr) return;
    const std::optional<absl::Status> written = options_.topic->Result(timeout);
    if (!written) return;
    export_.End(Place::kTopic, written->ok(), clock_.SteadyMs());
    Report("topic", *written, topic_failed_ms_);
  }

  std::string Json(const std::string& checkpoint) {
    const absl::StatusOr<PikaCheckpoint> parsed = pika::ParsePikaCheckpoint(checkpoint);
    LOCKSTEP_CHECK(parsed.ok(), "the ledger was given it by this source's FormatCheckpoint");
    return pika::CheckpointJson(options_.owner, *parsed, clock_.NowMs());
  }

  // Logs a failure now and then, and its end. `failed_ms`: when the place's failure was last
  // logged.
  void Report(const char* place, const absl::Status& written, std::optional<int64_t>& failed_ms) {
    const int64_t now_ms = clock_.SteadyMs();
    if (written.ok()) {
      if (failed_ms) Log(LogLevel::kInfo, "checkpoint_written_again", {{"place", place}});
      failed_ms.reset();
      return;
    }
    if (failed_ms && now_ms - *failed_ms < kFailureLogEveryMs) return;
    failed_ms = now_ms;
    Log(LogLevel::kWarn, "checkpoint_not_written",
        {{"place", place},
         {"why", written},
         {"hint", "it is tried again; nothing is lost, the ledger has it"}});
  }

  const std::unique_ptr<Source> source_;
  const CheckpointOptions options_;
  FileSystem& fs_;
  Clock& clock_;
  CheckpointExport export_;
  bool read_ = false;
  std::optional<PikaCheckpoint> file_;  // As it was at the start.
  std::optional<PikaCheckpoint> topic_;
  std::optional<int64_t> file_failed_ms_;
  std::optional<int64_t> topic_failed_ms_;
};

}  // namespace

std::unique_ptr<Source> ExportCheckpoints(std::unique_ptr<Source> source, CheckpointOptions options,
                                          FileSystem& fs, Clock& clock) {
  return std::make_unique<CheckpointedSource>(std::move(source), std::move(options), fs, clock);
}

}  // namespace lockstep
